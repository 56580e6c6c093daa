"""Draws pictures that are not photographs, one module for each kind."""
