"""Measurements. Each module runs as `python -m benchmarks.NAME` from the root of a clone."""
