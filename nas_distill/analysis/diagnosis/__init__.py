"""Why each student performs as it does: one verdict per student, from the records alone.

`table.diagnose` applies the rules of `rules` in the order of `verdicts.VERDICTS`; the first that fires decides.
`students` indexes all students so that a rule need not search them; `curves` measures learning curves.
"""
