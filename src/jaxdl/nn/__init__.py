"""Layers with PyTorch's numbers, where Flax Linen has none or differs.

Take a layer from here if it is in the list below, and everything else (``Module``, ``compact``,
``Dropout``, ``Sequential``, activations, attention, …) from ``flax.linen``::

    import flax.linen as linen
    from jaxdl import nn

Linen's layers of the same name have the same parameters and differ from PyTorch's as follows:

``Dense``, ``Conv``
    start from a truncated normal distribution and zero biases; ``Conv`` pads "SAME" by default
``ConvTranspose``
    likewise, takes the kernel flipped and has no ``output_padding``
``Embed``
    starts from N(0, 1/features); has no padding row, maximum norm or scaling by frequency
``BatchNorm``
    its momentum is one minus PyTorch's; the running variance is the biased one; has no ``mask``
``LayerNorm``, ``GroupNorm``, ``InstanceNorm``, ``RMSNorm``
    epsilon 1e-6; a variance in one pass, .33 off where the mean is 1000 deviations
``SpectralNorm``
    steps at another time, in evaluation too
``max_pool``, ``avg_pool``
    stride 1 by default
``LSTMCell``, ``GRUCell``, ``SimpleCell``
    have one bias per gate, not two; no layers, directions, lengths

These have no counterpart here; with these options Linen's give PyTorch's numbers:

- ``PReLU(negative_slope_init=0.25)``
- ``gelu(x, approximate=False)``
- ``MultiHeadDotProductAttention`` with the mask inverted: True keeps a place

:mod:`jaxdl.nn.initializers` has PyTorch's initial distributions, for any layer.

>>> import jax
>>> import jax.numpy as jnp
>>> import flax.linen as linen
>>> from jaxdl import nn
>>> model = linen.Sequential([nn.Conv(8, 3), linen.relu, nn.max_pool, nn.flatten, nn.Dense(10)])
>>> images = jnp.zeros((2, 28, 28, 1))
>>> jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0].shape
(2, 10)
"""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.nn import initializers
from jaxdl.nn.conv import Conv, ConvTranspose
from jaxdl.nn.conv_ops import convolution, transposed_convolution
from jaxdl.nn.embedding import Embed
from jaxdl.nn.example_norm import (
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    local_response_norm,
)
from jaxdl.nn.linear import Bilinear, Dense, bilinear_pool, flatten
from jaxdl.nn.norm import BatchNorm, SpectralNorm
from jaxdl.nn.pooling import adaptive_avg_pool, adaptive_max_pool, avg_pool, max_pool
from jaxdl.nn.rearrange import channel_shuffle, pixel_shuffle, pixel_unshuffle
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
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "SpectralNorm",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "bilinear_pool",
    "channel_shuffle",
    "convolution",
    "features",
    "flatten",
    "initializers",
    "local_response_norm",
    "max_pool",
    "pixel_shuffle",
    "pixel_unshuffle",
    "shapes",
    "transposed_convolution",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
