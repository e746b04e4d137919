"""Autoencoders of images: plain, variational, and variational with convolutions.

    python experiments/autoencode.py
    python experiments/autoencode.py --data mnist --data_dir DIR --model conv_vae --num_epochs 10
    python experiments/autoencode.py --data mnist --data_dir DIR --num_latents 2

The first command needs no data and takes some seconds on a laptop. A VAE is trained on the evidence
lower bound (ELBO): the binary cross entropy of the pixels plus the KL divergence of the code from
N(0, 1), in nats an image; "test/loss" is its negative, with one drawn code an image. The plain
autoencoder is trained on the squared error. The run folder gets reconstructions.png (originals
above), samples.png (decoded from drawn codes), latents.png (the test images' codes, by class) and,
for two latents, plane.png (the plane of codes, decoded); and model.json, for ``python -m jaxdl
export``: ``jaxdl.load_bundle(...).outputs(images)`` has the reconstructions.

Source: Kingma & Welling 2014; the autoencoder and VAE recipes of the PyTorch examples.
"""

import dataclasses
import time
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, export, losses, metrics, models, optim, plots, train
from jaxdl.transforms import to_float


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    model: Literal["vae", "conv_vae", "autoencoder"] = "vae"
    """784-400-20 and back with a drawn code; with convolutions; 784-400-400-20 and back."""
    num_latents: int = 20
    """Length of the code."""
    learning_rate: float = 3e-3
    """Peak of Adam's rate, which falls to 0 along a cosine."""
    batch_size: int = 128
    """Images a step."""
    num_epochs: int = 60
    """Passes over the training set."""
    seed: int = 0
    """Of weights, order and codes."""
    workdir: Path | None = None
    """Run folder; runs/DATA_MODEL_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def make_model(cfg: Config, shape: tuple[int, int, int]) -> Any:
    match cfg.model:
        case "vae":
            return models.VAE(num_latents=cfg.num_latents, shape=shape)
        case "conv_vae":
            return models.ConvVAE(num_latents=cfg.num_latents, shape=shape)
        case "autoencoder":
            return models.Autoencoder(num_latents=cfg.num_latents, shape=shape)


def make_loss(model: Any) -> Any:
    """A loss function by hand: the target is the image, and a code is drawn in evaluation too."""

    def loss_fn(params: Any, model_state: Any, batch: Any, *, key: Any, train: bool) -> Any:
        images, mask = to_float(batch["image"]), batch.get("mask")
        if isinstance(model, models.Autoencoder):
            outputs: Any = model.apply({"params": params}, images, train=train)
            results = {"loss": metrics.mean(losses.squared_error(outputs, images), mask)}
        else:
            logits, mean, log_variance = model.apply(
                {"params": params}, images, sample=True, rngs={"dropout": key}
            )
            divergence = losses.kl_to_standard_normal(mean, log_variance)
            elbo = losses.negative_elbo(logits, images, mean, log_variance)
            results = {"loss": metrics.mean(elbo, mask), "kl": metrics.mean(divergence, mask)}
        total, count = results["loss"]
        return total / count, (model_state, results)

    return loss_fn


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates, draws; returns the history, one row an epoch."""
    if cfg.num_latents < 2:
        raise ValueError(f"--num_latents must be at least 2, to draw a plane: {cfg.num_latents}.")
    dataset = data.load(cfg.data, cfg.data_dir)
    images, test_images = dataset.train["image"], dataset.test["image"]
    model = make_model(cfg, images.shape[1:])
    steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    tx = optim.adam(optim.warmup_cosine(cfg.learning_rate, steps))
    init_key, order_key, code_key = jax.random.split(jax.random.key(cfg.seed), 3)
    state = train.init_state(model, tx, init_key, to_float(jnp.asarray(images[:1])))
    loss_fn = make_loss(model)
    about = {"name": cfg.data, "training images": len(images)}
    description = export.describe_run(model, export.Preprocessing(images.shape[1:]), data=about)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    workdir = cfg.workdir or Path("runs") / f"{cfg.data}_{cfg.model}_{stamp}"
    state, history = train.run(
        train.make_step(loss_fn, tx),
        state,
        {"image": images},
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=train.make_eval(loss_fn),
        eval_data={"image": test_images},
        workdir=workdir,
        resume=cfg.resume,
        config=cfg,
        hooks=[export.keep_description(description)],
    )
    draw(cfg, model, state, dataset, code_key, workdir)
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    unit = "squared error" if cfg.model == "autoencoder" else "nats an image (negative ELBO)"
    print(f"{len(test_images):,} test images: {history[-1]['test/loss']:.5g} {unit}")
    print(f"run folder: {workdir}")
    return history


def draw(cfg: Config, model: Any, state: Any, dataset: Any, key: Any, workdir: Path) -> None:
    """The pictures: reconstructions, samples, codes by class, and the plane of codes."""
    variables, variational = {"params": state.params}, cfg.model != "autoencoder"

    def encode(state: Any, x: Any) -> Any:
        codes = model.apply({"params": state.params}, to_float(x), method="encode")
        return codes[0] if variational else codes

    def decode(codes: Any) -> np.ndarray:
        outputs = model.apply(variables, codes, method="decode")
        pixels = jax.nn.sigmoid(outputs) if variational else jnp.clip(outputs, 0, 1)
        return np.asarray(pixels)

    test_images, labels = dataset.test["image"], dataset.test["label"]
    codes = np.asarray(train.predict(encode, state, test_images))
    pairs = [test_images[:16].astype(np.float32) / 255, decode(codes[:16])]
    rows = [pairs[part][start : start + 8] for start in (0, 8) for part in (0, 1)]
    plots.save(plots.image_grid(np.concatenate(rows)), workdir / "reconstructions.png")
    if variational:
        drawn = jax.random.normal(key, (64, cfg.num_latents))
        plots.save(plots.image_grid(decode(drawn)), workdir / "samples.png")
    centred = codes - codes.mean(0)
    axes = np.linalg.svd(centred[:2000], full_matrices=False)[2][:2]
    flat = codes if cfg.num_latents == 2 else centred @ axes.T
    shown = {
        name: (flat[:2000][labels[:2000] == label, 0], flat[:2000][labels[:2000] == label, 1])
        for label, name in enumerate(dataset.class_names)
    }
    names = ("code 1", "code 2") if cfg.num_latents == 2 else ("component 1", "component 2")
    figure = plots.points_and_curves(shown, {}, labels=names, title="codes of test images")
    plots.save(figure, workdir / "latents.png")
    if variational and cfg.num_latents == 2:
        ticks = [NormalDist().inv_cdf((i + 0.5) / 16) for i in range(16)]
        plane = np.array([(x, -y) for y in ticks for x in ticks], np.float32)
        plots.save(plots.image_grid(decode(plane), num_columns=16), workdir / "plane.png")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
