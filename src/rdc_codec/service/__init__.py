"""The codec behind HTTP: an application for any ASGI server, and the command `rdc serve`.

Nothing is imported here: the modules need the extra `serve`, which an installation without it does not have.
"""
