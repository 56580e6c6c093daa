"""Alias of `rdc_codec.errors`."""

from rdc_codec.errors import *  # noqa: F403
