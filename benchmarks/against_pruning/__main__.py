"""`python -m benchmarks.against_pruning`."""

from benchmarks.against_pruning.program import main

if __name__ == "__main__":
    main()
