"""Neural networks, one family per file, without losses; each names its source and sizes."""

from jaxdl._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
