"""Autoencoders of images: plain, variational, and variational with convolutions.

    python experiments/autoencode.py
    python experiments/autoencode.py --data mnist --data_dir DIR --num_epochs 10 --num_latents 2

The first command needs no data. "test/loss" is the negative evidence lower bound (ELBO) in nats per
image, or the squared error of the plain autoencoder. The run folder gets pictures: reconstructions,
codes by class, samples, and for two latents the plane of codes.

Source: Kingma & Welling 2014; the autoencoder and VAE recipes of the PyTorch examples.
"""

import dataclasses
from functools import partial
from statistics import NormalDist
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from jaxdl import config, data, export, generative, losses, metrics, models, optim, plots
from jaxdl.train import init_state, make_eval, make_step, run
from jaxdl.transforms import to_float
from jaxdl.types import Array, Batch, LossFn, Row, TrainState


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    model: Literal["vae", "conv_vae", "autoencoder"] = "vae"
    num_latents: int = 20  # length of the code; with 2 the plane of codes is drawn
    learning_rate: float = 3e-3  # peak of Adam's rate, which falls to 0 along a cosine
    batch_size: int = 128
    num_epochs: int = 60


def make_loss(model: Any, is_vae: bool) -> LossFn:
    """A loss by hand; the code, of some mean and log variance, is drawn in evaluation too."""

    def loss_fn(params: Any, model_state: Any, batch: Batch, *, key: Array, train: bool) -> Any:
        images, mask, variables = to_float(batch["image"]), batch.get("mask"), {"params": params}
        if not is_vae:
            values = {"loss": losses.squared_error(model.apply(variables, images), images)}
        else:
            logits, *code = model.apply(variables, images, sample=True, rngs={"dropout": key})
            elbo = losses.negative_elbo(logits, images, *code)
            values = {"loss": elbo, "kl": losses.kl_to_standard_normal(*code)}
        results = {name: metrics.mean(value, mask) for name, value in values.items()}
        return results["loss"].total / results["loss"].count, (model_state, results)

    return loss_fn


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[Row]]:
    """Trains the model; returns the state and the history, one row per epoch."""
    images, test = dataset.train["image"], {"image": dataset.test["image"]}
    kinds: Any = {"vae": models.VAE, "conv_vae": models.ConvVAE, "autoencoder": models.Autoencoder}
    model = kinds[cfg.model](num_latents=cfg.num_latents, shape=images.shape[1:])
    loss_fn = make_loss(model, cfg.model != "autoencoder")
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    tx = optim.adam(optim.warmup_cosine(cfg.learning_rate, num_steps))
    init_key, order_key, _ = jax.random.split(jax.random.key(cfg.seed), 3)
    preprocess = export.Preprocessing(model.shape)
    return run(
        make_step(loss_fn, tx), init_state(model, tx, init_key, jnp.zeros((1, *model.shape))),
        {"image": images}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size, key=order_key,
        eval_fn=make_eval(loss_fn), eval_data=test, workdir=cfg.workdir, resume=cfg.resume,
        config=cfg, description=export.describe_run(model, preprocess, data={"name": cfg.data}),
    )  # fmt: skip


def main(cfg: Config) -> None:
    dataset = data.load(cfg.data, cfg.data_dir)
    workdir = cfg.workdir or config.new_run_dir(f"{cfg.data}_{cfg.model}")
    _, history = train(dataclasses.replace(cfg, workdir=workdir), dataset)
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    trained: Any = export.open_model(workdir, which="last")
    apply, is_vae = partial(trained.model.apply, trained.variables), cfg.model != "autoencoder"

    def decode(codes: Any) -> np.ndarray:
        outputs = apply(codes, method="decode")
        return np.asarray(jax.nn.sigmoid(outputs) if is_vae else jnp.clip(outputs, 0, 1))

    images, labels = dataset.test["image"][:2000], dataset.test["label"][:2000]
    encoded = apply(to_float(jnp.asarray(images)), method="encode")
    codes = np.asarray(encoded[0] if is_vae else encoded)
    save = partial(generative.figures.save_grid, scale=112 // images.shape[1])
    pairs = np.concatenate([images[:16] / np.float32(255), decode(codes[:16])])
    save(pairs, workdir / "reconstructions.png", num_columns=16)
    if cfg.num_latents > 1:
        points = codes if cfg.num_latents == 2 else PCA(2).fit_transform(codes)
        figure = plots.class_map(points, labels, dataset.class_names, title="codes by class")
        plots.save(figure, workdir / "latents.png")
    if is_vae:
        key = jax.random.split(jax.random.key(cfg.seed), 3)[2]
        noise = jax.random.normal(key, (64, cfg.num_latents))
        save(decode(noise), workdir / "samples.png", num_columns=8)
    if is_vae and cfg.num_latents == 2:
        ticks = [NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)]
        plane = np.array([(x, -y) for y in ticks for x in ticks], np.float32)
        save(decode(plane), workdir / "plane.png", num_columns=16)
    print(f"test loss {history[-1]['test/loss']:.5g}, run folder: {workdir}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
