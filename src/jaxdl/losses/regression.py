"""Regression losses."""

import optax
from jaxtyping import Float, Real

from jaxdl._checks import check_positive
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import absolute, check_alike, floating, mean_over_features
from jaxdl.types import Array


@explain_keywords
def squared_error(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"]
) -> Float[Array, " B"]:
    r"""Squared error, averaged over an example's outputs: :math:`\frac1n\sum_i (p_i - t_i)^2`.

    Half of it is the least-squares loss whose gradient is the residual.

    Args:
        predictions: (B, ...).
        targets: like ``predictions``.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.mse_loss``; its mean over a batch is the mean of these.

    >>> import jax.numpy as jnp
    >>> print(squared_error(jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 3.0]])))
    [2.5]
    """
    check_alike(predictions=predictions, targets=targets)
    return mean_over_features(optax.losses.squared_error(*floating(predictions, targets)))


@explain_keywords
def absolute_error(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"]
) -> Float[Array, " B"]:
    r"""Absolute error, averaged over an example's outputs: :math:`\frac1n\sum_i |p_i - t_i|`.

    Args, returns and raises: as :func:`squared_error`. The gradient of an error of 0 is 0.

    Source: ``torch.nn.functional.l1_loss``; its mean over a batch is the mean of these.

    >>> import jax.numpy as jnp
    >>> print(absolute_error(jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 3.0]])))
    [1.5]
    """
    check_alike(predictions=predictions, targets=targets)
    predictions, targets = floating(predictions, targets)
    return mean_over_features(absolute(predictions - targets))


@explain_keywords
def huber(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"], *, delta: float = 1.0
) -> Float[Array, " B"]:
    r"""Huber loss of the errors e = p - t, averaged over an example's outputs.

    .. math:: \tfrac12 e^2 \text{ where } |e| \le \delta,\quad \delta(|e| - \tfrac12\delta)
              \text{ elsewhere}

    Args:
        predictions: (B, ...).
        targets: like ``predictions``.
        delta: δ, greater than 0, in the unit of the targets.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, or δ not greater than 0.

    Source: ``torch.nn.functional.huber_loss``. ``smooth_l1_loss(beta=β)`` is
    ``huber(..., delta=β) / β``.

    >>> import jax.numpy as jnp
    >>> print(huber(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    [0.125 2.5  ]
    """
    check_alike(predictions=predictions, targets=targets)
    check_positive(delta=delta)
    predictions, targets = floating(predictions, targets)
    return mean_over_features(optax.losses.huber_loss(predictions, targets, delta=delta))
