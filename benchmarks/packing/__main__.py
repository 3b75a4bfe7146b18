"""`python -m benchmarks.packing`."""

from benchmarks.packing.program import main

if __name__ == "__main__":
    main()
