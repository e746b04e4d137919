"""Optimizers as PyTorch defines them, built from Optax.

Every optimizer here is an ``optax.GradientTransformation`` and chains with any other. The learning
rate lives in the optimizer state (``optax.inject_hyperparams``), where
:func:`jaxdl.optim.learning_rates` reads it at any step. Numbers out of range are refused as PyTorch
refuses them; traced ones, such as those of a sweep, are not checked.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_below_one, check_fraction, check_not_negative
from jaxdl._pytorch_names import explain_keywords
from jaxdl.optim.schedules import Schedule
from jaxdl.types import Array, PyTree

LearningRate = float | Array | Schedule
Mask = PyTree | Callable[[PyTree], PyTree] | None


@explain_keywords
def sgd(
    learning_rate: LearningRate,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Stochastic gradient descent with momentum and coupled weight decay.

    Args:
        learning_rate: number, or schedule of the step.
        momentum: fraction of the last update that is kept.
        dampening: τ, at most 1; every gradient but the first enters the momentum times 1 − τ.
        nesterov: Nesterov's momentum; takes a momentum greater than 0 and no dampening.
        weight_decay: λ; λ·w is added to the gradient, before momentum.
        mask: pytree of booleans, or function of the parameters that returns one: the parameters
            that decay.

    Raises:
        ValueError: a number out of range; ``nesterov`` without momentum or with dampening.

    Source: ``torch.optim.SGD``, equal to it. Its ``maximize=True`` is
    ``optax.chain(optax.scale(-1.0), sgd(...))``, for every optimizer.

    >>> tx = sgd(0.1, momentum=0.9)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.1 -0.1]
    """
    check_not_negative(momentum=momentum)
    check_fraction(dampening=dampening)
    if nesterov and (_is_zero(momentum) or not _is_zero(dampening)):
        raise ValueError(
            "nesterov takes a momentum greater than 0 and dampening=0, "
            f"got momentum={momentum} and dampening={dampening}."
        )
    trace = optax.identity() if _is_zero(momentum) else optax.trace(momentum, nesterov)
    if _is_zero(momentum) or _is_zero(dampening):
        return _coupled(learning_rate, weight_decay, mask, trace)
    return _coupled(learning_rate, weight_decay, mask, _dampen(dampening), trace)


@explain_keywords
def adam(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with coupled weight decay: λ·w is added to the gradient, as an L2 penalty would.

    Args:
        learning_rate: number, or schedule of the step.
        b1: decay of the mean of the gradients, in [0, 1).
        b2: decay of the mean of their squares, in [0, 1).
        eps: ε, added to the root of the second moment.
        weight_decay: λ.
        amsgrad: divide by the largest second moment so far.
        mask: parameters that decay; see :func:`sgd`.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.Adam``, equal to it. See :func:`adamw` for decoupled decay.

    >>> tx = adam(1e-3, b1=0.5)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([0.5, -50.0])}, tx.init(params), params)
    >>> print(updates["w"].round(5))
    [-0.001  0.001]
    """
    _check_moments(b1, b2, eps)
    scale = _scale_by_amsgrad if amsgrad else optax.scale_by_adam
    return _coupled(learning_rate, weight_decay, mask, scale(b1, b2, eps))


@explain_keywords
def adamw(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: weights shrink by the learning rate times λ.

    Args and raises: as :func:`adam`.

    Source: ``torch.optim.AdamW``, equal to it, with its default λ (Optax's is 1e-4).

    >>> tx = adamw(0.1, weight_decay=0.5)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.zeros(2)}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.05 -0.05]
    """
    _check_moments(b1, b2, eps)
    check_not_negative(weight_decay=weight_decay)

    scale = _scale_by_amsgrad if amsgrad else optax.scale_by_adam

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.chain(
            scale(b1, b2, eps),
            optax.add_decayed_weights(weight_decay, mask),
            optax.scale_by_learning_rate(learning_rate),
        )

    return _with_learning_rate(make, learning_rate)


@explain_keywords
def rmsprop(
    learning_rate: LearningRate = 1e-2,
    *,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """RMSprop: the gradient divided by the root of a running mean of its squares.

    Args:
        learning_rate: number, or schedule of the step.
        decay: of the running mean, in [0, 1]; PyTorch's ``alpha``.
        eps: ε, added to the root, not under it.
        momentum: fraction of the last update that is kept.
        centered: divide by the running standard deviation instead.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: parameters that decay; see :func:`sgd`.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.RMSprop``, equal to it. ``optax.rmsprop`` has ε under the root, decay 0.9
    and the learning rate inside the momentum.

    >>> tx = rmsprop(0.01, decay=0.75)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.02 -0.02]
    """
    check_fraction(decay=decay)
    check_not_negative(eps=eps, momentum=momentum)
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    trace = optax.identity() if _is_zero(momentum) else optax.trace(momentum)
    return _coupled(learning_rate, weight_decay, mask, scale(decay, eps, eps_in_sqrt=False), trace)


class SumOfSquares(NamedTuple):
    """The state of :func:`adagrad`: the sum of all squared gradients so far."""

    sum_of_squares: PyTree


@explain_keywords
def adagrad(
    learning_rate: LearningRate = 1e-2,
    *,
    eps: float = 1e-10,
    initial_accumulator: float = 0.0,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Adagrad: the gradient divided by the root of the sum of all its squares so far.

    Args:
        learning_rate: number, or schedule of the step.
        eps: ε, added to the root, not under it (``optax.adagrad`` has it under it).
        initial_accumulator: initial value of the sum.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: parameters that decay; see :func:`sgd`.

    Raises:
        ValueError: a negative number.

    Source: ``torch.optim.Adagrad`` with ``lr_decay=0``, equal to it.

    >>> tx = adagrad(0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([2.0, -3.0])}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.1  0.1]
    """
    check_not_negative(eps=eps, initial_accumulator=initial_accumulator)

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


@explain_keywords
def adadelta(
    learning_rate: LearningRate = 1.0,
    *,
    decay: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Adadelta: the gradient scaled by the ratio of the root mean squares of updates and gradients.

    Args:
        learning_rate: number, or schedule of the step.
        decay: of both running means, in [0, 1]; PyTorch's ``rho``.
        eps: ε, added under both roots.
        weight_decay: λ, coupled; see :func:`sgd`.
        mask: parameters that decay; see :func:`sgd`.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.Adadelta``, equal to it.

    >>> tx = adadelta(1.0)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    >>> print(updates["w"].round(5))
    [-0.00316 -0.00316]
    """
    check_fraction(decay=decay)
    check_not_negative(eps=eps)
    return _coupled(learning_rate, weight_decay, mask, optax.scale_by_adadelta(decay, eps))


@explain_keywords
def lamb(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """LAMB: Adam whose step is scaled to the norm of each array, for very large batches.

    Args and raises: as :func:`adamw`.

    Source: ``optax.lamb``; You et al. 2020, algorithm 2. Not in PyTorch.

    >>> tx = lamb(0.1)
    >>> params = {"w": jnp.array([3.0, 4.0])}
    >>> updates, state = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    >>> print(jnp.linalg.norm(updates["w"]).round(4))
    0.5
    """
    _check_moments(b1, b2, eps)
    check_not_negative(weight_decay=weight_decay)

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.lamb(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


@explain_keywords
def lion(
    learning_rate: LearningRate = 1e-4,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Lion: the sign of an interpolated momentum; its rate is about a tenth of Adam's.

    Args and raises: as :func:`adamw`.

    Source: ``optax.lion``; Chen et al. 2023, algorithm 2. Not in PyTorch.

    >>> tx = lion(1e-2, weight_decay=0.0)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([5.0, -0.1])}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.01  0.01]
    """
    _check_moments(b1, b2)
    check_not_negative(weight_decay=weight_decay)

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


@explain_keywords
def muon(
    learning_rate: LearningRate = 1e-3,
    *,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon: the momentum of every matrix, orthogonalized; other parameters follow Adam.

    Args:
        learning_rate: number, or schedule of the step; Adam's too.
        momentum: Nesterov's, in [0, 1).
        weight_decay: λ, decoupled.
        mask: matrices that decay.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.Muon``, equal to its formula; Jordan et al. 2024. PyTorch's takes matrices
    only and iterates in bfloat16, which changes its steps by 1 to 3 %; this one iterates in
    float32. ``optax.contrib.muon`` corrects the momentum for its start from 0: its second step
    differs by 10 %.

    >>> tx = muon(0.1)
    >>> params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    >>> updates, state = tx.update(params, tx.init(params), params)
    >>> print(updates["kernel"].shape, updates["bias"].max().round(3))
    (2, 3) -0.1
    """
    check_below_one(momentum=momentum)
    check_not_negative(weight_decay=weight_decay)

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


def _dampen(dampening: float) -> optax.GradientTransformation:
    """Scales every gradient but the first by ``1 - dampening``."""
    return optax.scale_by_schedule(lambda step: jnp.where(step == 0, 1.0, 1.0 - dampening))


class AmsgradState(NamedTuple):
    """The state of Adam with ``amsgrad``: step, both moments, and the maximum of the second."""

    step: Array
    mu: PyTree
    nu: PyTree
    nu_max: PyTree


def _scale_by_amsgrad(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """PyTorch's form: the maximum of the second moment before its correction, unlike Optax's."""

    def init(params: PyTree) -> AmsgradState:
        zeros = (optax.tree.zeros_like(params) for _ in range(3))  # not one buffer
        return AmsgradState(jnp.zeros((), jnp.int32), *zeros)

    def update(
        updates: PyTree, state: AmsgradState, params: PyTree = None
    ) -> tuple[PyTree, AmsgradState]:
        del params
        count = optax.safe_increment(state.step)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)
        mu_hat = optax.tree.bias_correction(mu, b1, count)
        nu_hat = optax.tree.bias_correction(nu_max, b2, count)
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu_hat, nu_hat)
        return steps, AmsgradState(count, mu, nu, nu_max)

    return optax.GradientTransformation(init, update)


def _orthogonal(matrix: Array) -> Array:
    """Singular values of about 1 for a kernel (in, out), times the root of out/in where above 1.

    Five steps of Newton and Schulz: ``x ← 3.4445 x − 4.775 (x xᵀ) x + 2.0315 (x xᵀ)² x``.
    """
    rows, columns = matrix.shape
    x: Array = matrix.T if rows > columns else matrix
    x = x / jnp.maximum(jnp.linalg.norm(x), 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    scale: float = max(1.0, columns / rows) ** 0.5
    return (x.T if rows > columns else x) * scale


def _coupled(
    learning_rate: LearningRate,
    weight_decay: float,
    mask: Mask,
    *transformations: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Adds decay to the gradient before the transformations and the learning rate."""
    check_not_negative(weight_decay=weight_decay)
    none = _is_zero(weight_decay)
    decay = optax.identity() if none else optax.add_decayed_weights(weight_decay, mask)

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.chain(decay, *transformations, optax.scale_by_learning_rate(learning_rate))

    return _with_learning_rate(make, learning_rate)


def _is_zero(value: float | Array) -> bool:
    """Returns True for a concrete 0, whose transformation can be omitted."""
    return not isinstance(value, jax.core.Tracer) and not value


def _with_learning_rate(
    make: Callable[[Array], optax.GradientTransformation], learning_rate: LearningRate
) -> optax.GradientTransformationExtraArgs:
    if not callable(learning_rate):
        check_not_negative(learning_rate=learning_rate)
    return optax.inject_hyperparams(make)(learning_rate=learning_rate)


def _check_moments(b1: float, b2: float, eps: float = 0.0) -> None:
    check_below_one(b1=b1, b2=b2)
    check_not_negative(eps=eps)
