"""Multilayer perceptrons: plain, with fixed weights, nested."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxdl.checks import check_fraction, check_shape
from jaxdl.nn import Dense, flatten, uniform_fan_in
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


class FixedWeightMLP(nn.Module):
    r"""One dense layer used twice around a constant random matrix, then halved until it is small.

    .. math:: h = d(\mathrm{relu}(d(x) W + 1)), \quad
              y = 2^{-k} \sum h, \quad k = \min\{k : 2^{-k} \sum |h| \le 1\}

    420 parameters for 20 features; W (20x20, uniform in [0, 1)) is none: it stands in the
    collection ``constants``, which no optimizer sees.

    Args of the call: x (B, features). Returns: y, shape (): the whole batch gives one number.

    Attributes:
        features: width of the input, of W and of the dense layer.
        dtype: of the computation; None infers it.

    Source: the fixed-weight network that PyTorch courses use to show constants, shared layers and
    control flow. There the loop divides the graph's tensor; here a ``jax.lax.while_loop`` finds the
    power of two, through which no gradient flows in either.
    """

    features: int = 20
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # nothing differs
        check_shape("x", x, ("B", self.features))
        shape = (self.features, self.features)
        weight = self.variable(
            "constants", "weight", lambda: jax.random.uniform(self.make_rng("params"), shape)
        )
        dense = Dense(self.features, dtype=self.dtype)
        x = dense(x)
        x = nn.relu(x @ weight.value.astype(x.dtype) + 1)
        x = dense(x)
        total = jax.lax.stop_gradient(jnp.abs(x).sum())
        scale = jax.lax.while_loop(
            lambda scale: total * scale > 1, lambda scale: scale / 2, jnp.ones((), x.dtype)
        )
        return (x * scale).sum()


class NestedMLP(nn.Module):
    """Modules inside modules: an MLP 20-64-32-16, a dense layer 16-20, a :class:`FixedWeightMLP`.

    4,712 parameters: 3,952 + 340 + 420.

    Args of the call: x (B, 20). Returns: shape ().

    Attributes:
        features: layers of the inner MLP, with a ReLU behind each but the last.
        fixed_features: width of the fixed-weight network.
        dtype: of the computation; None infers it.

    Source: the nested ``torch.nn.Sequential`` of the same courses.
    """

    features: Sequence[int] = (64, 32, 16)
    fixed_features: int = 20
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        x = MLP(self.features, dtype=self.dtype, name="net")(x, train=train)
        x = Dense(self.fixed_features, dtype=self.dtype, name="linear")(x)
        return FixedWeightMLP(self.fixed_features, dtype=self.dtype, name="fixed")(x)
