"""Layers where Linen lacks one or differs from PyTorch: start, geometry, statistics, speed on CPU.

What is not here (``Dropout``, ``LayerNorm``, attention, ``Sequential``, …) is Linen's.
"""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.nn import initializers
from jaxdl.nn._conv_ops import convolution, prefer_implementation, transposed_convolution
from jaxdl.nn.conv import Conv, ConvTranspose, conv_output_size, conv_transpose_output_size
from jaxdl.nn.embedding import Embed
from jaxdl.nn.linear import Bilinear, Dense, bilinear_pool, flatten
from jaxdl.nn.norm import BatchNorm, SpectralNorm
from jaxdl.nn.pooling import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool
from jaxdl.nn.recurrent import GRU, LSTM, RNN
from jaxdl.nn.summary import features, shapes

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
    "initializers",
    "max_pool",
    "prefer_implementation",
    "shapes",
    "transposed_convolution",
]

if not TYPE_CHECKING:
    __getattr__ = explain_names(__name__, __all__)
