"""A film of training: what fixed noise becomes, and the losses, kept in the state itself.

As a part of the state they are saved and restored with it, so the film of a run that was killed
and resumed lacks no picture.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxdl import train
from jaxdl._checks import check_positive
from jaxdl.types import Array, Batch, Metrics, PyTree, Step, UpdateFn, as_step

LOSSES = ("discriminator_loss", "generator_loss")


@flax.struct.dataclass
class Snapshots:
    """A :class:`jaxdl.train.GANState` and what was seen of it.

    Attributes:
        gan: the state of both players.
        frames: (T, N, ...) float16, the examples made from the same noise: frame 0 before the
            first step, then one after every T-th part of the training; 0 where the time is yet to
            come.
        losses: (P, 2) float32, mean losses of the discriminator and of the generator over the
            P-th parts of the training.
        counts: (P, 2) float32, the number of values in them so far.
    """

    gan: train.GANState
    frames: Array
    losses: Array
    counts: Array

    @property
    def step(self) -> Array:
        return self.gan.step


def start_snapshots(
    generator: nn.Module,
    state: train.GANState,
    noise: Array,
    label: Array | None = None,
    *,
    averaged: bool = False,
    num_frames: int = 40,
    num_points: int = 1000,
) -> Snapshots:
    """The state before the first step, with the first frame.

    Args:
        generator: the module.
        state: of both players.
        noise: (N, num_latents), the same in every frame.
        label: (N,) int32 for a conditional generator.
        averaged: shoot with the average of the weights that :func:`jaxdl.optim.ema` keeps.
        num_frames: frames after the first.
        num_points: of the curves of the losses.

    Raises:
        ValueError: numbers that are not greater than 0.
    """
    check_positive(num_frames=num_frames, num_points=num_points)
    first = _frame(generator, state, noise, label, averaged)
    frames = jnp.zeros((num_frames + 1, *first.shape), jnp.float16).at[0].set(first)
    # two arrays, not one twice: a state that is donated may hold no buffer twice
    curves = [jnp.zeros((num_points, len(LOSSES))) for _ in range(2)]
    return Snapshots(state, frames, *curves)


def make_snapshot_step(
    step: Step | UpdateFn,
    generator: nn.Module,
    noise: Array,
    label: Array | None = None,
    *,
    num_steps: int,
    averaged: bool = False,
) -> Step:
    """A step of a GAN that keeps a frame and the losses whenever it is time.

    Args:
        step: see :func:`jaxdl.train.make_gan_step`; it does what it does without a film.
        generator, noise, label, averaged: as of :func:`start_film`.
        num_steps: of the whole training.

    Returns:
        a :class:`~jaxdl.types.Step` of :class:`Snapshots`, with ``gradients`` where ``step`` has
        them.
    """
    check_positive(num_steps=num_steps)
    step = as_step(step)
    inner_gradients = step.gradients

    def film_step(state: Snapshots, batch: Batch) -> tuple[Snapshots, Metrics]:
        before = state.gan.step
        _check_length(state, num_steps)
        gan, metrics = step(state.gan, batch)
        last = state.frames.shape[0] - 1

        def shoot(frames: Array) -> Array:
            return frames.at[_part(gan.step, last, num_steps)].set(
                _frame(generator, gan, noise, label, averaged)
            )

        is_time = _part(gan.step, last, num_steps) > _part(before, last, num_steps)
        frames = jax.lax.cond(is_time, shoot, lambda frames: frames, state.frames)
        place = _part(before, state.losses.shape[0], num_steps)
        totals, counts = (jnp.stack(part) for part in zip(*_losses(metrics), strict=True))
        return Snapshots(
            gan, frames, state.losses.at[place].add(totals), state.counts.at[place].add(counts)
        ), metrics

    if inner_gradients is None:
        return replace(step, update=film_step)

    def gradients(film: Snapshots, batch: Batch) -> PyTree:
        return inner_gradients(film.gan, batch)

    return replace(step, update=film_step, gradients=gradients)


def curves(film: Snapshots, num_steps: int) -> tuple[Array, dict[str, Array]]:
    """The losses over training.

    Returns:
        (P,) steps in the middle of each part, and (P,) mean losses by name; NaN where there was no
        step yet.
    """
    number = film.losses.shape[0]
    steps = (jnp.arange(number) + 0.5) * (num_steps / number)
    means = film.losses / film.counts  # 0 / 0 is NaN
    return steps, {name: means[:, index] for index, name in enumerate(LOSSES)}


def _check_length(film: Snapshots, num_steps: int) -> None:
    largest = (2**31 - 1) // num_steps
    if max(film.frames.shape[0], film.losses.shape[0]) > largest:
        raise ValueError(f"a film of {num_steps} steps has at most {largest} frames and points.")


def _losses(metrics: Mapping[str, Any]) -> list[tuple[Array, Array]]:
    return [(metrics[name].total, metrics[name].count) for name in LOSSES]


def _part(step: Array, number: int, num_steps: int) -> Array:
    """In which of ``number`` parts of the training a step lies."""
    return step * number // num_steps


def _frame(
    generator: nn.Module, state: train.GANState, noise: Array, label: Array | None, averaged: bool
) -> Array:
    images = train.generate(generator, state, noise, label, averaged=averaged)
    return images.astype(jnp.float16)
