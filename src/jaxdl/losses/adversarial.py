"""Losses of generative adversarial networks, per example, and gradient penalties.

An :class:`AdversarialLoss` holds three functions of the discriminator's outputs (B, ...), each of
which returns (B,) losses; the outputs of an example, e.g. of patches, are averaged.

============================== ======================== ========== =================================
loss                           discriminator's outputs  ideal loss generator minimizes
============================== ======================== ========== =================================
:func:`least_squares`          probabilities, or scores 1/4        (D(G(z)) - 1)²
:func:`on_probabilities`       probabilities            ln 2       -log D(G(z))
:func:`non_saturating`         logits                   ln 2       -log σ(D(G(z)))
:func:`saturating`             logits                   ln 2       log(1 - σ(D(G(z))))
:func:`hinge`                  scores                   1          -D(G(z))
:func:`wasserstein`            scores                   0          -D(G(z))
============================== ======================== ========== =================================

The ideal loss is the mean of the discriminator's losses on real and generated examples when it
cannot distinguish them: at an output of ½ for probabilities, 0 for logits and scores.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jaxdl._checks import check_fraction, check_not_negative, check_positive
from jaxdl.losses._common import (
    check_alike,
    flatten,
    floating,
    mean_over_features,
    sum_over_features,
)
from jaxdl.losses.classification import binary_cross_entropy, binary_cross_entropy_on_probabilities
from jaxdl.losses.regression import squared_error
from jaxdl.types import Array

Critic = Callable[[Array], Array]
"""The discriminator as a function of examples only: (B, ...) → (B, ...)."""

Penalty = Callable[[Critic, Array, Array, Array], Array]
"""``(critic, real, fake, key) -> (B,)``, added to the discriminator's losses on real examples."""


class AdversarialLoss(NamedTuple):
    """The losses of both players, as functions of the discriminator's outputs (B, ...) → (B,).

    Attributes:
        real: the discriminator's loss on real examples.
        fake: the discriminator's loss on generated examples.
        generator: the generator's loss on generated examples.
    """

    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    generator: Callable[[Array], Array]


def least_squares(*, real_target: float = 1.0, fake_target: float = 0.0) -> AdversarialLoss:
    """Least-squares loss: squared errors against constant targets, 1 for the generator.

    Args:
        real_target: 1, or 0.9 for smoothed labels.
        fake_target: 0, or 0.1 for labels smoothed on both sides.

    Source: ``torch.nn.MSELoss`` against constant targets; Mao et al. 2017 (LSGAN) has half of it.

    >>> loss = least_squares()
    >>> half = jnp.full((1, 1), 0.5)
    >>> print(loss.real(half), loss.fake(half), loss.generator(half))
    [0.25] [0.25] [0.25]
    """
    return _targets(squared_error, real_target, fake_target, 1.0)


def on_probabilities(*, real_target: float = 1.0, fake_target: float = 0.0) -> AdversarialLoss:
    """Binary cross entropy of a discriminator that ends in a sigmoid; the generator's target is 1.

    On logits, :func:`non_saturating` is the same loss and stays accurate where a sigmoid saturates.

    Args:
        real_target: in [0, 1]; 1, or 0.9 for smoothed labels.
        fake_target: in [0, 1]; 0, or 0.1 for labels smoothed on both sides.

    Raises:
        ValueError: a target outside [0, 1].

    Source: ``torch.nn.BCELoss`` against constant targets, with its clamp of the logarithm at -100.

    >>> print(on_probabilities().fake(jnp.full((1, 1), 0.5)).round(4))
    [0.6931]
    """
    check_fraction(real_target=real_target, fake_target=fake_target)
    return _targets(binary_cross_entropy_on_probabilities, real_target, fake_target, 1.0)


def non_saturating(*, real_target: float = 1.0, fake_target: float = 0.0) -> AdversarialLoss:
    r"""Binary cross entropy from logits; the generator minimizes :math:`-\log\sigma(D(G(z)))`.

    Args:
        real_target: in [0, 1]; 1, or 0.9 for smoothed labels (Salimans et al. 2016).
        fake_target: in [0, 1]; 0, or 0.1 for labels smoothed on both sides.

    Raises:
        ValueError: a target outside [0, 1].

    Source: ``torch.nn.BCEWithLogitsLoss`` against constant targets; Goodfellow et al. 2014,
    section 3.

    >>> loss = non_saturating(real_target=0.9)
    >>> print(loss.real(jnp.zeros(1)).round(4), loss.generator(jnp.array([-100.0])))
    [0.6931] [100.]
    """
    check_fraction(real_target=real_target, fake_target=fake_target)
    return _targets(binary_cross_entropy, real_target, fake_target, 1.0)


def saturating(*, real_target: float = 1.0, fake_target: float = 0.0) -> AdversarialLoss:
    r"""Minimax loss: the generator minimizes :math:`\log(1 - \sigma(D(G(z))))`.

    The generator's gradient vanishes where the discriminator is confident; :func:`non_saturating`
    has the same fixed point without that.

    Args and raises: as :func:`non_saturating`.

    Source: Goodfellow et al. 2014, eq. 1.

    >>> print(saturating().generator(jnp.array([0.0, -100.0])).round(4) + 0.0)
    [-0.6931  0.    ]
    """
    check_fraction(real_target=real_target, fake_target=fake_target)
    logits = _targets(binary_cross_entropy, real_target, fake_target, 0.0)
    return logits._replace(generator=lambda outputs: -logits.generator(outputs))


def hinge() -> AdversarialLoss:
    """Hinge loss: max(0, 1 - D(x)) for real, max(0, 1 + D(G(z))) for fake, -D(G(z)) to generate.

    The derivative at the corner is 0, as that of ``torch.relu``.

    Source: Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17.

    >>> loss = hinge()
    >>> print(loss.real(jnp.array([0.25, 2.0])), loss.generator(jnp.array([0.25])))
    [0.75 0.  ] [-0.25]
    """
    return AdversarialLoss(
        real=lambda outputs: _mean(outputs, lambda d: jax.nn.relu(1.0 - d)),
        fake=lambda outputs: _mean(outputs, lambda d: jax.nn.relu(1.0 + d)),
        generator=lambda outputs: -_mean(outputs, lambda d: d),
    )


def wasserstein() -> AdversarialLoss:
    """Wasserstein loss: -D(x) for real, D(G(z)) for fake, -D(G(z)) to generate.

    It takes a bound on the discriminator's slope: :func:`wgan_gp` or spectral normalization.

    Source: Arjovsky et al. 2017, algorithm 1.

    >>> print(wasserstein().real(jnp.array([[1.0, 2.0]])))
    [-1.5]
    """
    return AdversarialLoss(
        real=lambda outputs: -_mean(outputs, lambda d: d),
        fake=lambda outputs: _mean(outputs, lambda d: d),
        generator=lambda outputs: -_mean(outputs, lambda d: d),
    )


def _targets(
    loss: Callable[[Array, Array], Array], real: float, fake: float, generator: float
) -> AdversarialLoss:
    def towards(target: float) -> Callable[[Array], Array]:
        def losses(outputs: Array) -> Array:
            check_alike(outputs=outputs)
            return loss(outputs, jnp.full(outputs.shape, target, jnp.float32))

        return losses

    return AdversarialLoss(towards(real), towards(fake), towards(generator))


def _mean(outputs: Array, function: Callable[[Array], Array]) -> Array:
    check_alike(outputs=outputs)
    return mean_over_features(function(*floating(outputs)))


def squared_gradient_norm(critic: Critic, inputs: Float[Array, " B *F"]) -> Float[Array, " B"]:
    r"""Squared norm of the critic's gradient at every input: :math:`\|\nabla_x D(x)\|^2`.

    If an output depends on the whole batch (BatchNorm), the gradient is that of the outputs' sum.

    Args:
        critic: (B, ...) → (B, ...).
        inputs: (B, ...) floating point.

    Returns:
        (B,) float32.

    Source: ``torch.autograd.grad(critic(x).sum(), x, create_graph=True)``.

    >>> print(squared_gradient_norm(lambda x: (x**2).sum(axis=1), jnp.array([[3.0, 4.0]])))
    [100.]
    """
    return sum_over_features(jnp.square(_input_gradients(critic, inputs)))


def gradient_penalty(
    critic: Critic, inputs: Float[Array, " B *F"], *, target: float = 1.0
) -> Float[Array, " B"]:
    r"""Squared distance of the critic's slope from a target: :math:`(\|\nabla_x D(x)\|_2 - t)^2`.

    Args:
        critic, inputs: as of :func:`squared_gradient_norm`.
        target: t, at least 0.

    Returns:
        (B,) float32. The derivative of the norm of a gradient of 0 is 0, as in PyTorch.

    Raises:
        ValueError: a negative target.

    Source: Gulrajani et al. 2017, eq. 3.

    >>> print(gradient_penalty(lambda x: (x**2).sum(axis=1), jnp.array([[3.0, 4.0]])))
    [81.]
    """
    check_not_negative(target=target)
    lengths = optax.safe_norm(flatten(_input_gradients(critic, inputs)), 0.0, axis=-1)
    return jnp.square(lengths - target)


def _input_gradients(critic: Critic, inputs: Array) -> Array:
    gradients: Array = jax.grad(lambda x: critic(x).astype(jnp.float32).sum())(inputs)
    return gradients.astype(jnp.float32)


def wgan_gp(weight: float = 10.0, *, target: float = 1.0) -> Penalty:
    """Gradient penalty of WGAN-GP, at random points between real and generated examples.

    Args:
        weight: λ, greater than 0.
        target: desired slope, at least 0.

    Returns:
        ``(critic, real, fake, key) -> (B,)``: λ times :func:`gradient_penalty` at
        ε·real + (1 - ε)·fake, with one ε from U(0, 1) per example.

    Raises:
        ValueError: a weight that is not greater than 0, or a negative target.

    Source: Gulrajani et al. 2017, algorithm 1.

    >>> real, fake = jnp.ones((1, 2)), jnp.ones((1, 2))
    >>> print(wgan_gp()(lambda x: (3.0 * x[:, 0]), real, fake, jax.random.key(0)))
    [40.]
    """
    check_positive(weight=weight)
    check_not_negative(target=target)

    def penalty(critic: Critic, real: Array, fake: Array, key: Array) -> Array:
        share = jax.random.uniform(key, (real.shape[0], *(1,) * (real.ndim - 1)), real.dtype)
        between = share * real + (1.0 - share) * fake
        return weight * gradient_penalty(critic, between, target=target)

    return penalty


def r1(weight: float = 10.0) -> Penalty:
    r"""R1 penalty: half the weight times the critic's squared slope at real examples.

    .. math:: \tfrac{\gamma}{2} \|\nabla_x D(x)\|^2

    Args:
        weight: γ, greater than 0.

    Returns:
        ``(critic, real, fake, key) -> (B,)``.

    Raises:
        ValueError: a weight that is not greater than 0.

    Source: Mescheder et al. 2018, eq. 9; for logits.

    >>> real, fake = jnp.ones((1, 2)), jnp.zeros((1, 2))
    >>> print(r1()(lambda x: (3.0 * x[:, 0]), real, fake, jax.random.key(0)))
    [45.]
    """
    check_positive(weight=weight)

    def penalty(critic: Critic, real: Array, fake: Array, key: Array) -> Array:
        del fake, key  # nothing is drawn
        return weight / 2 * squared_gradient_norm(critic, real)

    return penalty
