"""`python -m benchmarks.initial_weights`."""

from benchmarks.initial_weights.program import main

if __name__ == "__main__":
    main()
