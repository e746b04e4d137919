"""Classify images: digits, MNIST, Fashion-MNIST or a folder of images, with a network of jaxdl.

    python experiments/classify.py
    python experiments/classify.py --data fashion_mnist --data_dir DIR --model cnn

The first command needs no data: scikit-learn's digits and an MLP, about 98 % of the test images
right after a few seconds. The sets of the second are read from DIR/fashion_mnist/, or fetched by
TFDS without --data_dir. The run folder gets config.json, metrics.jsonl, TensorBoard events,
checkpoints, pictures, and model.json, with which ``python -m jaxdl predict`` finds the model again.

Source: the quick-start recipe of the PyTorch tutorials, and common additions to it.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, data, export, losses, metrics, models, optim, plots, transforms
from jaxdl.train import init_state, make_eval, make_step, run, supervised
from jaxdl.types import TrainState

FLIP, SHIFT = transforms.random_flip(), transforms.random_crop
SHIFT_FLIP = transforms.compose(SHIFT(padding=4), FLIP)
AUGMENT = {"none": None, "flip": FLIP, "shift": SHIFT(padding=2), "shift_flip": SHIFT_FLIP}


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10"] = "digits"
    model: Literal["mlp", "cnn", "lenet5", "mnist_cnn", "lstm", "resnet18"] = "mlp"
    """mlp is 784-512-512-10; lstm reads an image row by row."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    weight_decay: float = 0.0
    """Weight decay of kernels; biases and norms are exempt."""
    clip_norm: float | None = None
    dropout_rate: float = 0.0
    augment: Literal["none", "flip", "shift", "shift_flip"] = "none"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of forward and backward; weights stay float32."""


def make_model(cfg: Config, num_classes: int) -> nn.Module:
    makers: dict[str, Any] = {
        "mlp": partial(models.MLP, (512, 512, num_classes), dropout_rate=cfg.dropout_rate),
        "cnn": partial(models.CNN, num_classes, dropout_rate=cfg.dropout_rate),
        "lenet5": partial(models.LeNet5, num_classes),
        "mnist_cnn": partial(models.MnistCNN, num_classes),
        "lstm": partial(models.RecurrentClassifier, num_classes, cell="lstm"),
        "resnet18": partial(models.ResNet18, num_classes=num_classes, stem="cifar"),
    }
    return makers[cfg.model]()


def make_optimizer(cfg: Config, num_steps: int) -> optax.GradientTransformation:
    nesterov = partial(optim.sgd, momentum=0.9, nesterov=True)
    kinds: dict[str, Any] = {"adam": optim.adam, "adamw": optim.adamw}
    kinds |= {"sgd": optim.sgd, "momentum": nesterov}
    schedules: dict[str, Any] = {"constant": lambda rate, _: rate, "cosine": optim.warmup_cosine}
    schedules["one_cycle"] = optim.one_cycle
    return optim.recipe(
        kinds[cfg.optimizer],
        schedules[cfg.schedule](cfg.learning_rate, num_steps),
        weight_decay=cfg.weight_decay,
        decay_vectors=False,
        clip_norm=cfg.clip_norm,
        precision=cfg.precision,
    )


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains a network; returns the state and the history, one row per epoch."""
    images, class_names = dataset.train["image"], dataset.class_names
    mean, std = data.mean_and_std(images)
    preprocess = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model = make_model(cfg, len(class_names))
    tx = make_optimizer(cfg, cfg.num_epochs * data.num_batches(len(images), cfg.batch_size))
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    accuracy = {"accuracy": metrics.accuracy}
    options: dict[str, Any] = {"metrics": accuracy, "preprocess": preprocess}
    loss_fn = partial(supervised, model, losses.cross_entropy, **options)
    about = {"name": cfg.data, "data_dir": cfg.data_dir and str(cfg.data_dir.absolute())}
    return run(
        make_step(loss_fn(augment=AUGMENT[cfg.augment]), tx),
        init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1]))),
        dataset.train,
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=make_eval(loss_fn()),
        eval_data=dataset.test,
        workdir=cfg.workdir,
        resume=cfg.resume,
        config=cfg,
        description=export.describe_run(model, preprocess, class_names, data=about),
    )


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates and draws; returns the history."""
    dataset = data.load(cfg.data, cfg.data_dir)
    workdir = cfg.workdir or config.new_run_dir(f"{cfg.data}_{cfg.model}")
    state, history = train(dataclasses.replace(cfg, workdir=workdir), dataset)
    images, labels, names = dataset.test["image"], dataset.test["label"], dataset.class_names
    logits = export.open_model(workdir, which="last").outputs(images)
    matrix = metrics.confusion_matrix(logits, jnp.asarray(labels))
    export.write_evaluation(workdir, int(state.step), matrix)
    shown = np.linspace(0, len(labels) - 1, 32).astype(int)  # folders are in order of their classes
    shares = np.asarray(jax.nn.softmax(logits[shown]))
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    examples = plots.predictions(images[shown], labels[shown], shares, names)
    plots.save(examples, workdir / "predictions.png")
    plots.save(plots.confusion_matrix(matrix, names), workdir / "confusion_matrix.png")
    accuracy = history[-1]["test/accuracy"]
    print(f"{len(labels):,} test images: accuracy {accuracy:.4f}\nrun folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
