"""Models of single tutorials: linear and logistic regression, nested and functional networks."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl._checks import check_count, check_shape
from jaxdl.models.mlp import MLP
from jaxdl.nn import Dense, flatten
from jaxdl.nn.conv_ops import pooled_convolution
from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.types import Array, PyTree


def init_linear_regression(key: Array) -> dict[str, Array]:
    """Initial parameters of a line: w from the standard normal distribution, b = 0.

    Args:
        key: PRNG key.

    Returns:
        ``{"w": (), "b": ()}`` float32, for :func:`linear_regression`.

    Source: ``torch.randn(1)`` and ``torch.zeros(1)``, as in the usual first example of autograd.

    >>> params = init_linear_regression(jax.random.key(0))
    >>> float(params["b"])
    0.0
    """
    return {"w": jax.random.normal(key, ()), "b": jnp.zeros(())}


def linear_regression(params: dict[str, Array], x: Num[Array, "*B"]) -> Float[Array, "*B"]:
    """Linear regression :math:`y = w x + b`: 2 parameters.

    Args:
        params: ``{"w": (), "b": ()}``.
        x: any shape.

    Returns:
        y, of the shape of ``x``.

    Source: ``torch.add(torch.mul(w, x), b)``.

    >>> params = {"w": jnp.array(2.0), "b": jnp.array(5.0)}
    >>> print(linear_regression(params, jnp.array([0.0, 1.0, 10.0])))
    [ 5.  7. 25.]
    """
    for name in ("w", "b"):
        check_shape(f"params[{name!r}]", params[name], ())
    return params["w"] * x + params["b"]


def init_logistic_regression(key: Array, num_inputs: int = 2) -> dict[str, Array]:
    r"""Initial parameters of logistic regression, from :math:`U(-1/\sqrt{n}, 1/\sqrt{n})`.

    Args:
        key: PRNG key.
        num_inputs: n, number of inputs.

    Returns:
        ``{"kernel": (n, 1), "bias": (1,)}`` float32, for :func:`logistic_regression`.

    Raises:
        ValueError: no inputs.

    Source: ``torch.nn.Linear(n, 1)``; the kernel is its weight transposed.

    >>> init_logistic_regression(jax.random.key(0), 3)["kernel"].shape
    (3, 1)
    """
    check_count(num_inputs=num_inputs)
    kernel_key, bias_key = jax.random.split(key)
    return {
        "kernel": uniform_fan_in()(kernel_key, (num_inputs, 1)),
        "bias": uniform_fan_in_bias(num_inputs)(bias_key, (1,)),
    }


def logistic_regression(params: dict[str, Array], x: Num[Array, "B n"]) -> Float[Array, " B"]:
    r"""Logistic regression: the log-odds of class 1, :math:`z = x \cdot w + b`; n + 1 parameters.

    The probability is ``jax.nn.sigmoid(z)``, above one half where z > 0, and the loss is
    :func:`jaxdl.losses.binary_cross_entropy` of z itself: a sigmoid and then a logarithm would lose
    the digits of a probability near 0 or 1.

    Args:
        params: ``{"kernel": (n, 1), "bias": (1,)}``.
        x: (B, n).

    Returns:
        (B,) logits, of the shape of the labels.

    Raises:
        ValueError: another number of inputs than the kernel has.

    Source: ``torch.nn.Linear(n, 1)``; with the loss, also ``torch.nn.Sigmoid`` and ``BCELoss``.

    >>> params = {"kernel": jnp.array([[1.0], [-2.0]]), "bias": jnp.array([0.5])}
    >>> print(logistic_regression(params, jnp.array([[1.0, 1.0], [3.0, 0.0]])))
    [-0.5  3.5]
    """
    check_shape("x", x, ("B", params["kernel"].shape[0]))
    return (x @ params["kernel"])[:, 0] + params["bias"]


class PolynomialRegressor(nn.Module):
    r"""Polynomial regression: a dense layer on tanh of all points gives the coefficients.

    .. math:: c = W \tanh(x) + b,\quad y_i = \sum_{k=0}^{d} c_k x_i^k

    100 points and a quartic: 100 → 5, 505 parameters.

    Intermediates: ``coefficients`` (B, d + 1), lowest power first.

    Attributes:
        degree: d.
        dtype: dtype of the computation; None infers it.

    Source: ``torch.nn.Linear(100, 5)`` on ``torch.tanh(x)``, the sine fit of a PyTorch course.

    >>> x = jnp.linspace(0.0, 1.0, 100)[None]
    >>> variables = jax.eval_shape(PolynomialRegressor().init, jax.random.key(0), x)
    >>> variables["params"]["Dense_0"]["kernel"].shape
    (100, 5)
    """

    degree: int = 4
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B P"], *, train: bool = False) -> Float[Array, "B P"]:
        """Evaluates the polynomials.

        Args:
            x: (B, P), the P points of B curves.
            train: has no effect.

        Returns:
            (B, P).
        """
        del train
        check_shape("x", x, ("B", "P"))
        coefficients = Dense(self.degree + 1, dtype=self.dtype)(jnp.tanh(x))
        self.sow("intermediates", "coefficients", coefficients)
        powers = jnp.stack([x**k for k in range(self.degree + 1)], axis=-1)
        return jnp.einsum("bk,bpk->bp", coefficients, powers.astype(coefficients.dtype))


class FixedWeightMLP(nn.Module):
    r"""Network with a constant random matrix, a shared layer and control flow.

    .. math:: h = d(\mathrm{relu}(d(x) W + 1)), \quad
              y = 2^{-k} \sum h, \quad k = \min\{k : 2^{-k} \sum |h| \le 1\}

    420 parameters for 20 features: those of the dense layer d. W (20x20, uniform in [0, 1)) is not
    a parameter: it is in the collection ``constants``, which no optimizer changes.

    Attributes:
        features: width of the input, of W and of the dense layer.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: inputs of another width.

    Source: the fixed-weight network of PyTorch courses. There the loop divides the graph's tensor;
    here a ``jax.lax.while_loop`` finds the power of two; no gradient flows through it in either.

    >>> model, x = FixedWeightMLP(3), jnp.ones((2, 3))
    >>> y, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> y.shape, variables["constants"]["weight"].shape
    ((), (3, 3))
    """

    features: int = 20
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B features"], *, train: bool = False) -> Float[Array, ""]:
        """Computes one number from the whole batch.

        Args:
            x: (B, features).
            train: has no effect.

        Returns:
            y, shape ().
        """
        del train
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

    Attributes:
        features: outputs of the layers of the inner MLP.
        fixed_features: width of the fixed-weight network.
        dtype: dtype of the computation; None infers it.

    Source: the nested ``torch.nn.Sequential`` of the same courses.

    >>> model, x = NestedMLP(), jnp.ones((2, 20))
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), x)
    >>> sorted(variables["params"])
    ['fixed', 'linear', 'net']
    """

    features: Sequence[int] = (64, 32, 16)
    fixed_features: int = 20
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B n"], *, train: bool = False) -> Float[Array, ""]:
        """Computes one number from the whole batch.

        Args:
            x: (B, 20).
            train: passed to the inner MLP, where it has no effect without dropout.

        Returns:
            y, shape ().
        """
        x = MLP(self.features, dtype=self.dtype, name="net")(x, train=train)
        x = Dense(self.fixed_features, dtype=self.dtype, name="linear")(x)
        return FixedWeightMLP(self.fixed_features, dtype=self.dtype, name="fixed")(x)


def init_functional_cnn(
    key: Array,
    *,
    channels: int = 1,
    features: tuple[int, int] = (16, 32),
    num_features: int = 512,
    num_classes: int = 10,
) -> PyTree:
    """Initial parameters of :func:`functional_cnn`, from PyTorch's distributions.

    Args:
        key: PRNG key.
        channels: channels of the images.
        features: channels of the two convolutions.
        num_features: number of inputs of the dense layer, 512 = 32·4·4 for 28x28 pixels.
        num_classes: number of outputs.

    Returns:
        ``{"conv1": {"kernel": (5, 5, C, 16), "bias": (16,)}, "conv2": …, "fc": …}``; 18,378
        numbers with the default sizes.

    Source: ``torch.nn.Conv2d`` and ``torch.nn.Linear``.

    >>> params = jax.eval_shape(init_functional_cnn, jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    18378
    """
    shapes = {
        "conv1": (5, 5, channels, features[0]),
        "conv2": (5, 5, *features),
        "fc": (num_features, num_classes),
    }
    params = {}
    for layer_key, (name, shape) in zip(jax.random.split(key, 3), shapes.items(), strict=True):
        kernel_key, bias_key = jax.random.split(layer_key)
        kernel = uniform_fan_in()(kernel_key, shape)
        fan_in = kernel.size // shape[-1]
        bias = uniform_fan_in_bias(fan_in)(bias_key, shape[-1:])
        params[name] = {"kernel": kernel, "bias": bias}
    return params


def functional_cnn(params: PyTree, x: Num[Array, "B H W C"]) -> Float[Array, "B num_classes"]:
    """CNN as a function of its parameters: two 5x5 convolutions with pooling, one dense layer.

    Maps 28 → 24 → 12 → 8 → 4, 512 features.

    Args:
        params: from :func:`init_functional_cnn`.
        x: (B, H, W, C).

    Returns:
        (B, num_classes) logits.

    Source: PyTorch's functional style, ``torch.nn.functional.conv2d(x, weight, bias)``.

    >>> params = jax.eval_shape(init_functional_cnn, jax.random.key(0))
    >>> jax.eval_shape(functional_cnn, params, jnp.zeros((2, 28, 28, 1))).shape
    (2, 10)
    """
    for name in ("conv1", "conv2"):
        maps = pooled_convolution(x, params[name]["kernel"], 2)
        x = nn.relu(maps + params[name]["bias"].reshape(1, 1, 1, -1))
    return flatten(x) @ params["fc"]["kernel"] + params["fc"]["bias"].reshape(1, -1)


class NoiseSource(nn.Module):
    """Generator without parameters: its noise is its example, to test a discriminator alone.

    Attributes:
        shape: shape of an example.

    Raises:
        ValueError: noise of another length.

    Source: ``generate_random`` in the notebooks of :class:`~jaxdl.models.DenseGenerator`, with
    ``jax.random.uniform`` as the noise.

    >>> source = NoiseSource((28, 28, 1))
    >>> source.num_latents, source.apply({}, jnp.zeros((2, 784))).shape
    (784, (2, 28, 28, 1))
    """

    shape: Sequence[int] = (28, 28, 1)

    @property
    def num_latents(self) -> int:
        """Length of the noise."""
        return math.prod(self.shape)

    @nn.compact
    def __call__(
        self, noise: Num[Array, "B num_latents"], *, train: bool = False
    ) -> Num[Array, "B ..."]:
        """Reshapes the noise.

        Args:
            noise: (B, num_latents).
            train: has no effect.

        Returns:
            (B, *shape).
        """
        del train
        check_shape("noise", noise, ("B", self.num_latents))
        return noise.reshape(noise.shape[0], *self.shape)
