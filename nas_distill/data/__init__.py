"""The images: where they come from, how they are split, kept, read in batches and augmented.

`prepare_data` runs once per run directory; `open_split` is what evaluation reads; `view_batches` is what training and
the teacher's stored answers read: augmentations that teacher and students share.
"""
