"""`python -m benchmarks.export`."""

from benchmarks.export.program import main

if __name__ == "__main__":
    main()
