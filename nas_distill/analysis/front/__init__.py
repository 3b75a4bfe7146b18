"""The Pareto front and the picks: which students are worth a look.

`arithmetic`, `attainment` and `epsilon` are pure functions of arrays; `front` and `picks` apply them to one study,
`comparison` to several runs side by side.
"""
