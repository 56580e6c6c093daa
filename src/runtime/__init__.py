"""Alias of `rdc_codec`, whose objects these are. Public here: `Codec`, `errors`, `trim`, `__version__`.

It has no other submodule.
Applications that have a module of this name themselves import `rdc_codec`.
"""

from rdc_codec import Codec, __version__, errors, trim

__all__ = ["Codec", "__version__", "errors", "trim"]
