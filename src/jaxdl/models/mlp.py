"""Multilayer perceptrons."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxdl.checks import check_fraction
from jaxdl.nn import Dense
from jaxdl.types import Array


class MLP(nn.Module):
    """Dense layers with an activation between them; the last gives logits.

    With the default sizes and 28x28 images: 784-512-512-10, 669,706 parameters.

    Args of the call: x (B, ...), flattened to (B, n); train turns dropout on.
    Returns: (B, features[-1]) logits.

    Attributes:
        features: outputs of each layer.
        activation: between layers.
        dropout_rate: fraction of hidden units dropped in training, after each activation.
        dtype: of the computation; None infers it.

    Source: the quick-start network of the PyTorch tutorials (784-512-512-10, ReLU), with PyTorch's
    default initial distribution.
    """

    features: Sequence[int] = (512, 512, 10)
    activation: Callable[[Array], Array] = nn.relu
    dropout_rate: float = 0.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        x = x.reshape(x.shape[0], -1)
        for features in self.features[:-1]:
            x = self.activation(Dense(features, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.features[-1], dtype=self.dtype)(x)
