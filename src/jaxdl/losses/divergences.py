"""Divergences between distributions, and the ELBO."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real

from jaxdl._checks import check_not_negative, check_num_classes, check_positive, check_shape
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import check_alike, floating, sum_over_features
from jaxdl.losses.classification import _binary_cross_entropy
from jaxdl.types import Array


@explain_keywords
def kl_divergence(
    log_predictions: Real[Array, " B *F"],
    targets: Real[Array, " B *F"],
    *,
    log_targets: bool = False,
) -> Float[Array, " B"]:
    r"""Kullback-Leibler divergence :math:`\sum_i t_i (\log t_i - \log p_i)` in nats.

    Args:
        log_predictions: (B, ...) log-probabilities, not probabilities.
        targets: like ``log_predictions``, probabilities; 0 gives 0, a negative number NaN.
        log_targets: ``targets`` are log-probabilities.

    Returns:
        (B,) sums over an example's features.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.kl_div``; its ``reduction="batchmean"`` is the mean of these.
    Optax's gradient is NaN where a target is 0.

    >>> print(kl_divergence(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[0.25, 0.75]])).round(5))
    [0.13081]
    """
    check_alike(log_predictions=log_predictions, targets=targets)
    log_predictions, targets = floating(log_predictions, targets)
    probabilities = jnp.exp(targets) if log_targets else targets
    zero = probabilities == 0
    logs = targets if log_targets else jnp.log(jnp.where(zero, 1.0, targets))
    return sum_over_features(probabilities * jnp.where(zero, 0.0, logs - log_predictions))


def kl_to_standard_normal(
    mean: Real[Array, " B *Z"], log_variance: Real[Array, " B *Z"]
) -> Float[Array, " B"]:
    r"""Kullback-Leibler divergence of :math:`N(\mu, \sigma^2)` from :math:`N(0, 1)`, in nats.

    .. math:: \tfrac12 \sum_i \left(\mu_i^2 + \sigma_i^2 - \log \sigma_i^2 - 1\right)

    Args:
        mean: (B, ...) μ.
        log_variance: like ``mean``, :math:`\log \sigma^2`.

    Returns:
        (B,) sums over the latent axes.

    Raises:
        ValueError: shapes that differ.

    Source: Kingma & Welling 2014, appendix B.

    >>> print(kl_to_standard_normal(jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2))))
    [2.5]
    """
    check_alike(mean=mean, log_variance=log_variance)
    mean, log_variance = floating(mean, log_variance)
    # expm1(v) - v keeps the digits that exp(v) - v - 1 loses near the optimum
    return 0.5 * sum_over_features(mean**2 + (jnp.expm1(log_variance) - log_variance))


def negative_elbo(
    logits: Float[Array, " B *F"],
    targets: Real[Array, " B *F"],
    mean: Real[Array, " B *Z"],
    log_variance: Real[Array, " B *Z"],
    *,
    beta: float = 1.0,
) -> Float[Array, " B"]:
    r"""Negative evidence lower bound of a variational autoencoder with Bernoulli pixels.

    .. math:: -\sum_i \log p(t_i \mid z_i) + \beta\, \mathrm{KL}(N(\mu, \sigma^2) \| N(0, 1))

    Args:
        logits: (B, ...) log-odds of the pixels.
        targets: like ``logits``, pixels in [0, 1].
        mean: (B, ...) μ of the latent variables.
        log_variance: like ``mean``, :math:`\log \sigma^2`.
        beta: β, at least 0; 1 is the bound on the log-likelihood.

    Returns:
        (B,) nats, sums over pixels and latent variables.

    Raises:
        ValueError: shapes or batch sizes that differ, or a negative β.

    Source: Kingma & Welling 2014, eq. 10; Higgins et al. 2017 for β. In PyTorch:
    ``binary_cross_entropy_with_logits(reduction="sum")`` plus the divergence.

    >>> print(negative_elbo(*[jnp.zeros((1, 4))] * 2, *[jnp.zeros((1, 2))] * 2).round(4))
    [2.7726]
    """
    check_alike(logits=logits, targets=targets)
    check_shape("mean", mean, (logits.shape[0], *mean.shape[1:]))
    check_not_negative(beta=beta)
    reconstruction = sum_over_features(_binary_cross_entropy(logits, targets))
    return reconstruction + beta * kl_to_standard_normal(mean, log_variance)


@explain_keywords
def distillation(
    logits: Float[Array, "B *T C"],
    teacher_logits: Float[Array, "B *T C"],
    *,
    temperature: float = 1.0,
) -> Float[Array, " B *T"]:
    r"""Distillation loss: the divergence of a student's classes from its teacher's, in nats.

    .. math:: \tau^2 \sum_c q_c (\log q_c - \log p_c),\quad p = \mathrm{softmax}(z / \tau),\
              q = \mathrm{softmax}(z' / \tau)

    The factor τ² keeps the size of the gradient when τ changes. No gradient reaches the teacher.

    Args:
        logits: (B, ..., C) z of the student.
        teacher_logits: like ``logits``, z' of the teacher.
        temperature: τ, greater than 0.

    Returns:
        (B, ...) losses.

    Raises:
        ValueError: shapes that differ, one class, or τ not greater than 0.

    Source: Hinton et al. 2015, section 2.1.

    >>> print(distillation(jnp.zeros((1, 2)), jnp.log(jnp.array([[0.25, 0.75]]))).round(5))
    [0.13081]
    """
    check_alike(logits=logits, teacher_logits=teacher_logits)
    check_num_classes("logits", logits.shape)
    check_positive(temperature=temperature)
    student, teacher = floating(logits, jax.lax.stop_gradient(teacher_logits))
    log_p = jax.nn.log_softmax(student / temperature)
    log_q = jax.nn.log_softmax(teacher / temperature)
    return temperature**2 * (jnp.exp(log_q) * (log_q - log_p)).sum(axis=-1)
