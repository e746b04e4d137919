"""Figures as Matplotlib objects, and saving them."""

from jaxdl._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__, needs="matplotlib")
