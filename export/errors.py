"""This module has the error that stops an export."""


class ExportError(RuntimeError):
    """Says that what was to be written differs from its source, or would replace what is no bundle."""
