"""Snapshots during training: examples from fixed noise and losses, kept in the state.

Because they are part of the state, they are saved and restored with it, so the snapshots of a run
that was killed and resumed are complete.
"""

import functools
from collections.abc import Callable
from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from jaxdl._checks import check_positive
from jaxdl.train.gan import GANState, Players, generate, init_gan_state
from jaxdl.types import Array, Batch, Metrics, PyTree, Step, UpdateFn, as_step

LOSSES = ("discriminator_loss", "generator_loss")


@flax.struct.dataclass
class Snapshots:
    """A :class:`jaxdl.train.GANState` and its history.

    Attributes:
        gan: state of both players.
        frames: (T, N, ...) float16, examples generated from the same noise: frame 0 before the
            first step, then one after each T-th part of the training; 0 for frames to come.
        losses: (P, 2) float32, sums of the losses of discriminator and generator over each P-th
            part of the training.
        counts: (P, 2) float32, number of values in the sums.
    """

    gan: GANState
    frames: Array
    losses: Array
    counts: Array

    @property
    def step(self) -> Array:
        return self.gan.step

    def loss_history(self, num_steps: int) -> tuple[Array, dict[str, Array]]:
        """The losses over a training of ``num_steps`` steps.

        Returns:
            (P,) steps in the middle of each part, and (P,) mean losses by name; NaN for parts
            without a step so far.
        """
        num_points = self.losses.shape[0]
        steps = (jnp.arange(num_points) + 0.5) * (num_steps / num_points)
        means = self.losses / self.counts  # 0 / 0 is NaN
        return steps, {name: means[:, index] for index, name in enumerate(LOSSES)}


def with_snapshots(
    step: Step | UpdateFn,
    players: Players,
    key: Array | int,
    noise: Array,
    label: Array | None = None,
    *,
    num_steps: int,
    num_frames: int = 40,
    num_points: int = 500,
) -> tuple[Step, Snapshots]:
    """A GAN's step that also takes snapshots, and the state to start from.

    Args:
        step: see :func:`jaxdl.train.make_gan_step`; its updates do not change.
        players: networks and optimizers.
        key: PRNG key of the initial weights, or an integer seed.
        noise: (N, num_latents), the same in every frame.
        label: (N,) int32 for a conditional generator.
        num_steps: number of steps of the whole training.
        num_frames: number of frames after the first.
        num_points: number of points of the loss curves.

    Returns:
        A :class:`~jaxdl.types.Step` of :class:`Snapshots`, with ``gradients`` if ``step`` has
        them, and the initial :class:`Snapshots`.

    Raises:
        ValueError: numbers that are not greater than 0, or more frames or points than int32 counts
            for this many steps.

    >>> from jaxdl import models, optim, train
    >>> from jaxdl.losses import adversarial
    >>> nets = models.DenseGenerator((4,), (2, 2, 1), 3), models.DenseDiscriminator((4,))
    >>> players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    >>> noise = jax.random.normal(jax.random.key(0), (6, 3))
    >>> step, start = with_snapshots(
    ...     train.make_gan_step(players), players, jax.random.key(1), noise,
    ...     num_steps=8, num_frames=4,
    ... )
    >>> start.frames.shape  # the initial images, and four to come while ``train.run`` steps
    (5, 6, 2, 2, 1)
    """
    check_positive(num_steps=num_steps, num_frames=num_frames, num_points=num_points)
    largest = (2**31 - 1) // num_steps
    if max(num_frames + 1, num_points) > largest:
        raise ValueError(f"{num_steps} steps can have at most {largest} frames and points.")

    step = as_step(step)

    def frame(state: GANState) -> Array:
        return generate(players, state, noise, label).astype(jnp.float16)

    @jax.jit
    def start(key: Array | int) -> Snapshots:
        state = init_gan_state(players, key)
        first = frame(state)
        frames = jnp.zeros((num_frames + 1, *first.shape), jnp.float16).at[0].set(first)
        # two arrays, not one twice: a state that is donated may hold no buffer twice
        return Snapshots(state, frames, *(jnp.zeros((num_points, len(LOSSES))) for _ in range(2)))

    update = functools.partial(_update, step, frame, num_steps)
    inner_gradients = step.gradients
    if inner_gradients is None:
        return replace(step, update=update), start(key)

    def gradients(snapshots: Snapshots, batch: Batch) -> PyTree:
        return inner_gradients(snapshots.gan, batch)

    return replace(step, update=update, gradients=gradients), start(key)


def _update(
    step: Step,
    frame: Callable[[GANState], Array],
    num_steps: int,
    snapshots: Snapshots,
    batch: Batch,
) -> tuple[Snapshots, Metrics]:
    before = snapshots.gan.step
    gan, metrics = step(snapshots.gan, batch)
    last = snapshots.frames.shape[0] - 1
    place = _part(gan.step, last, num_steps)
    frames = jax.lax.cond(
        place > _part(before, last, num_steps),
        lambda frames: frames.at[place].set(frame(gan)),
        lambda frames: frames,
        snapshots.frames,
    )
    point = _part(before, snapshots.losses.shape[0], num_steps)
    totals, counts = map(jnp.stack, zip(*(metrics[name] for name in LOSSES), strict=True))
    losses = snapshots.losses.at[point].add(totals)
    return Snapshots(gan, frames, losses, snapshots.counts.at[point].add(counts)), metrics


def _part(step: Array, num_parts: int, num_steps: int) -> Array:
    """The part of the training that a step lies in."""
    return step * num_parts // num_steps
