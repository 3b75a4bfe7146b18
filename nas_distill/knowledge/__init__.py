"""The teacher's outputs for every view: computed once, stored on disk, shared by all trials.

`build.build_knowledge` writes a knowledge folder; `store.Knowledge` reads it; `targets` serves a student's batches from
the stored outputs or from the teacher itself.
"""
