"""Layers where Linen lacks one or differs from PyTorch: start, geometry, statistics, speed on CPU.

What is not here (``Dropout``, ``LayerNorm``, attention, ``Sequential``, …) is Linen's.
"""

from jaxdl.nn.bilinear import Bilinear, bilinear_pool
from jaxdl.nn.conv import (
    Conv,
    ConvTranspose,
    convolution,
    transposed_convolution,
)
from jaxdl.nn.dense import Dense, flatten
from jaxdl.nn.embedding import Embed
from jaxdl.nn.geometry import conv_output_size, conv_transpose_output_size
from jaxdl.nn.initializers import (
    kaiming_normal,
    kaiming_uniform,
    uniform_fan_in,
    uniform_fan_in_bias,
    xavier_normal,
    xavier_uniform,
)
from jaxdl.nn.intermediates import features, shapes
from jaxdl.nn.normalization import BatchNorm
from jaxdl.nn.pooling import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool
from jaxdl.nn.recurrent import GRU, LSTM, RNN
from jaxdl.nn.spectral import SpectralNorm

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BatchNorm",
    "Bilinear",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Embed",
    "SpectralNorm",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "bilinear_pool",
    "conv_output_size",
    "conv_transpose_output_size",
    "convolution",
    "features",
    "flatten",
    "kaiming_normal",
    "kaiming_uniform",
    "max_pool",
    "shapes",
    "transposed_convolution",
    "uniform_fan_in",
    "uniform_fan_in_bias",
    "xavier_normal",
    "xavier_uniform",
]
