"""Multilayer perceptrons: plain, with fixed weights, nested."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxdl._checks import check_fraction
from jaxdl.nn import Dense, flatten
from jaxdl.nn.initializers import uniform_fan_in
from jaxdl.types import Array

Activation = Callable[[Array], Array]


class MLP(nn.Module):
    """Dense layers with an activation between them; the last gives logits.

    With the default sizes and 28x28 images: 784-512-512-10, 669,706 parameters. Other recipes:

    ============================= ====================================== ==========
    inputs and layers             module                                 parameters
    ============================= ====================================== ==========
    50-30-20-3, 2-30-20-2         ``MLP((30, 20, 3))``                   2,213, 752
    50-3, 50-128-3                ``MLP((3,))``, ``MLP((128, 3))``       153, 6,915
    20-256-10                     ``MLP((256, 10))``                     7,946
    20-64-32-16                   ``MLP((64, 32, 16))``                  3,952
    100-1024-1024-20, tanh        ``MLP((1024, 1024, 20), jnp.tanh)``    1,173,524
    512-256-256-2, dropout        ``MLP((256, 256, 2), ...)``            197,634
    5-3-1, sigmoids               ``MLP((3, 1), nn.sigmoid, ...)``       22
    ============================= ====================================== ==========

    Args of the call: x (B, ...), flattened to (B, n) in PyTorch's order; train turns dropout on.
    Returns: (B, features[-1]) logits; no softmax or log-softmax, which are the loss's business.

    Intermediates: ``embed``, the inputs of the last layer.

    Attributes:
        features: outputs of each layer.
        activation: between layers.
        output_activation: after the last layer; None leaves logits, which the losses expect.
        dropout_rate: fraction of hidden units dropped in training, after each activation.
        dtype: of the computation; None infers it.
        kernel_init: initialiser of the kernels.
        bias_init: initialiser of the biases; None is PyTorch's.

    Source: the quick-start network of the PyTorch tutorials (784-512-512-10, ReLU), with PyTorch's
    default initial distribution. ``torch.nn.Sequential`` of ``Flatten``, ``Linear`` and ``ReLU``.

    >>> import jax
    >>> variables = jax.eval_shape(MLP((30, 20, 3)).init, jax.random.key(0), jnp.zeros((1, 50)))
    >>> variables["params"]["Dense_0"]["kernel"].shape
    (50, 30)
    """

    features: Sequence[int] = (512, 512, 10)
    activation: Activation = nn.relu
    dropout_rate: float = 0.0
    dtype: jnp.dtype | None = None
    output_activation: Activation | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        x = flatten(x)
        for index, features in enumerate(self.features):
            if index > 0:
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(self.activation(x))
            if index == len(self.features) - 1:
                self.sow("intermediates", "embed", x)
            x = Dense(
                features, dtype=self.dtype, kernel_init=self.kernel_init, bias_init=self.bias_init
            )(x)
        return x if self.output_activation is None else self.output_activation(x)
