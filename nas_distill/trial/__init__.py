"""One trial: it builds, distils and measures a student. No Ray, no Optuna."""
