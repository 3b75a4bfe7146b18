"""Image data: sources, splits, decoded-image cache, batches and augmented views.

`prepare.prepare_data` writes the data files of a run directory once. `splits.open_split` opens a split for evaluation.
`views.batches.view_batches` yields the augmented views that teacher and students share.
"""
