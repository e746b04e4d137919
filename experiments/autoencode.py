"""Autoencoders of images: plain, variational, and variational with convolutions.

    python experiments/autoencode.py
    python experiments/autoencode.py --data mnist --data_dir DIR --model conv_vae --num_epochs 10
    python experiments/autoencode.py --data mnist --data_dir DIR --num_latents 2

The first command needs no data and takes some seconds. A VAE is trained on the evidence lower bound
(ELBO), "test/loss" is its negative in nats per image; the plain autoencoder on the squared error.
The run folder gets pictures of reconstructions, samples, codes by class, and for two latents the
plane of codes; and model.json, for ``python -m jaxdl export``.

Source: Kingma & Welling 2014; the autoencoder and VAE recipes of the PyTorch examples.
"""

import dataclasses
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from jaxdl import config, data, export, losses, metrics, models, optim, plots
from jaxdl.train import init_state, make_eval, make_step, predict, run
from jaxdl.transforms import to_float
from jaxdl.types import Array, Batch, LossFn, TrainState

MODELS = {"vae": models.VAE, "conv_vae": models.ConvVAE, "autoencoder": models.Autoencoder}


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    model: Literal["vae", "conv_vae", "autoencoder"] = "vae"
    """784-400-20 and back with a drawn code; with convolutions; 784-400-400-20 and back."""
    num_latents: int = 20
    """Length of the code."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam, which falls to 0 along a cosine."""
    batch_size: int = 128
    """Images per step."""
    num_epochs: int = 60
    """Passes over the training set."""


def make_loss(model: nn.Module) -> LossFn:
    """A loss function by hand: the target is the image, and a code is drawn in evaluation too."""

    def loss_fn(params: Any, model_state: Any, batch: Batch, *, key: Array, train: bool) -> Any:
        images, mask = to_float(batch["image"]), batch.get("mask")
        if isinstance(model, models.Autoencoder):
            outputs: Any = model.apply({"params": params}, images, train=train)
            results = {"loss": metrics.mean(losses.squared_error(outputs, images), mask)}
        else:
            rngs = {"dropout": key}
            outputs = model.apply({"params": params}, images, sample=True, rngs=rngs)
            logits, mean, log_variance = outputs
            divergence = losses.kl_to_standard_normal(mean, log_variance)
            elbo = losses.negative_elbo(logits, images, mean, log_variance)
            results = {"loss": metrics.mean(elbo, mask), "kl": metrics.mean(divergence, mask)}
        total, count = results["loss"]
        return total / count, (model_state, results)

    return loss_fn


def make_model(cfg: Config, dataset: data.Dataset) -> nn.Module:
    if cfg.num_latents < 2:
        raise ValueError(f"--num_latents must be at least 2, to draw a plane: {cfg.num_latents}.")
    shape = dataset.train["image"].shape[1:]
    return MODELS[cfg.model](num_latents=cfg.num_latents, shape=shape)


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains the model; returns the state and the history, one row per epoch."""
    images, model = dataset.train["image"], make_model(cfg, dataset)
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    tx = optim.adam(optim.warmup_cosine(cfg.learning_rate, num_steps))
    init_key, order_key, _ = jax.random.split(jax.random.key(cfg.seed), 3)
    loss_fn = make_loss(model)
    preprocessing, about = export.Preprocessing(images.shape[1:]), {"name": cfg.data}
    return run(
        make_step(loss_fn, tx),
        init_state(model, tx, init_key, to_float(jnp.asarray(images[:1]))),
        {"image": images},
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=make_eval(loss_fn),
        eval_data={"image": dataset.test["image"]},
        workdir=cfg.workdir,
        resume=cfg.resume,
        config=cfg,
        description=export.describe_run(model, preprocessing, data=about),
    )


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains and draws; returns the history."""
    dataset = data.load(cfg.data, cfg.data_dir)
    make_model(cfg, dataset)  # invalid sizes are refused before a folder is made
    workdir = cfg.workdir or config.new_run_dir(f"{cfg.data}_{cfg.model}")
    state, history = train(dataclasses.replace(cfg, workdir=workdir), dataset)
    draw(cfg, state, dataset, workdir)
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    unit = "squared error" if cfg.model == "autoencoder" else "nats per image (negative ELBO)"
    print(f"{len(dataset.test['image']):,} test images: {history[-1]['test/loss']:.5g} {unit}")
    print(f"run folder: {workdir}")
    return history


def draw(cfg: Config, state: TrainState, dataset: data.Dataset, workdir: Path) -> None:
    """Draws reconstructions, samples, codes by class, and the plane of codes."""
    model, variational = make_model(cfg, dataset), cfg.model != "autoencoder"
    images, labels = dataset.test["image"], dataset.test["label"]

    def encode(state: TrainState, x: Array) -> Array:
        codes: Any = model.apply({"params": state.params}, to_float(x), method="encode")
        return codes[0] if variational else codes

    def decode(codes: Any) -> np.ndarray:
        outputs: Any = model.apply({"params": state.params}, codes, method="decode")
        return np.asarray(jax.nn.sigmoid(outputs) if variational else jnp.clip(outputs, 0, 1))

    codes = np.asarray(predict(encode, state, images))
    pairs = [images[:16].astype(np.float32) / 255, decode(codes[:16])]
    rows = [pairs[part][start : start + 8] for start in (0, 8) for part in (0, 1)]
    plots.save(plots.image_grid(np.concatenate(rows)), workdir / "reconstructions.png")
    shown = codes[:2000] if cfg.num_latents == 2 else PCA(2).fit_transform(codes[:2000])
    figure = plots.class_map(shown, labels[:2000], dataset.class_names, title="codes by class")
    plots.save(figure, workdir / "latents.png")
    if variational:
        noise = jax.random.normal(
            jax.random.split(jax.random.key(cfg.seed), 3)[2], (64, cfg.num_latents)
        )
        plots.save(plots.image_grid(decode(noise)), workdir / "samples.png")
    if variational and cfg.num_latents == 2:
        ticks = [NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)]
        plane = np.array([(x, -y) for y in ticks for x in ticks], np.float32)
        plots.save(plots.image_grid(decode(plane), num_columns=16), workdir / "plane.png")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
