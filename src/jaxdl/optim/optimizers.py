"""Optimizers as PyTorch defines them, built from Optax.

Every optimizer here is an ``optax.GradientTransformation`` and chains with any other. The learning
rate lives in the optimizer state (``optax.inject_hyperparams``), where
:func:`jaxdl.optim.learning_rates` reads it at any step and a sweep can vmap over it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.optim.schedules import Schedule
from jaxdl.types import Array, PyTree

LearningRate = float | Array | Schedule
Mask = PyTree | Callable[[PyTree], PyTree] | None


def sgd(
    learning_rate: LearningRate,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum and coupled weight decay.

    Args:
        learning_rate: number, or schedule of the step.
        momentum: fraction of the last update that is kept.
        nesterov: look ahead along the momentum, of which there must be some.
        weight_decay: λ; λ·w is added to the gradient, before momentum.
        mask: pytree of booleans, or a function of the parameters that gives one: what decays.

    Raises:
        ValueError: ``nesterov`` without momentum.

    Source: ``torch.optim.SGD`` (dampening 0), equal to it.
    """
    if nesterov and _is_zero(momentum):
        raise ValueError(f"nesterov needs a momentum greater than 0, got momentum={momentum}.")
    trace = optax.identity() if _is_zero(momentum) else optax.trace(momentum, nesterov)
    return _coupled(learning_rate, weight_decay, mask, trace)


def adam(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adam with coupled weight decay: λ·w is added to the gradient, as an L2 penalty would.

    Args:
        learning_rate: number, or schedule of the step.
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.
        eps: added to the root of the second moment.
        weight_decay: λ.
        mask: what decays; see :func:`sgd`.

    Source: ``torch.optim.Adam``, equal to it. For decay apart from the gradient see :func:`adamw`.
    """
    return _coupled(learning_rate, weight_decay, mask, optax.scale_by_adam(b1, b2, eps))


def adamw(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay: weights shrink by the learning rate times λ.

    Args: as :func:`adam`. Source: ``torch.optim.AdamW``, equal to it, with its default λ (Optax's
    is 1e-4).
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


def rmsprop(
    learning_rate: LearningRate = 1e-2,
    *,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """RMSprop: the gradient divided by the root of a running mean of its squares.

    Args:
        learning_rate: number, or schedule of the step.
        decay: of the running mean; PyTorch's ``alpha``.
        eps: added to the root, not under it.
        momentum: fraction of the last update that is kept.
        centered: divide by the running deviation instead.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: what decays; see :func:`sgd`.

    Source: ``torch.optim.RMSprop``, equal to it. ``optax.rmsprop`` has ε under the root, decay 0.9
    and the learning rate inside the momentum.
    """
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    trace = optax.identity() if _is_zero(momentum) else optax.trace(momentum)
    return _coupled(learning_rate, weight_decay, mask, scale(decay, eps, eps_in_sqrt=False), trace)


class SumOfSquares(NamedTuple):
    """The state of :func:`adagrad`: all squared gradients so far."""

    sum_of_squares: PyTree


def adagrad(
    learning_rate: LearningRate = 1e-2,
    *,
    eps: float = 1e-10,
    initial_accumulator: float = 0.0,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adagrad: the gradient divided by the root of the sum of all its squares so far.

    Args:
        learning_rate: number, or schedule of the step.
        eps: added to the root, not under it (``optax.adagrad`` has it under it).
        initial_accumulator: what the sum starts from.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: what decays; see :func:`sgd`.

    Source: ``torch.optim.Adagrad`` with ``lr_decay=0``, equal to it.
    """

    def init(params: PyTree) -> SumOfSquares:
        return SumOfSquares(jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator), params))

    def update(
        updates: PyTree, state: SumOfSquares, params: PyTree = None
    ) -> tuple[PyTree, SumOfSquares]:
        del params
        sums = jax.tree.map(lambda s, g: s + jnp.square(g), state.sum_of_squares, updates)
        updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, sums)
        return updates, SumOfSquares(sums)

    return _coupled(learning_rate, weight_decay, mask, optax.GradientTransformation(init, update))


def adadelta(
    learning_rate: LearningRate = 1.0,
    *,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adadelta: steps as large, root mean square, as the last ones were.

    Args:
        learning_rate: number, or schedule of the step.
        rho: decay of both running means.
        eps: added under both roots.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: what decays; see :func:`sgd`.

    Source: ``torch.optim.Adadelta``, equal to it.
    """
    return _coupled(learning_rate, weight_decay, mask, optax.scale_by_adadelta(rho, eps))


def lamb(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """LAMB: Adam whose step for every array is as long as the array, for very large batches.

    Args: as :func:`adamw`. Source: ``optax.lamb``; You et al. 2020, algorithm 2. PyTorch has none.
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.lamb(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


def lion(
    learning_rate: LearningRate = 1e-4,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Lion: the sign of an interpolated momentum; wants a rate some ten times below Adam's.

    Args: as :func:`adamw`. Source: ``optax.lion``; Chen et al. 2023, algorithm 2. PyTorch has none.
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


def muon(
    learning_rate: LearningRate = 1e-3,
    *,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Muon: the momentum of every matrix, made orthogonal; all that is no matrix follows Adam.

    Args:
        learning_rate: number, or schedule of the step; Adam's too.
        momentum: with Nesterov's look ahead.
        weight_decay: λ, decoupled.
        mask: which of the matrices decay.

    Source: ``torch.optim.Muon``, equal to its formula; Jordan et al. 2024. PyTorch's takes matrices
    only and iterates in bfloat16, which moves its steps by 1 to 3 %; this one iterates in float32.
    ``optax.contrib.muon`` corrects the momentum for its start from 0: its second step differs by
    10 %.
    """

    def kind(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: "matrix" if leaf.ndim == 2 else "rest", params)

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        matrix = optax.chain(
            optax.trace(momentum, nesterov=True),
            optax.scale(1.0 - momentum),
            optax.stateless(lambda updates, _: jax.tree.map(_orthogonal, updates)),
            optax.add_decayed_weights(weight_decay, mask),
            optax.scale_by_learning_rate(learning_rate),
        )
        return optax.multi_transform({"matrix": matrix, "rest": optax.adam(learning_rate)}, kind)

    return _with_learning_rate(make, learning_rate)


def _orthogonal(matrix: Array) -> Array:
    """Singular values of about 1 for a kernel (in, out), times the root of out/in where above 1.

    Five steps of Newton and Schulz: ``x ← 3.4445 x − 4.775 (x xᵀ) x + 2.0315 (x xᵀ)² x``.
    """
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / jnp.maximum(jnp.linalg.norm(x), 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if rows > columns else x) * max(1.0, columns / rows) ** 0.5


def _coupled(
    learning_rate: LearningRate,
    weight_decay: float,
    mask: Mask,
    *transformations: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Decay joins the gradient, then come the transformations, then the learning rate."""
    none = _is_zero(weight_decay)
    decay = optax.identity() if none else optax.add_decayed_weights(weight_decay, mask)

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.chain(decay, *transformations, optax.scale_by_learning_rate(learning_rate))

    return _with_learning_rate(make, learning_rate)


def _is_zero(value: float | Array) -> bool:
    """Whether a number is known to be 0, so that its part can be left out; a traced one is not."""
    return not isinstance(value, jax.core.Tracer) and not value


def _with_learning_rate(
    make: Callable[[LearningRate], optax.GradientTransformation], learning_rate: LearningRate
) -> optax.GradientTransformation:
    return optax.inject_hyperparams(make)(learning_rate=learning_rate)
