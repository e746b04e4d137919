"""Small convolutional networks for small images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.checks import check_fraction
from jaxdl.nn import Conv, Dense
from jaxdl.types import Array


class ConvNet(nn.Module):
    """Two 3x3 convolutions with pooling, then two dense layers: 30,762 parameters at 28x28x1.

    Feature maps 28 → 26 → 13 → 11 → 5, then 800 → 32 → 10. ReLU after each convolution and the
    first dense layer, dropout before the last. Images must be at least 10x10 pixels.

    Args of the call: x (B, H, W, C); train turns dropout on. Returns: (B, num_classes) logits.

    Attributes:
        num_classes: outputs.
        dropout_rate: fraction of the 32 features dropped in training.
        dtype: of the computation; None infers it.

    Source: the MNIST network of dldna, chapter 3, with PyTorch's default initial distribution.
    """

    num_classes: int = 10
    dropout_rate: float = 0.3
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        for features in (16, 32):
            x = nn.relu(Conv(features, (3, 3), pool=2, dtype=self.dtype)(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(32, dtype=self.dtype)(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype)(x)


class CNN(nn.Module):
    """Blocks of 3x3 convolution, pooling, BatchNorm and ReLU, then dropout and a dense layer.

    With the default sizes at 28x28x1: maps 28 → 14 → 7 → 3, 1,152 features.

    Args of the call: x (B, H, W, C); mask (B,) leaves padded examples out of the batch statistics;
    train uses and updates those statistics (collection ``batch_stats``) and turns dropout on.
    Returns: (B, num_classes) logits.

    Attributes:
        num_classes: outputs.
        features: channels of each block; every block halves height and width.
        dropout_rate: fraction of the flattened features dropped in training.
        dtype: of the computation; None infers it. Statistics stay float32.

    Source: the usual VGG-like stack; BatchNorm with PyTorch's momentum 0.1 (here 0.9) and ε 1e-5.
    """

    num_classes: int = 10
    features: Sequence[int] = (32, 64, 128)
    dropout_rate: float = 0.3
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        if mask is not None:
            mask = (mask > 0).reshape(-1, 1, 1, 1)
        for features in self.features:
            # pooled before the norm: a quarter of its work
            conv = Conv(features, (3, 3), padding="SAME", pool=2, use_bias=False, dtype=self.dtype)
            norm = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype
            )
            x = nn.relu(norm(conv(x), mask=mask))
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype)(x)
