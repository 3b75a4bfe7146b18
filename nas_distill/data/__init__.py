"""The images: where they come from, how they are split, kept, read in batches and augmented.

`prepare_data` runs once per run directory; `open_split` is what training and evaluation read; `views` renders
augmentations that teacher and students share.
"""
