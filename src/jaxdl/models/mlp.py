"""Multilayer perceptron."""

from collections.abc import Callable, Sequence

import flax.linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl._checks import check_fraction
from jaxdl.nn import Dense, flatten
from jaxdl.nn.initializers import uniform_fan_in
from jaxdl.types import Array

Activation = Callable[[Array], Array]


class MLP(nn.Module):
    """Multilayer perceptron: dense layers with an activation between them.

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

    Intermediates: ``embed``, the inputs of the last layer.

    Attributes:
        features: number of outputs of each layer.
        activation: function between the layers.
        dropout_rate: fraction of hidden units dropped in training, after each activation.
        dtype: dtype of the computation; None infers it.
        output_activation: function after the last layer; None returns logits, which the losses
            expect.
        kernel_init: initializer of the kernels.
        bias_init: initializer of the biases; None is PyTorch's.

    Source: the quick-start network of the PyTorch tutorials (784-512-512-10, ReLU), with PyTorch's
    default initial distribution. ``torch.nn.Sequential`` of ``Flatten``, ``Linear`` and ``ReLU``.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 50), "float32")
    >>> logits, variables = jax.eval_shape(MLP((30, 20, 3)).init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 3), 2213)
    """

    features: Sequence[int] = (512, 512, 10)
    activation: Activation = nn.relu
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None
    output_activation: Activation | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Num[Array, "B ..."], *, train: bool = False
    ) -> Float[Array, "B num_outputs"]:
        """Computes logits.

        Args:
            x: (B, ...), flattened to (B, n) in PyTorch's order.
            train: turn dropout on.

        Returns:
            (B, features[-1]); without softmax, which is part of the loss.
        """
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
