"""``python -m benchmarks report``: results as one page to look at, see ``benchmarks/README.md``."""
