"""`python -m benchmarks.distillation`."""

from benchmarks.distillation.program import main

if __name__ == "__main__":
    main()
