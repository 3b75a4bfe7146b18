"""`python -m benchmarks.search_cost`."""

from benchmarks.search_cost.program import main

if __name__ == "__main__":
    main()
