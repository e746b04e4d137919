"""LeNet-5 and its max-pool cousin."""

import functools
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.models.convnet import conv_relu_pool
from jaxdl.nn import Dense, avg_pool, flatten
from jaxdl.nn.conv import PooledConv
from jaxdl.types import Array


class LeNet5(nn.Module):
    """Two 5x5 convolutions with pooling, then 120, 84 and 10 units: 61,706 parameters at 28x28x1.

    Maps 28 → 28 → 14 → 10 → 5; layers of 156, 2,416, 48,120, 10,164 and 850 parameters; ReLU after
    each but the last.

    Args of the call: x (B, H, W, C); train changes nothing. Returns: (B, num_classes) logits.

    Intermediates: ``relu1`` and ``relu2``, the maps before pooling; ``embed``, the 84 features
    before the last layer.

    Attributes:
        num_classes: outputs.
        features: channels of the convolutions.
        hidden: units of the two dense layers.
        pool: the mean or the maximum of 2x2 pixels.
        padding: of the first convolution: 2 for images of 28 pixels, 0 for 32.
        dtype: of the computation; None infers it.

    Source: LeCun et al. 1998, in today's form (ReLU, no Gaussian output units). Names as in PyTorch
    recipes: ``conv1``, ``conv2``, ``fc1``, ``fc2``, ``fc3``.
    """

    num_classes: int = 10
    features: tuple[int, int] = (6, 16)
    hidden: tuple[int, int] = (120, 84)
    pool: Literal["avg", "max"] = "avg"
    padding: int = 2
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # nothing differs
        if self.pool not in ("avg", "max"):
            raise ValueError(f'pool must be "avg" or "max", got {self.pool!r}.')
        for index, padding in enumerate((self.padding, 0)):
            conv = functools.partial(
                PooledConv,
                self.features[index],
                (5, 5),
                padding=padding,
                dtype=self.dtype,
                name=f"conv{index + 1}",
            )
            if self.pool == "max":
                x = conv_relu_pool(self, conv, x, f"relu{index + 1}")
            else:
                x = nn.relu(conv()(x))
                self.sow("intermediates", f"relu{index + 1}", x)
                x = avg_pool(x)
        x = flatten(x)
        for index, features in enumerate(self.hidden, 1):
            x = nn.relu(Dense(features, dtype=self.dtype, name=f"fc{index}")(x))
        self.sow("intermediates", "embed", x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc3")(x)


LeNetMaxPool = functools.partial(LeNet5, pool="max", padding=0)
"""The network of the PyTorch tutorials: max-pooling, no padding, 61,706 parameters at 32x32x1.

At 32x32x3, for CIFAR-10: 62,006; ``hidden`` are the sizes l1 and l2 that the tutorial tunes.
"""
