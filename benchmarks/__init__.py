"""Runnable measurements: `make bench`, or `python -m benchmarks NAME …`. Figures are in README.md."""
