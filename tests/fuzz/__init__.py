"""Fuzz targets of everything that reads bytes, one for each layer: docs/fuzzing.md. `python -m fuzz` runs them."""
