"""Learning rates as functions of the step, each equal to PyTorch's of the same course.

A schedule is any function ``step -> rate``. PyTorch's schedulers count epochs; :func:`per_epoch`
makes a schedule that was written in epochs one of steps. One after the other
(``torch.optim.lr_scheduler.SequentialLR``) is ``optax.join_schedules``.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import optax

from jaxdl.types import Array

Schedule = Callable[[Array], Array]
Rate = float | Schedule


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """A schedule of epochs as one of steps: constant within an epoch, as PyTorch's are.

    Args:
        schedule: rate of an epoch, from 0.
        steps_per_epoch: see :func:`jaxdl.data.num_batches`.

    >>> print(f"{per_epoch(step_decay(1e-3, every=5, factor=0.5), 938)(5 * 938):.6f}")
    0.000500
    """
    _check_length(steps_per_epoch=steps_per_epoch)
    return lambda step: schedule(jnp.asarray(step) // steps_per_epoch)


def step_decay(learning_rate: float, every: int, factor: float = 0.1) -> Schedule:
    """The rate is multiplied by ``factor`` every ``every`` steps.

    Source: ``torch.optim.lr_scheduler.StepLR``, counted in steps instead of epochs.

    >>> print(f"{step_decay(1e-3, every=30)(60):.6f}")
    0.000010
    """
    _check_length(every=every)
    return lambda step: learning_rate * jnp.power(factor, jnp.asarray(step) // every)


def multi_step(learning_rate: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """The rate is multiplied by ``factor`` at each of the milestones.

    Args:
        learning_rate: before the first milestone.
        milestones: steps, ascending; one that stands there twice counts twice.
        factor: of each.

    Source: ``torch.optim.lr_scheduler.MultiStepLR``.

    >>> print(f"{multi_step(1.0, [50, 70])(70):.2f}")
    0.01
    """
    if not milestones or list(milestones) != sorted(milestones) or milestones[0] < 1:
        raise ValueError(f"milestones must be ascending steps from 1 on, got {list(milestones)}.")
    steps = jnp.asarray(milestones)
    return lambda step: learning_rate * jnp.power(factor, (steps <= step).sum())


def exponential(learning_rate: float, factor: float) -> Schedule:
    """The rate is multiplied by ``factor`` at every step.

    Source: ``torch.optim.lr_scheduler.ExponentialLR``.

    >>> print(f"{exponential(0.1, 0.9)(2):.3f}")
    0.081
    """
    return lambda step: learning_rate * jnp.power(factor, jnp.asarray(step, jnp.float32))


def polynomial(learning_rate: float, num_steps: int, power: float = 1.0) -> Schedule:
    r"""From the rate down to 0: :math:`\eta (1 - t/T)^p`, and 0 after T steps.

    Source: ``torch.optim.lr_scheduler.PolynomialLR``; with ``power=1`` linear.

    >>> print(polynomial(1.0, 10, power=2.0)(5))
    0.25
    """
    _check_length(num_steps=num_steps)
    return lambda step: (
        learning_rate * jnp.power(1 - jnp.minimum(jnp.asarray(step), num_steps) / num_steps, power)
    )


def warmup(rate: Rate, num_steps: int, start_factor: float = 0.0) -> Schedule:
    """A rate or schedule that is scaled up linearly over its first steps.

    Args:
        rate: number, or schedule of all steps (it starts to run at once, not after the warm-up).
        num_steps: of the warm-up; from then on the factor is 1.
        start_factor: factor of step 0. With ``1 / num_steps`` no step is wasted on a rate of 0.

    Source: ``torch.optim.lr_scheduler.LinearLR``.

    >>> print(f"{warmup(1.0, 10, start_factor=0.1)(5):.2f}")
    0.55
    """
    _check_length(num_steps=num_steps)

    def schedule(step: Array) -> Array:
        fraction = jnp.minimum(jnp.asarray(step) / num_steps, 1.0)
        value = rate(step) if callable(rate) else rate
        return value * (start_factor + (1 - start_factor) * fraction)

    return schedule


def warmup_cosine(
    learning_rate: float, num_steps: int, *, num_warmup_steps: int = 0, final_factor: float = 0.0
) -> Schedule:
    """Linear warm-up from 0, then half a cosine down to ``final_factor`` times the rate.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training, warm-up included.
        num_warmup_steps: of the warm-up.
        final_factor: what is left at the end.

    Source: Loshchilov & Hutter 2017 (SGDR), eq. 5, one cycle; without warm-up it is
    ``torch.optim.lr_scheduler.CosineAnnealingLR``, up to its end.
    """
    _check_length(num_steps=num_steps)
    if not 0 <= num_warmup_steps < num_steps:
        raise ValueError(
            f"num_warmup_steps must lie in 0 to {num_steps - 1} (num_steps - 1), "
            f"got {num_warmup_steps}."
        )
    final = learning_rate * final_factor
    if num_warmup_steps == 0:
        return optax.cosine_decay_schedule(learning_rate, num_steps, final_factor)
    return optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, num_warmup_steps, num_steps, final
    )


def cosine_restarts(
    learning_rate: float, num_steps: int, *, growth: int = 1, final_factor: float = 0.0
) -> Schedule:
    """Half cosines, each starting again from the full rate.

    Args:
        learning_rate: at the start of each.
        num_steps: of the first.
        growth: each is so many times as long as the one before.
        final_factor: what is left at the end of each.

    Source: ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    >>> print(f"{cosine_restarts(1.0, 10)(15):.2f}")
    0.50
    """
    _check_length(num_steps=num_steps, growth=growth)
    starts = [0]  # of all restarts, as far as steps are counted in int32
    while growth > 1 and (start := starts[-1] + num_steps * growth ** (len(starts) - 1)) < 2**31:
        starts.append(start)

    def schedule(step: Array) -> Array:
        step = jnp.asarray(step)
        number = (jnp.asarray(starts) <= step).sum() - 1
        length = num_steps * jnp.power(growth, number)
        position = (step - jnp.asarray(starts)[number]) % length
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * position / length))
        return learning_rate * (final_factor + (1 - final_factor) * cosine)

    return schedule


def one_cycle(learning_rate: float, num_steps: int) -> Schedule:
    """Up from 1/25 of the rate over the first 30 % of the steps, then down to almost nothing.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training; the last one is the lowest, 1/250,000 of the peak.

    Source: ``torch.optim.lr_scheduler.OneCycleLR`` with its defaults (cosine), equal to it. Optax's
    peaks and ends a step later, and has no rate below 4 steps.
    """
    _check_length(num_steps=num_steps)
    peak, end = 0.3 * num_steps - 1, num_steps - 1

    def cosine(start: float, stop: float, fraction: Array) -> Array:
        fraction = jnp.clip(fraction, 0.0, 1.0)
        return stop + (start - stop) * 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))

    def schedule(step: Array) -> Array:
        rising = cosine(learning_rate / 25, learning_rate, step / peak)
        falling = cosine(learning_rate, learning_rate / 25e4, (step - peak) / (end - peak))
        return jnp.where(step <= peak, rising, falling)

    return schedule


def chained(learning_rate: float, *factors: Schedule) -> Schedule:
    """A rate times any functions of the step: several schedules at once, or one of your own.

    Args:
        learning_rate: what the factors multiply.
        *factors: functions of the step; a schedule made with rate 1 is one.

    Source: ``torch.optim.lr_scheduler.ChainedScheduler``, and ``LambdaLR`` with one function.

    >>> both = chained(0.1, exponential(1.0, 0.9), step_decay(1.0, every=3))
    >>> print(f"{both(3):.5f}")
    0.00729
    """
    if not factors:
        raise ValueError("chained needs at least one factor, a function of the step.")

    def schedule(step: Array) -> Array:
        rate = jnp.asarray(learning_rate, jnp.float32)
        for factor in factors:
            rate = rate * factor(step)
        return rate

    return schedule


def _check_length(**lengths: int) -> None:
    for name, length in lengths.items():
        if length < 1:
            raise ValueError(f"{name} must be at least 1, got {length}.")
