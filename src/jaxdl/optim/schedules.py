"""Learning-rate schedules as functions of the step, equal to PyTorch's schedulers.

A schedule is any function ``step -> learning rate``. PyTorch's schedulers count epochs;
:func:`per_epoch` turns a schedule of epochs into one of steps. ``optax.join_schedules`` runs one
after the other (``torch.optim.lr_scheduler.SequentialLR``). Numbers out of range are refused;
traced ones, such as those of a sweep, are not checked.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxdl._checks import check_count, check_fraction, check_not_negative, check_positive
from jaxdl._pytorch_names import explain_keywords
from jaxdl.types import Array

Schedule = Callable[[Array], Array]


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """A schedule of epochs as one of steps: constant within an epoch, as in PyTorch.

    Args:
        schedule: learning rate of an epoch, counted from 0.
        steps_per_epoch: updates per epoch; see :func:`jaxdl.data.num_batches`.

    Raises:
        ValueError: ``steps_per_epoch`` below 1.

    >>> print(f"{per_epoch(step_decay(1e-3, every=5, factor=0.5), 938)(5 * 938):.6f}")
    0.000500
    """
    check_count(steps_per_epoch=steps_per_epoch)
    return lambda step: schedule(jnp.asarray(step) // steps_per_epoch)


@explain_keywords
def step_decay(learning_rate: float, every: int, factor: float = 0.1) -> Schedule:
    """Multiplies the learning rate by ``factor`` every ``every`` steps.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.StepLR``, counted in steps instead of epochs.

    >>> print(f"{step_decay(1e-3, every=30)(60):.6f}")
    0.000010
    """
    check_count(every=every)
    check_not_negative(learning_rate=learning_rate, factor=factor)
    return lambda step: learning_rate * _power(factor, jnp.asarray(step) // every)


@explain_keywords
def multi_step(learning_rate: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """Multiplies the learning rate by ``factor`` at each of the milestones.

    Args:
        learning_rate: initial learning rate.
        milestones: steps, ascending; one that is given twice counts twice.
        factor: of each milestone.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.MultiStepLR``.

    >>> print(f"{multi_step(1.0, [50, 70])(70):.2f}")
    0.01
    """
    if not milestones or list(milestones) != sorted(milestones) or milestones[0] < 1:
        raise ValueError(f"milestones must be ascending steps from 1 on, got {list(milestones)}.")
    check_not_negative(learning_rate=learning_rate, factor=factor)
    steps = np.asarray(milestones)
    return lambda step: learning_rate * _power(factor, _number_up_to(step, steps))


@explain_keywords
def exponential(learning_rate: float, factor: float) -> Schedule:
    """Multiplies the learning rate by ``factor`` at every step.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.ExponentialLR``.

    >>> print(f"{exponential(0.1, 0.9)(2):.3f}")
    0.081
    """
    check_not_negative(learning_rate=learning_rate, factor=factor)
    return lambda step: learning_rate * _power(factor, jnp.asarray(step))


@explain_keywords
def polynomial(learning_rate: float, num_steps: int, power: float = 1.0) -> Schedule:
    r"""Polynomial decay to 0: :math:`\eta (1 - t/T)^p`, and 0 after T steps.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.PolynomialLR``; with ``power=1`` linear.

    >>> print(polynomial(1.0, 10, power=2.0)(5))
    0.25
    """
    check_count(num_steps=num_steps)
    check_not_negative(learning_rate=learning_rate, power=power)
    return lambda step: (
        learning_rate * jnp.power(1 - jnp.minimum(jnp.asarray(step), num_steps) / num_steps, power)
    )


@explain_keywords
def linear(
    learning_rate: float, num_steps: int = 5, *, start_factor: float = 1 / 3, end_factor: float = 1
) -> Schedule:
    """A line from ``start_factor`` to ``end_factor`` times the learning rate, constant after it.

    Args:
        learning_rate: the number that the factors multiply.
        num_steps: of the line.
        start_factor: factor of step 0, at least 0.
        end_factor: factor from step ``num_steps`` on, at least 0.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.LinearLR``. See :func:`warmup` for one in front of another
    schedule.

    >>> rate = linear(1.0, 10, start_factor=1.0, end_factor=0.5)
    >>> print(f"{rate(5):.2f} {rate(20):.2f}")
    0.75 0.50
    """
    check_count(num_steps=num_steps)
    check_not_negative(
        learning_rate=learning_rate, start_factor=start_factor, end_factor=end_factor
    )

    def schedule(step: ArrayLike) -> Array:
        fraction = jnp.minimum(jnp.asarray(step) / num_steps, 1.0)
        return learning_rate * _line(start_factor, end_factor, fraction)

    return schedule


@explain_keywords
def cyclic(
    learning_rate: float,
    base_learning_rate: float,
    num_steps_up: int = 2000,
    num_steps_down: int | None = None,
    *,
    height: Callable[[Array, Array], Array | float] | None = None,
) -> Schedule:
    """Triangular waves between two learning rates.

    Args:
        learning_rate: the peak.
        base_learning_rate: between two waves, at most the peak.
        num_steps_up: steps that rise.
        num_steps_down: steps that fall; None takes ``num_steps_up``.
        height: function of (wave, counted from 1; step) that scales a wave. None is PyTorch's
            "triangular"; ``lambda wave, step: 0.5 ** (wave - 1)`` is its "triangular2", and
            ``lambda wave, step: gamma ** step`` its "exp_range".

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.CyclicLR``; Smith 2017. The momentum does not cycle.

    >>> rate = cyclic(1.0, 0.2, num_steps_up=4)
    >>> print(f"{rate(2):.1f} {rate(4):.1f} {rate(8):.1f}")
    0.6 1.0 0.2
    """
    down = num_steps_up if num_steps_down is None else num_steps_down
    check_count(num_steps_up=num_steps_up, num_steps_down=down)
    check_not_negative(learning_rate=learning_rate, base_learning_rate=base_learning_rate)
    if base_learning_rate > learning_rate:
        raise ValueError(
            f"base_learning_rate must be at most learning_rate={learning_rate}, the peak, "
            f"got {base_learning_rate}."
        )

    def schedule(step: ArrayLike) -> Array:
        step = jnp.asarray(step)
        wave, position = jnp.divmod(step, num_steps_up + down)
        rising = position / num_steps_up
        falling = (num_steps_up + down - position) / down
        share = jnp.where(position <= num_steps_up, rising, falling)
        scale = 1.0 if height is None else height(wave + 1, step)
        return base_learning_rate + (learning_rate - base_learning_rate) * share * scale

    return schedule


@explain_keywords
def warmup(learning_rate: float | Schedule, num_steps: int, start_factor: float = 0.0) -> Schedule:
    """Linear warm-up of a learning rate or schedule.

    Args:
        learning_rate: number, or schedule of all steps (its step 0 is that of the warm-up).
        num_steps: of the warm-up; the factor is 1 after it.
        start_factor: factor of step 0, in [0, 1]. With ``1 / num_steps`` no step has the rate 0.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.LinearLR`` with ``end_factor=1``; see :func:`linear`.

    >>> print(f"{warmup(1.0, 10, start_factor=0.1)(5):.2f}")
    0.55
    """
    check_count(num_steps=num_steps)
    check_fraction(start_factor=start_factor)
    if not callable(learning_rate):
        check_not_negative(learning_rate=learning_rate)

    def schedule(step: ArrayLike) -> Array:
        fraction = jnp.minimum(jnp.asarray(step) / num_steps, 1.0)
        value = learning_rate(jnp.asarray(step)) if callable(learning_rate) else learning_rate
        return value * (start_factor + (1 - start_factor) * fraction)

    return schedule


@explain_keywords
def warmup_cosine(
    learning_rate: float, num_steps: int, *, num_warmup_steps: int = 0, final_factor: float = 0.0
) -> Schedule:
    """Linear warm-up from 0, then half a cosine down to ``final_factor`` times the learning rate.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training, warm-up included.
        num_warmup_steps: of the warm-up, less than ``num_steps``.
        final_factor: factor of the last step, at least 0.

    Raises:
        ValueError: a number out of range.

    Source: Loshchilov & Hutter 2017 (SGDR), eq. 5, one cycle; without warm-up it is
    ``torch.optim.lr_scheduler.CosineAnnealingLR``, up to its end.

    >>> rate = warmup_cosine(1.0, 50, num_warmup_steps=10)
    >>> print(f"{rate(5):.2f} {rate(30):.2f}")
    0.50 0.50
    """
    check_count(num_steps=num_steps)
    check_not_negative(learning_rate=learning_rate, final_factor=final_factor)
    if not 0 <= num_warmup_steps < num_steps:
        raise ValueError(
            f"num_warmup_steps must lie in 0 to {num_steps - 1} (num_steps - 1), "
            f"got {num_warmup_steps}."
        )
    if num_warmup_steps == 0:
        share = optax.cosine_decay_schedule(1.0, num_steps, final_factor)
    else:
        share = optax.warmup_cosine_decay_schedule(
            0.0, 1.0, num_warmup_steps, num_steps, final_factor
        )
    return lambda step: learning_rate * share(step)  # Optax itself takes no traced rate


@explain_keywords
def cosine_restarts(
    learning_rate: float, num_steps: int, *, growth: int = 1, final_factor: float = 0.0
) -> Schedule:
    """Half cosines, each restarting from the full learning rate.

    Args:
        learning_rate: at each restart.
        num_steps: of the first cosine.
        growth: ratio of the lengths of two successive cosines.
        final_factor: factor at the end of each cosine, at least 0.

    Raises:
        ValueError: a number out of range.

    Source: ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    >>> print(f"{cosine_restarts(1.0, 10)(15):.2f}")
    0.50
    """
    check_count(num_steps=num_steps, growth=growth)
    check_not_negative(learning_rate=learning_rate, final_factor=final_factor)
    starts = [0]  # steps of all restarts within int32
    while growth > 1 and (start := starts[-1] + num_steps * growth ** (len(starts) - 1)) < 2**31:
        starts.append(start)

    def schedule(step: ArrayLike) -> Array:
        step = jnp.asarray(step)
        number = _number_up_to(step, np.asarray(starts)) - 1
        length = num_steps * jnp.power(growth, number)
        position = (step - jnp.asarray(starts)[number]) % length
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * position / length))
        return learning_rate * (final_factor + (1 - final_factor) * cosine)

    return schedule


@explain_keywords
def one_cycle(
    learning_rate: float,
    num_steps: int,
    *,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """One-cycle policy: up to the peak, then down to almost 0.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training.
        pct_start: fraction of the steps that rise, 0 to 1.
        anneal_strategy: half a cosine or a line between two rates.
        div_factor: peak divided by the first rate.
        final_div_factor: first rate divided by the last.
        three_phase: fall to the first rate in as many steps as it rose, then to the last.

    Raises:
        ValueError: an argument out of range.

    Source: ``torch.optim.lr_scheduler.OneCycleLR``, equal to it; the momentum does not cycle.
    Optax's peaks and ends a step later, and needs at least 4 steps.

    >>> rate = one_cycle(1.0, 11, pct_start=0.5, anneal_strategy="linear", div_factor=10.0)
    >>> print(f"{rate(2):.2f}")
    0.50
    """
    check_count(num_steps=num_steps)
    check_fraction(pct_start=pct_start)
    check_not_negative(learning_rate=learning_rate)
    check_positive(div_factor=div_factor, final_div_factor=final_div_factor)
    if anneal_strategy not in ("cos", "linear"):
        raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}.")
    between = _cosine if anneal_strategy == "cos" else _line
    first = learning_rate / div_factor
    last, rise, end = first / final_div_factor, pct_start * num_steps - 1, num_steps - 1
    # step and rate where each phase begins and ends
    points = [(0.0, first), (rise, learning_rate), (end, last)]
    if three_phase:
        points.insert(2, (2 * rise, first))

    def schedule(step: ArrayLike) -> Array:
        step = jnp.asarray(step)
        rate = jnp.asarray(last, jnp.float32)
        for (begin, start), (end, stop) in reversed(list(itertools.pairwise(points))):
            fraction = jnp.clip((step - begin) / (end - begin), 0.0, 1.0) if end > begin else 1.0
            rate = jnp.where(step <= end, between(start, stop, fraction), rate)
        return rate

    return schedule


def chained(learning_rate: float, *factors: Schedule) -> Schedule:
    """The product of a learning rate and functions of the step: several schedules at once.

    Args:
        learning_rate: the number that the factors multiply.
        *factors: functions of the step, e.g. schedules with the learning rate 1.

    Raises:
        ValueError: no factor, or a negative learning rate.

    Source: ``torch.optim.lr_scheduler.ChainedScheduler``, and ``LambdaLR`` with one function.

    >>> both = chained(0.1, exponential(1.0, 0.9), step_decay(1.0, every=3))
    >>> print(f"{both(3):.5f}")
    0.00729
    """
    if not factors:
        raise ValueError("chained takes at least one factor, a function of the step.")
    check_not_negative(learning_rate=learning_rate)

    def schedule(step: ArrayLike) -> Array:
        rate = jnp.asarray(learning_rate, jnp.float32)
        for factor in factors:
            rate = rate * factor(jnp.asarray(step))
        return rate

    return schedule


def _power(factor: float, exponent: Array) -> Array:
    """``factor ** exponent`` as float64 has it: float32's 0.999999 is 1 % off after a million."""
    if isinstance(factor, jax.core.Tracer):
        return jnp.power(factor, exponent.astype(jnp.float32))
    rounded, exponent = np.float32(factor), exponent.astype(jnp.float32)
    if rounded <= 0:
        return jnp.power(rounded, exponent)
    error = np.float32(np.log(np.float64(factor)) - np.log(np.float64(rounded)))
    return jnp.power(rounded, exponent) * jnp.exp(error * exponent)


def _number_up_to(step: ArrayLike, ascending: np.ndarray) -> Array:
    """The number of ``ascending`` steps at or before each element of ``step``."""
    return jnp.searchsorted(ascending, step, side="right", method="compare_all")


def _cosine(start: float, stop: float, fraction: Array | float) -> Array:
    return stop + (start - stop) * 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))


def _line(start: float, stop: float, fraction: Array | float) -> Array:
    return start + (stop - start) * jnp.asarray(fraction)
