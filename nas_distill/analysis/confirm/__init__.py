"""What repeated trainings of picked students show; `summary.confirmations` collects all of it.

`students` estimates accuracy, gain and selection bias; `front_odds` resamples the front; `picks` chooses again among
the confirmed students; `undistillable` and `release_gain` look at single classes; `folds` summarises cross-validation.
"""
