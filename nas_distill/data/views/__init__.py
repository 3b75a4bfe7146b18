"""Views: augmented images that depend on (seed, image index, view index) only.

- `plan`: `ViewPlan`, the augmentation settings of a search.
- `random_bits`: a counter-based hash that yields the random bits of each (image, view) pair.
- `geometry`, `colour`: crop, flip, affine warp and colour changes, driven by those bits.
- `affine`: the affine map of each view, with the random resized crop; `separable`: interpolation by axis.
- `operations`: a few random operations per view, like RandAugment.
- `render`: applies them to a batch; `mixing`: mixup and CutMix with a partner image; `chunks`: cache-sized work units.
- `batches`: `view_batches`, the entry point for training and for the teacher's stored outputs.
"""
