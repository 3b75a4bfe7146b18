"""The capacity law: the gap to the teacher as a power law of the student's size, with bootstrap intervals.

`api.fit_capacity_law` returns a `model.CapacityLaw`; `fit` and `bootstrap` compute it, `wording` phrases its answers,
and `holdout` checks it on students that are larger than those it was fitted to.
"""
