"""Which models absLRP explains (``python -m benchmarks.compatibility``)."""
