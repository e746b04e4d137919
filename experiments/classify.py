"""Classify images: digits, MNIST or Fashion-MNIST with an MLP or a CNN.

    python experiments/classify.py
    python experiments/classify.py --data fashion_mnist --data_dir DIR --model cnn

The first command needs nothing but the installation: scikit-learn's handwritten digits, an MLP,
about 98 % of the test images right after a few seconds. The sets of the second are read from
DIR/fashion_mnist/train-images-idx3-ubyte.gz and so on, or fetched by TFDS without --data_dir.
The run folder gets config.json, metrics.jsonl, TensorBoard events, checkpoints and pictures.

Source: the quick-start recipe of the PyTorch tutorials, and what people add to it.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, data, losses, metrics, models, optim, plots, train
from jaxdl.data import transforms


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    num_train: int | None = None
    """Train on the first so many images only; all by default."""
    model: Literal["mlp", "convnet", "cnn"] = "mlp"
    """784-512-512-10 perceptron; small two-convolution network; BatchNorm network."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    """PyTorch's SGD (plain, or with Nesterov momentum 0.9), Adam or AdamW."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    """Course of the learning rate; step: a tenth after half and after three quarters."""
    weight_decay: float = 0.0
    """Of kernels, not of biases and norms."""
    dropout_rate: float = 0.0
    """Fraction of hidden units dropped in training."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    augment: Literal["none", "flip", "shift", "shift_flip"] = "none"
    """Mirror images; random shifts by up to 2 pixels; both."""
    batch_size: int = 32
    """Examples a step."""
    num_epochs: int = 10
    """Passes over the training set."""
    seed: int = 0
    """Of weights, order, dropout and augmentation."""
    patience: int | None = None
    """Stop after so many epochs without a better test loss."""
    save_every_seconds: float = 30.0
    """Longest time whose work a crash can cost."""
    run_dir: Path | None = None
    """Run folder; runs/DATA_MODEL_TIME by default."""
    resume: bool = False
    """Go on with the run in run_dir."""


def make_model(cfg: Config) -> nn.Module:
    match cfg.model:
        case "mlp":
            return models.MLP((512, 512, 10), dropout_rate=cfg.dropout_rate)
        case "convnet":
            return models.ConvNet(10, dropout_rate=cfg.dropout_rate)
        case "cnn":
            return models.CNN(10, dropout_rate=cfg.dropout_rate)


def make_optimizer(cfg: Config, num_steps: int) -> optax.GradientTransformation:
    rate: optim.LearningRate = cfg.learning_rate
    match cfg.schedule:
        case "step":
            boundaries = {num_steps // 2: 0.1, num_steps * 3 // 4: 0.1}
            rate = optax.piecewise_constant_schedule(cfg.learning_rate, boundaries)
        case "cosine":
            rate = optim.warmup_cosine(cfg.learning_rate, num_steps)
        case "one_cycle":
            rate = optim.one_cycle(cfg.learning_rate, num_steps)
    decay: dict[str, Any] = {"weight_decay": cfg.weight_decay, "mask": optim.no_decay_on_vectors}
    match cfg.optimizer:
        case "sgd":
            return optim.sgd(rate, **decay)
        case "momentum":
            return optim.sgd(rate, momentum=0.9, nesterov=True, **decay)
        case "adam":
            return optim.adam(rate, **decay)
        case "adamw":
            return optim.adamw(rate, **decay)


def make_augment(cfg: Config) -> transforms.Augment | None:
    match cfg.augment:
        case "none":
            return None
        case "flip":
            return transforms.random_flip()
        case "shift":
            return transforms.random_crop(padding=2)
        case "shift_flip":
            return transforms.compose(transforms.random_crop(padding=2), transforms.random_flip())


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates, draws; returns the history, one row an epoch."""
    dataset = data.load(cfg.data, cfg.data_dir)
    train_data = {name: array[: cfg.num_train] for name, array in dataset.train.items()}
    images = train_data["image"]
    preprocess = transforms.normalize(*data.mean_and_std(images))
    model = make_model(cfg)
    tx = make_optimizer(cfg, cfg.num_epochs * data.num_batches(len(images), cfg.batch_size))
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    example = preprocess(jnp.asarray(images[:1]))
    state = train.init_state(model, tx, init_key, example)
    smoothed = functools.partial(losses.cross_entropy, label_smoothing=cfg.label_smoothing)
    common: dict[str, Any] = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": preprocess}
    train_loss = train.supervised(model, smoothed, augment=make_augment(cfg), **common)
    test_loss = train.supervised(model, losses.cross_entropy, **common)
    print(model.tabulate(init_key, example, console_kwargs={"force_terminal": False, "width": 100}))
    workdir = (
        cfg.run_dir or Path("runs") / f"{cfg.data}_{cfg.model}_{time.strftime('%Y%m%d-%H%M%S')}"
    )
    began = time.perf_counter()
    state, history = train.run(
        train.make_step(train_loss, tx),
        state,
        train_data,
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=train.make_eval(test_loss),
        eval_data=dataset.test,
        workdir=workdir,
        resume=cfg.resume,
        patience=cfg.patience,
        save_every_seconds=cfg.save_every_seconds,
        config=cfg,
    )
    seconds = time.perf_counter() - began

    logits = train.predict(
        lambda state, x: model.apply(
            {"params": state.params, **state.model_state}, preprocess(x), train=False
        ),
        state,
        dataset.test["image"],
    )
    labels, names = dataset.test["label"], dataset.class_names
    matrix = metrics.confusion_matrix(logits, jnp.asarray(labels))
    probabilities = np.asarray(jax.nn.softmax(logits[:32]))
    grid = plots.predictions(dataset.test["image"][:32], labels[:32], probabilities, names)
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    plots.save(grid, workdir / "predictions.png")
    plots.save(plots.confusion_matrix(matrix, names), workdir / "confusion_matrix.png")
    last = history[-1]
    print(
        f"{len(labels):,} test images after {last['epoch']} epochs: accuracy "
        f"{last['test/accuracy']:.4f}, loss {last['test/loss']:.4f}, {seconds:.1f} s\n"
        f"run folder: {workdir}"
    )
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
