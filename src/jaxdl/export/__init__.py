"""Models of jaxdl for others: bundles, model cards, StableHLO, ONNX, smaller weights."""

from jaxdl._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
