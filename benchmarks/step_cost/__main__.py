"""`python -m benchmarks.step_cost`."""

from benchmarks.step_cost.program import main

if __name__ == "__main__":
    main()
