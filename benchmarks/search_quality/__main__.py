"""`python -m benchmarks.search_quality`."""

from benchmarks.search_quality.program import main

if __name__ == "__main__":
    main()
