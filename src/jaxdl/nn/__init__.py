"""Layers where Linen lacks one or differs from PyTorch: initial distribution, speed on CPU."""

from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.nn.layers import Conv, Dense, convolution, max_pool

__all__ = ["Conv", "Dense", "convolution", "max_pool", "uniform_fan_in", "uniform_fan_in_bias"]
