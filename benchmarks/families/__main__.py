"""`python -m benchmarks.families`."""

from benchmarks.families.program import main

if __name__ == "__main__":
    main()
