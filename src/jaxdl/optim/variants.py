"""Variants of Adam, and optimizers without moments, as PyTorch defines them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_not_negative, check_positive
from jaxdl._pytorch_names import explain_keywords
from jaxdl.optim.optimizers import LearningRate, Mask, _check_moments, _coupled, _with_learning_rate
from jaxdl.types import Array, PyTree


@explain_keywords
def nadam(
    learning_rate: LearningRate = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 4e-3,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""NAdam: Adam with Nesterov's momentum, whose b1 grows from about half to its value.

    .. math:: \mu_t = \beta_1 (1 - 0.5 \cdot 0.96^{t \psi})

    Args:
        learning_rate: number, or schedule of the step.
        b1: final decay of the mean of the gradients, in [0, 1).
        b2: decay of the mean of their squares, in [0, 1).
        eps: ε, added to the root of the second moment.
        momentum_decay: ψ.
        weight_decay: λ, coupled; see :func:`jaxdl.optim.sgd`.
        mask: parameters that decay; see :func:`jaxdl.optim.sgd`.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.NAdam``, equal to it; Dozat 2016. ``optax.nadam`` has a constant b1.

    >>> tx = nadam(0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(params), params)
    >>> print(", ".join(f"{u:.4f}" for u in updates["w"]))
    -0.1056, 0.1056
    """
    _check_moments(b1, b2, eps)
    check_not_negative(momentum_decay=momentum_decay)

    def momentum(step: Array) -> Array:
        return b1 * (1.0 - 0.5 * jnp.power(0.96, step * momentum_decay))

    def init(params: PyTree) -> NadamState:
        count, product = jnp.zeros((), jnp.int32), jnp.ones(())
        return NadamState(count, product, optax.tree.zeros_like(params), _zeros(params))

    def update(
        updates: PyTree, state: NadamState, params: PyTree = None
    ) -> tuple[PyTree, NadamState]:
        del params
        count = optax.safe_increment(state.step)
        now, following = momentum(count), momentum(count + 1)
        product = state.product * now
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        correction = _correction(b2, count)
        of_gradient, of_mean = (1 - now) / (1 - product), following / (1 - product * following)
        steps = jax.tree.map(
            lambda g, m, v: (of_gradient * g + of_mean * m) / (jnp.sqrt(v / correction) + eps),
            updates,
            mu,
            nu,
        )
        return steps, NadamState(count, product, mu, nu)

    return _coupled(learning_rate, weight_decay, mask, optax.GradientTransformation(init, update))


class NadamState(NamedTuple):
    """The state of :func:`nadam`: step, product of all μ, and both moments."""

    step: Array
    product: Array
    mu: PyTree
    nu: PyTree


@explain_keywords
def radam(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """RAdam: Adam that steps along the mean gradient until its second moment can be trusted.

    Args and raises: as :func:`jaxdl.optim.adam`.

    Source: ``torch.optim.RAdam``, equal to it; Liu et al. 2020, algorithm 2. ``optax.radam`` adds
    ε after the correction of the second moment.

    >>> tx = radam(0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(params), params)
    >>> print(", ".join(f"{u:.4f}" for u in updates["w"]))
    -0.1000, 0.2000
    """
    _check_moments(b1, b2, eps)
    limit = 2.0 / (1.0 - b2) - 1.0

    def init(params: PyTree) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, _zeros(params))

    def update(
        updates: PyTree, state: optax.ScaleByAdamState, params: PyTree = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        correction = _correction(b2, count)
        length = limit - 2.0 * count * (1.0 - correction) / correction
        trusted = length > 5.0
        safe = jnp.where(trusted, length, 6.0)  # no root of a negative number
        ratio = (safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe)
        factor = jnp.sqrt(ratio * correction)
        steps = jax.tree.map(
            lambda m, v: m * jnp.where(trusted, factor / (jnp.sqrt(v) + eps), 1.0),
            optax.tree.bias_correction(mu, b1, count),
            nu,
        )
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return _coupled(learning_rate, weight_decay, mask, optax.GradientTransformation(init, update))


@explain_keywords
def adamax(
    learning_rate: LearningRate = 2e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Adamax: Adam whose second moment is a decaying maximum of the gradients' absolute values.

    Args and raises: as :func:`jaxdl.optim.adam`.

    Source: ``torch.optim.Adamax``, equal to it; Kingma & Ba 2015, algorithm 2.

    >>> tx = adamax(0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(params), params)
    >>> print(", ".join(f"{u:.4f}" for u in updates["w"]))
    -0.1000, 0.1000
    """
    _check_moments(b1, b2, eps)
    return _coupled(learning_rate, weight_decay, mask, optax.scale_by_adamax(b1, b2, eps))


@explain_keywords
def asgd(
    learning_rate: float = 1e-2,
    *,
    decay: float = 1e-4,
    power: float = 0.75,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD whose rate falls as :math:`\eta / (1 + \lambda \eta t)^\alpha`, and that decays weights.

    Args:
        learning_rate: η of step 0.
        decay: λ; PyTorch's ``lambd``. Weights shrink by the current rate times λ.
        power: α, in PyTorch ``alpha``.
        weight_decay: coupled; see :func:`jaxdl.optim.sgd`.
        mask: parameters with ``weight_decay``; see :func:`jaxdl.optim.sgd`.

    Raises:
        ValueError: a negative number.

    Source: ``torch.optim.ASGD``, its weights equal to it; Polyak & Juditsky 1992. PyTorch's
    average ``ax`` of the weights, which it computes but never uses, is :func:`jaxdl.optim.swa`.

    >>> tx = asgd(0.1, decay=0.5)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(params), params)
    >>> print(updates["w"].round(3))
    [-0.15  0.15]
    """
    check_not_negative(learning_rate=learning_rate, decay=decay, power=power)

    def rate(step: Array) -> Array:
        return learning_rate / jnp.power(1.0 + decay * learning_rate * step, power)

    return _coupled(rate, weight_decay, mask, optax.add_decayed_weights(decay))


class RpropState(NamedTuple):
    """The state of :func:`rprop`: step size and last gradient of every weight."""

    step_size: PyTree
    gradient: PyTree


@explain_keywords
def rprop(
    learning_rate: float = 1e-2,
    *,
    factors: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
) -> optax.GradientTransformationExtraArgs:
    """Rprop: a step size for each weight, which grows while the gradient keeps its sign.

    Args:
        learning_rate: first step size of every weight.
        factors: of a step size where the sign changed, and where it did not; PyTorch's ``etas``.
        step_sizes: the least and the greatest.

    Raises:
        ValueError: a number out of range, or factors not around 1.

    Source: ``torch.optim.Rprop``, equal to it; for gradients of the whole data, not of batches.
    ``optax.rprop`` makes no step at first.

    >>> tx = rprop(0.1)
    >>> params = {"w": jnp.ones(2)}
    >>> updates, state = tx.update({"w": jnp.array([1.0, -2.0])}, tx.init(params), params)
    >>> print(updates["w"])
    [-0.1  0.1]
    """
    shrink, grow = factors
    if not 0 < shrink < 1 < grow:
        raise ValueError(f"factors must be (below 1, above 1), both above 0, got {factors}.")
    if not 0 < step_sizes[0] <= step_sizes[1]:
        raise ValueError(f"step_sizes must be (least, greatest), above 0, got {step_sizes}.")

    def make(learning_rate: Array) -> optax.GradientTransformation:
        def init(params: PyTree) -> RpropState:
            sizes = jax.tree.map(lambda p: jnp.full_like(p, learning_rate), params)
            return RpropState(sizes, optax.tree.zeros_like(params))

        def update(
            updates: PyTree, state: RpropState, params: PyTree = None
        ) -> tuple[PyTree, RpropState]:
            del params
            turns = jax.tree.map(lambda g, last: jnp.sign(g * last), updates, state.gradient)

            def resize(size: Array, turn: Array) -> Array:
                factor = jnp.where(turn > 0, grow, jnp.where(turn < 0, shrink, 1.0))
                return jnp.clip(size * factor, *step_sizes).astype(size.dtype)

            sizes = jax.tree.map(resize, state.step_size, turns)
            # a weight whose gradient turned rests for one step
            gradient = jax.tree.map(lambda g, turn: jnp.where(turn < 0, 0, g), updates, turns)
            steps = jax.tree.map(lambda g, size: -jnp.sign(g) * size, gradient, sizes)
            return steps, RpropState(sizes, gradient)

        return optax.GradientTransformation(init, update)

    return _with_learning_rate(make, learning_rate)


class AdafactorState(NamedTuple):
    """The state of :func:`adafactor`.

    Attributes:
        step: steps so far.
        rows: mean of the squared gradients over the last axis of each matrix; () for a vector.
        columns: the same over the axis before it.
        full: running squares of vectors; () for a matrix.
    """

    step: Array
    rows: PyTree
    columns: PyTree
    full: PyTree


@explain_keywords
def adafactor(
    learning_rate: LearningRate = 1e-2,
    *,
    decay_power: float = 0.8,
    eps: tuple[float, float] = (float(jnp.finfo(jnp.float32).eps), 1e-3),
    clip_threshold: float = 1.0,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adafactor: the second moment of a matrix as the product of a row and a column.

    The step is relative: times the root mean square of the weights, at least ``eps[1]``.

    Args:
        learning_rate: number, or schedule; bounded by :math:`1/\sqrt{t}`.
        decay_power: the second moment decays with :math:`1 - t^{-p}`; PyTorch's ``beta2_decay``
            is −p.
        eps: the least root of the second moment, and the least scale of the weights.
        clip_threshold: of the root mean square of an update; PyTorch's ``d``.
        weight_decay: λ, decoupled, times the unbounded learning rate.
        mask: parameters that decay; see :func:`jaxdl.optim.sgd`.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.Adafactor``, equal to it for vectors and matrices; Shazeer & Stern 2018.
    A kernel of a convolution (H, W, in, out) is factored over (in, out); PyTorch's (out, in, H, W)
    over (H, W).

    >>> tx = adafactor(0.1)
    >>> params = {"w": jnp.ones((2, 2))}
    >>> updates, state = tx.update({"w": jnp.ones((2, 2))}, tx.init(params), params)
    >>> print(updates["w"][0])
    [-0.1 -0.1]
    """
    check_not_negative(weight_decay=weight_decay, decay_power=decay_power)
    check_positive(clip_threshold=clip_threshold, least_root=eps[0], least_scale=eps[1])

    def init(params: PyTree) -> AdafactorState:
        return AdafactorState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(lambda p: jnp.zeros(p.shape[:-1] if p.ndim > 1 else ()), params),
            jax.tree.map(lambda p: jnp.zeros(_without(p.shape) if p.ndim > 1 else ()), params),
            jax.tree.map(lambda p: jnp.zeros(() if p.ndim > 1 else p.shape), params),
        )

    def make(learning_rate: Array) -> optax.GradientTransformation:
        def update(
            updates: PyTree, state: AdafactorState, params: PyTree = None
        ) -> tuple[PyTree, AdafactorState]:
            if params is None:
                raise ValueError("adafactor's steps are relative: update takes the parameters.")
            count = optax.safe_increment(state.step)
            share = jnp.power(count.astype(jnp.float32), -decay_power)
            bounded = jnp.minimum(learning_rate, jax.lax.rsqrt(count.astype(jnp.float32)))

            def leaf(
                gradient: Array, param: Array, rows: Array, columns: Array, full: Array
            ) -> tuple[Array, Array, Array, Array]:
                square = jnp.square(gradient)
                if gradient.ndim > 1:
                    rows = rows + share * (square.mean(-1) - rows)
                    columns = columns + share * (square.mean(-2) - columns)
                    variance = rows[..., None] * columns[..., None, :]
                    variance /= jnp.maximum(rows.mean(-1), eps[0])[..., None, None]
                else:
                    full = variance = full + share * (square - full)
                step = gradient * jax.lax.rsqrt(jnp.maximum(variance, eps[0] ** 2))
                step /= jnp.maximum(1.0, _rms(step) / clip_threshold)
                scale = jnp.maximum(eps[1], _rms(param))
                return -bounded * scale * step, rows, columns, full

            trees = (updates, params, state.rows, state.columns, state.full)
            treedef = jax.tree.structure(updates)
            leaves = [leaf(*parts) for parts in zip(*map(jax.tree.leaves, trees), strict=True)]
            steps, *moments = (jax.tree.unflatten(treedef, p) for p in zip(*leaves, strict=True))
            return steps, AdafactorState(count, *moments)

        decay = _decoupled(weight_decay, learning_rate, mask)
        return optax.chain(optax.GradientTransformation(init, update), decay)

    return _with_learning_rate(make, learning_rate)


def _decoupled(
    weight_decay: float, learning_rate: Array, mask: Mask
) -> optax.GradientTransformation:
    """Shrinks weights by the learning rate times λ, after the step is scaled."""
    return optax.add_decayed_weights(-learning_rate * weight_decay, mask)


def _correction(decay: float | Array, step: Array) -> Array:
    """``1 - decay ** step`` without cancellation: float32's ``1 - 0.999`` is 1e-5 off."""
    log = jnp.log(decay) if isinstance(decay, jax.Array) else math.log(max(decay, 1e-300))
    return -jnp.expm1(step * log)


def _rms(array: Array) -> Array:
    return jnp.sqrt(jnp.mean(jnp.square(array)))


def _without(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without its last axis but one."""
    return (*shape[:-2], shape[-1])


def _zeros(params: PyTree) -> PyTree:
    """A second tree of zeros, in its own buffers: both moments are donated."""
    return optax.tree.zeros_like(params)
