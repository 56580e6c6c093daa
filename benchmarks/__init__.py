"""Each module here measures one thing, as `python -m benchmarks.NAME` from the root of a clone."""
