"""What stops an export."""


class ExportError(RuntimeError):
    """What was to be written is not what it was made of, or would replace what is no bundle."""
