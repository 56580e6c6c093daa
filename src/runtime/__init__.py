"""Alias of `rdc_codec`, whose objects these are. Public here: `Codec`, `errors`, `__version__`; no other submodule.

Applications that have a module of this name themselves import `rdc_codec`.
"""

from rdc_codec import Codec, __version__, errors

__all__ = ["Codec", "__version__", "errors"]
