"""Regression losses."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Real

from jaxdl._checks import check_fraction, check_not_negative, check_positive
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

    >>> print(huber(jnp.array([0.5, 3.0]), jnp.zeros(2)))
    [0.125 2.5  ]
    """
    check_alike(predictions=predictions, targets=targets)
    check_positive(delta=delta)
    predictions, targets = floating(predictions, targets)
    return mean_over_features(optax.losses.huber_loss(predictions, targets, delta=delta))


@explain_keywords
def smooth_l1(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"], *, beta: float = 1.0
) -> Float[Array, " B"]:
    r"""Smooth L1 loss of the errors e = p - t, averaged over an example's outputs.

    .. math:: \tfrac{1}{2\beta} e^2 \text{ where } |e| < \beta,\quad |e| - \tfrac12\beta
              \text{ elsewhere}

    Args:
        predictions: (B, ...).
        targets: like ``predictions``.
        beta: β, at least 0, in the unit of the targets; 0 is :func:`absolute_error`.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, or a negative β.

    Source: ``torch.nn.functional.smooth_l1_loss``; :func:`huber` over β.

    >>> print(smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2), beta=0.5))
    [0.25 2.75]
    """
    check_not_negative(beta=beta)
    if not isinstance(beta, jax.core.Tracer) and beta == 0:
        return absolute_error(predictions, targets)
    return huber(predictions, targets, delta=beta) / beta


def log_cosh(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"]
) -> Float[Array, " B"]:
    r"""Logarithm of the hyperbolic cosine of the error, averaged over an example's outputs.

    .. math:: \log \cosh(p - t)

    Near 0 it is half the squared error, far from it the absolute error minus log 2.

    Args, returns and raises: as :func:`squared_error`.

    Source: Keras's ``LogCosh``; PyTorch has none.

    >>> print(log_cosh(jnp.array([0.0, 10.0]), jnp.zeros(2)).round(4))
    [0.     9.3069]
    """
    check_alike(predictions=predictions, targets=targets)
    return mean_over_features(optax.losses.log_cosh(*floating(predictions, targets)))


def quantile(
    predictions: Real[Array, " B *F"], targets: Real[Array, " B *F"], *, level: float | Array
) -> Float[Array, " B"]:
    r"""Quantile (pinball) loss, averaged over an example's outputs.

    .. math:: \max(q (t - p), (q - 1)(t - p))

    The prediction that minimizes it is the q-quantile of the targets.

    Args:
        predictions: (B, ...).
        targets: like ``predictions``.
        level: q in [0, 1], a number or an array that broadcasts to one example: one level per
            output. The values of an array are not checked.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, or a level outside [0, 1].

    Source: ``sklearn.metrics.mean_pinball_loss``.

    >>> print(quantile(jnp.array([1.0, 3.0]), jnp.full(2, 2.0), level=0.75))
    [0.75 0.25]
    """
    check_alike(predictions=predictions, targets=targets)
    if isinstance(level, int | float):
        check_fraction(level=level)
    predictions, targets = floating(predictions, targets)
    error = targets - predictions
    level = jnp.broadcast_to(jnp.asarray(level, error.dtype), error.shape)
    return mean_over_features(jnp.where(error > 0, level * error, (level - 1.0) * error))


@explain_keywords
def gaussian_nll(
    mean: Real[Array, " B *F"],
    targets: Real[Array, " B *F"],
    variance: Real[Array, "..."],
    *,
    full: bool = False,
    eps: float = 1e-6,
) -> Float[Array, " B"]:
    r"""Negative log-likelihood of a normal distribution, averaged over outputs, in nats.

    .. math:: \tfrac12 \left(\log v + \frac{(t - \mu)^2}{v}\right),\quad
              v = \max(\sigma^2, \epsilon)

    Args:
        mean: (B, ...) μ.
        targets: like ``mean``.
        variance: (B, ...) σ²: the axes of ``mean``, each of its size or 1; one per example is
            (B, 1). A negative one counts as ε.
        full: add the constant ½ log 2π.
        eps: ε, greater than 0. No gradient passes through it, as in PyTorch.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that do not fit, or ε not greater than 0.

    Source: ``torch.nn.functional.gaussian_nll_loss``.

    >>> print(gaussian_nll(jnp.zeros(1), jnp.array([2.0]), jnp.array([4.0])).round(4))
    [1.1931]
    """
    check_alike(mean=mean, targets=targets)
    check_positive(eps=eps)
    mean, targets, variance = floating(mean, targets, variance)
    fits = variance.ndim == mean.ndim and all(
        size in (1, full_size) for size, full_size in zip(variance.shape, mean.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"variance must have the axes of mean {mean.shape}, each of its size or 1, e.g. (B, 1) "
            f"for one per example; got {variance.shape}."
        )
    # PyTorch clamps the values and lets the gradient of the unclamped variance pass
    clamped = variance + jax.lax.stop_gradient(jnp.maximum(variance, eps) - variance)
    clamped = jnp.broadcast_to(clamped, mean.shape)
    losses = 0.5 * (jnp.log(clamped) + (targets - mean) ** 2 / clamped)
    return mean_over_features(losses + 0.5 * math.log(2 * math.pi) if full else losses)


@explain_keywords
def poisson_nll(
    predictions: Real[Array, " B *F"],
    targets: Real[Array, " B *F"],
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Float[Array, " B"]:
    r"""Negative log-likelihood of a Poisson distribution, averaged over outputs, in nats.

    .. math:: e^x - t x \text{ with } x = \log \lambda,\quad \lambda - t \log(\lambda + \epsilon)
              \text{ with the rate } \lambda

    Args:
        predictions: (B, ...) log-rates, or rates.
        targets: like ``predictions``, counts of 0 or more.
        log_input: ``predictions`` are log-rates.
        full: add Stirling's approximation of log t! where t > 1.
        eps: ε of the rate's logarithm.

    Returns:
        (B,) losses; NaN for a rate below -ε.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.poisson_nll_loss``.

    >>> print(poisson_nll(jnp.zeros(1), jnp.array([3.0])))
    [1.]
    """
    check_alike(predictions=predictions, targets=targets)
    predictions, targets = floating(predictions, targets)
    if log_input:
        losses = jnp.exp(predictions) - targets * predictions
    else:
        losses = predictions - targets * jnp.log(predictions + eps)
    if full:
        count = jnp.where(targets > 1, targets, 1.0)
        stirling = count * jnp.log(count) - count + 0.5 * jnp.log(2 * jnp.pi * count)
        losses += jnp.where(targets > 1, stirling, 0.0)
    return mean_over_features(losses)
