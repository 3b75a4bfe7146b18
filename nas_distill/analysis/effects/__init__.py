"""Which losses, families and parameters are associated with the capacity gap among the students of a run.

`by_size` and `losses_by_size` compare labels among students of about the same size; `effects` measures the importance
of every parameter of architecture and recipe at equal size. Both describe association, not cause.
"""
