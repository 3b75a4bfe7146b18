"""`python -m benchmarks.scale`."""

from benchmarks.scale.program import main

if __name__ == "__main__":
    main()
