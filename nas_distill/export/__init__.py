"""Export a student to files that other programs load, checked against PyTorch on the validation images."""
