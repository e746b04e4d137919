"""Regression on a line: bare functions over a small dictionary, and a polynomial's coefficients."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.checks import check_positive, check_shape
from jaxdl.nn import Dense, uniform_fan_in, uniform_fan_in_bias
from jaxdl.types import Array


def init_linear_regression(key: Array) -> dict[str, Array]:
    """Two scalars to start from: w from the standard normal distribution, b = 0.

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


def linear_regression(params: dict[str, Array], x: Array) -> Array:
    """The line :math:`y = w x + b`: 2 parameters.

    Args:
        params: ``{"w": (), "b": ()}``.
        x: any shape.

    Returns:
        y, of the shape of ``x``.

    Source: ``torch.add(torch.mul(w, x), b)``. There is no sigmoid in it.

    >>> params = {"w": jnp.array(2.0), "b": jnp.array(5.0)}
    >>> print(linear_regression(params, jnp.array([0.0, 1.0, 10.0])))
    [ 5.  7. 25.]
    """
    for name in ("w", "b"):
        check_shape(f"params[{name!r}]", params[name], ())
    return params["w"] * x + params["b"]


def init_logistic_regression(key: Array, num_inputs: int = 2) -> dict[str, Array]:
    r"""Kernel and bias to start from, both :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` for n inputs.

    Args:
        key: PRNG key.
        num_inputs: n.

    Returns:
        ``{"kernel": (n, 1), "bias": (1,)}`` float32, for :func:`logistic_regression`.

    Raises:
        ValueError: no inputs.

    Source: ``torch.nn.Linear(n, 1)``; the kernel is its weight transposed.

    >>> init_logistic_regression(jax.random.key(0), 3)["kernel"].shape
    (3, 1)
    """
    check_positive(num_inputs=num_inputs)
    kernel_key, bias_key = jax.random.split(key)
    return {
        "kernel": uniform_fan_in()(kernel_key, (num_inputs, 1)),
        "bias": uniform_fan_in_bias(num_inputs)(bias_key, (1,)),
    }


def logistic_regression(params: dict[str, Array], x: Array) -> Array:
    r"""The log-odds of class 1, :math:`z = x \cdot w + b`: n + 1 parameters.

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

    Source: ``torch.nn.Linear(n, 1)`` followed by ``torch.nn.Sigmoid`` and ``BCELoss``; equal to it
    where that one is exact.

    >>> params = {"kernel": jnp.array([[1.0], [-2.0]]), "bias": jnp.array([0.5])}
    >>> print(logistic_regression(params, jnp.array([[1.0, 1.0], [3.0, 0.0]])))
    [-0.5  3.5]
    """
    check_shape("x", x, ("B", params["kernel"].shape[0]))
    return (x @ params["kernel"])[:, 0] + params["bias"]


class PolynomialRegressor(nn.Module):
    r"""A dense layer on tanh of all points gives the coefficients of a polynomial through them.

    .. math:: c = W \tanh(x) + b,\quad y_i = \sum_{k=0}^{d} c_k x_i^k

    100 points and a quartic: 100 → 5, 505 parameters.

    Args of the call: x (B, P), the P points of B curves; train changes nothing. Returns: (B, P).

    Intermediates: ``coefficients`` (B, d + 1), lowest power first.

    Attributes:
        degree: d.
        dtype: of the computation; None infers it.

    Source: ``torch.nn.Linear(100, 5)`` on ``torch.tanh(x)``, the sine fit of a PyTorch course.

    >>> x = jnp.linspace(0.0, 1.0, 100)[None]
    >>> variables = jax.eval_shape(PolynomialRegressor().init, jax.random.key(0), x)
    >>> variables["params"]["Dense_0"]["kernel"].shape
    (100, 5)
    """

    degree: int = 4
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        check_shape("x", x, ("B", "P"))
        coefficients = Dense(self.degree + 1, dtype=self.dtype)(jnp.tanh(x))
        self.sow("intermediates", "coefficients", coefficients)
        powers = jnp.stack([x**k for k in range(self.degree + 1)], axis=-1)
        return jnp.einsum("bk,bpk->bp", coefficients, powers.astype(coefficients.dtype))
