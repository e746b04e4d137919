"""What the GAN experiments share: train two players and draw what the book draws."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checkpoint, data, generative, models, optim, plots, train
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.transforms import to_float

NUM_SAMPLES, NUM_WATCHED, NUM_FRAMES, NUM_POINTS = 10_000, 1000, 40, 500
Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Players:
    """Two networks and how they learn."""

    generator: nn.Module
    discriminator: nn.Module
    optimizers: tuple[Any, Any]
    loss: adversarial.AdversarialLoss
    ideal: float
    """The discriminator's loss where it knows nothing."""
    signed: bool = False
    """Images in [-1, 1], of a tanh, instead of [0, 1]."""
    averaged: bool = False
    """Generate with the average of the weights."""
    noise: train.gan.Noise = jax.random.normal
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """More of make_gan_step."""

    def unit(self, images: Any) -> Any:
        """Generated images in [0, 1]."""
        return jnp.clip((images + 1) / 2 if self.signed else images, 0, 1)

    def preprocess(self, images: Array) -> Array:
        images = to_float(images)
        return 2 * images - 1 if self.signed else images


def best_practice(
    shape: tuple[int, int, int],
    *,
    features: int,
    num_classes: int | None = None,
    condition: Any = "projection",
    num_latents: int = 100,
    learning_rate: float = 1e-3,
    num_steps: int = 1,
    ema: float = 0.995,
    loss: str = "non_saturating",
    norm: Any = "batch",
    **options: Any,
) -> Players:
    """DCGAN with Adam at momentum 0.5, smoothed labels and an average of the generator.

    The discriminator passes three times where the generator passes once, and wins too easily: the
    generator gets twice its features and two and a half times its rate. Both rates fall evenly to 0
    in ``num_steps``.
    """
    rates = [optim.polynomial(rate, num_steps) for rate in (learning_rate, 0.4 * learning_rate)]
    generator_tx, discriminator_tx = (optim.adam(rate, b1=0.5) for rate in rates)
    kinds = {
        "non_saturating": (adversarial.non_saturating(real_target=0.9), float(np.log(2))),
        "hinge": (adversarial.hinge(), 1.0),
        "least_squares": (adversarial.least_squares(), 0.25),
    }
    return Players(
        models.DCGANGenerator(shape, num_latents, 2 * features, num_classes),
        models.DCGANDiscriminator(features, norm, num_classes, condition),
        (optim.ema(generator_tx, ema), discriminator_tx),
        *kinds[loss],
        signed=True,
        averaged=True,
        options={"fresh_noise": False, **options},
    )


def against_noise(players: Players, shape: tuple[int, ...]) -> Players:
    """The same discriminator, and noise that does not learn."""
    optimizers = (optim.sgd(0.0), players.optimizers[1])
    return dataclasses.replace(
        players,
        generator=tutorial.NoiseSource(shape),
        optimizers=optimizers,
        noise=jax.random.uniform,
        signed=False,
        averaged=False,
        options={"separate_updates": True},
    )


def start(
    players: Players, key: Array, noise: Array, labels: Any = None, num_frames: int = NUM_FRAMES
) -> generative.Snapshots:
    """Both players before the first step, and the first frame."""
    networks = (players.generator, players.discriminator)
    state = train.init_gan_state(*networks, *players.optimizers, key)
    return generative.start_snapshots(
        players.generator,
        state,
        noise,
        labels,
        averaged=players.averaged,
        num_frames=num_frames,
        num_points=NUM_POINTS,
    )


def play(
    cfg: Any,
    players: Players,
    arrays: Mapping[str, Any],
    workdir: Path,
    *,
    num_epochs: int,
    batch_size: int,
    labels: Any = None,
    reference: generative.Reference | None = None,
    num_seeds: int = 64,
    num_frames: int = NUM_FRAMES,
    title: str = "",
) -> tuple[train.GANState, list[dict[str, Any]]]:
    """Trains, measures and draws.

    Args:
        cfg: with seed, resume and so on; written to config.json.
        players: who plays.
        arrays: training data.
        workdir: the run folder.
        num_epochs, batch_size: as of train.run.
        labels: (num_seeds,) of the images in the film, where the generator is conditional.
        reference: real images to compare with after every epoch.
        num_seeds: images in the film.
        num_frames: of the film, after the first.
        title: of the curves.

    Returns:
        the state of both players, and the history.
    """
    generator, num_classes = players.generator, getattr(players.generator, "num_classes", None)
    init_key, order_key, film_key, sample_key = jax.random.split(jax.random.key(cfg.seed), 4)
    noise = players.noise(film_key, (num_seeds, generator.num_latents))
    step = train.make_gan_step(
        generator,
        players.discriminator,
        *players.optimizers,
        players.loss,
        preprocess=players.preprocess,
        noise=players.noise,
        **players.options,
    )
    num_steps = num_epochs * data.num_batches(len(arrays["image"]), batch_size)
    film = jax.jit(lambda key: start(players, key, noise, labels, num_frames))(init_key)

    @functools.partial(jax.jit, static_argnums=1)
    def sample(film: generative.Snapshots, number: int) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(sample_key, film.step), number)
        images = train.sample(
            generator,
            film.gan,
            key,
            number,
            label=None if num_classes is None else jnp.arange(number) % num_classes,
            averaged=players.averaged,
            noise=players.noise,
        )
        return players.unit(images)

    hooks, asked = [], None if num_classes is None else np.arange(NUM_SAMPLES) % num_classes
    if reference is not None:
        few = None if asked is None else asked[:NUM_WATCHED]
        hooks.append(
            generative.make_hook(reference, lambda film: sample(film, NUM_WATCHED), labels=few)
        )
    film, history = train.run(
        generative.make_snapshot_step(
            step, generator, noise, labels, num_steps=num_steps, averaged=players.averaged
        ),
        film,
        arrays,
        num_epochs=num_epochs,
        batch_size=batch_size,
        key=order_key,
        workdir=workdir,
        resume=cfg.resume,
        config=cfg,
        hooks=hooks,
        watch=train.Watch(every=max(1, num_steps // 5000)),
    )
    draw(players, film, arrays["image"], num_steps, workdir, title)
    if reference is not None:
        row = generative.measure(reference, sample(film, NUM_SAMPLES), asked)
        generative.save_row(workdir / "generator.json", row)
        print(json.dumps({n: round(x, 4) if isinstance(x, float) else x for n, x in row.items()}))
    return film.gan, history


def draw(
    players: Players,
    film: generative.Snapshots,
    examples: Any,
    num_steps: int,
    workdir: Path,
    title: str,
) -> None:
    """Loss curves; of images the film as a GIF, its last frame, and the nearest real ones."""
    steps, values = generative.curves(film, num_steps)
    figure = generative.loss_curves(steps, values, ideal=players.ideal, title=title)
    plots.save(figure, workdir / "losses.png")
    taken = np.abs(np.asarray(film.frames, np.float32)).reshape(len(film.frames), -1).max(1) > 0
    frames = np.asarray(players.unit(film.frames[taken].astype(jnp.float32)))
    np.save(workdir / "frames.npy", frames.astype(np.float16))
    if frames.ndim != 5:
        return
    num_classes = getattr(players.generator, "num_classes", None)
    columns = num_classes or int(np.ceil(np.sqrt(frames.shape[1])))
    scale = max(1, round(56 / frames.shape[2]))
    generative.save_grid(frames[-1], workdir / "samples.png", columns=columns, scale=scale)
    generative.save_animation(frames, workdir / "training.gif", columns=columns, scale=scale)
    made, real = frames[-1, :10], np.asarray(examples, np.float32) / 255
    indices, distances = generative.nearest_neighbors(made, real)
    figure = generative.neighbors(made, real[indices], distances.tolist())
    plots.save(figure, workdir / "neighbours.png")


def judge_of(dataset: data.Dataset, folder: Path | None = None) -> generative.Reference:
    """The judge of a set, kept in runs/judges/NAME, and the set's test images as it sees them."""
    folder = (folder or Path("runs") / "judges") / dataset.name
    num_epochs = 2 if len(dataset.train["label"]) > 10_000 else 20
    judge = generative.train_classifier(dataset, num_epochs=num_epochs, cache_dir=folder)
    print(f"judge: {judge.accuracy:.2%} of the test images of {dataset.name}")
    return generative.make_reference(judge, dataset.test["image"][:NUM_SAMPLES])


def restore(workdir: Path, players: Players, num_seeds: int, labels: Any = None) -> train.GANState:
    """Both players as :func:`play` left them in a run folder."""
    folder = workdir / "checkpoints" / "last"
    if not folder.is_dir():
        raise FileNotFoundError(f"{workdir} holds no finished GAN: there is no {folder}.")
    noise = jnp.zeros((num_seeds, players.generator.num_latents))
    like = jax.eval_shape(lambda: start(players, jax.random.key(0), noise, labels))
    with checkpoint.CheckpointManager(folder, keep=2) as manager:
        return manager.restore(like)[0].gan
