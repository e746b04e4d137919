"""Train a small ConvNet on MNIST and watch everything in TensorBoard.

    python experiments/mnist_tensorboard.py --data_dir DIR
    python experiments/mnist_tensorboard.py --data_dir DIR --runs two
    tensorboard --logdir runs

DIR holds mnist/train-images-idx3-ubyte.gz and so on; without --data_dir TFDS fetches the set. About
99 % of the 10,000 test images are right after 10 epochs, half a minute or so on two CPU cores.
Every 50 batches: loss, accuracy, gradient norms, histograms of the 8 parameters and their gradients
and of activations, maps of both convolutions; at the first batch of each epoch the input images and
filters; after each epoch 1,024 embeddings; at the end PCA, t-SNE, confusion matrix and the worst
images; at both ends the hyperparameters, which ``--runs two`` and ``--runs three`` compare. The run
folder also gets model.json, with which ``python -m jaxdl predict`` and ``export`` find the model.

Source: chapter 3 of dldna, ``train(hparams, log_dir)``: its defaults, cadence and lists. A partial
dictionary is merged with the defaults, an unknown key refused, the chosen optimizer used, and all
test images count.
"""

import dataclasses
import numbers
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import config, data, export, losses, metrics, models, optim
from jaxdl import train as training
from jaxdl._checks import check_batch_size
from jaxdl.nn.initializers import kaiming_normal


@dataclasses.dataclass(frozen=True)
class HParams:
    """What one training can be varied in; every field is a key of ``hparams_dict``."""

    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Of the first epochs."""
    dropout_rate: float = 0.3
    """Fraction of the 32 features dropped in training."""
    num_epochs: int = 10
    """Passes over the training set."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """PyTorch's."""
    momentum: float = 0.0
    """Of sgd and rmsprop."""
    weight_decay: float = 1e-5
    """Of all parameters; in the gradient, but for adamw."""
    step_size: int = 5
    """Epochs after which the rate is multiplied by gamma, again and again."""
    gamma: float = 0.5
    """What it is multiplied by."""
    drop_last: bool = True
    """Leave the ragged last batch of an epoch out: 937 steps, not 938."""
    seed: int = 0
    """Of weights, order and dropout."""


@dataclasses.dataclass(frozen=True)
class Config(HParams):
    """One or several trainings; every field is a flag."""

    runs: Literal["one", "two", "three"] = "one"
    """One by the flags; or the source's two settings, or its older three, on top of the flags."""
    data_dir: Path | None = None
    """Folder with the folder mnist of IDX files; without it TFDS provides the set."""
    workdir: Path | None = None
    """Run folder, runs/mnist_TIME by default; of several runs the folder around theirs."""


RUNS: dict[str, list[dict[str, Any]]] = {
    "one": [{}],
    "two": [
        {"batch_size": 32, "dropout_rate": 0.3, "num_epochs": 5, "step_size": 2},
        {"batch_size": 64, "learning_rate": 5e-4, "dropout_rate": 0.5, "num_epochs": 5,
         "weight_decay": 1e-4, "step_size": 3, "gamma": 0.2},
    ],
    "three": [
        {"batch_size": size, "learning_rate": 1e-4, "dropout_rate": rate, "num_epochs": 3,
         "weight_decay": decay}
        for size, rate, decay in ((32, 0.3, 1e-5), (64, 0.5, 1e-4), (128, 0.7, 1e-3))
    ],
}  # fmt: skip

WATCH = training.Watch.all(
    activations=("feat1", "feat2", "feat3"),
    feature_maps=("feat1", "feat2"),
    filters=("Conv_0",),
    embeddings="feat3",
    hparams_metrics=("test/accuracy", "test/loss"),
)


def make_optimizer(hparams: HParams, steps_per_epoch: int) -> Any:
    decay = optim.step_decay(hparams.learning_rate, hparams.step_size, hparams.gamma)
    make = getattr(optim, hparams.optimizer)
    options: dict[str, Any] = {"weight_decay": hparams.weight_decay}
    if hparams.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = hparams.momentum
    elif hparams.momentum:
        raise ValueError(f"momentum is for sgd and rmsprop, not {hparams.optimizer}.")
    return make(optim.per_epoch(decay, steps_per_epoch), **options)


def merged(hparams_dict: Mapping[str, Any] | None) -> HParams:
    """The defaults, but for what the dictionary says."""
    given, known = dict(hparams_dict or {}), [field.name for field in dataclasses.fields(HParams)]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown hyperparameter {unknown[0]!r}; known are {', '.join(known)}.")
    hparams = HParams(**given)
    for name, default in dataclasses.asdict(HParams()).items():
        value = getattr(hparams, name)
        kind: Any = {int: numbers.Integral, float: numbers.Real}.get(type(default), type(default))
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
            raise ValueError(f"{name} must be of type {type(default).__name__}, got {value!r}.")
    if hparams.optimizer not in ("adam", "adamw", "sgd", "rmsprop"):
        raise ValueError(f"optimizer must be adam, adamw, sgd or rmsprop: {hparams.optimizer!r}.")
    return hparams


def train_model(
    hparams: HParams,
    dataset: data.Dataset,
    workdir: Path,
    watch: training.Watch | None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Trains; returns the history, one row an epoch. ``options`` are those of ``run``."""
    model = models.ConvNet(
        dropout_rate=hparams.dropout_rate,
        conv_init=kaiming_normal("fan_out"),
        dense_init=nn.initializers.normal(0.01),
        bias_init=nn.initializers.zeros,
    )
    init_key, order_key = jax.random.split(jax.random.key(hparams.seed))
    check_batch_size(hparams.batch_size, len(dataset.train["image"]))
    loader = data.Loader(
        data.ArraySource(dataset.train),
        batch_size=hparams.batch_size,
        shuffle=True,
        drop_last=hparams.drop_last,
        key=order_key,
        resident=True,
    )
    tx = make_optimizer(hparams, len(loader))
    images = dataset.train["image"]
    preprocess = export.Preprocessing(images.shape[1:], mean=(0.1307,), std=(0.3081,))
    about = {"name": dataset.name, "training images": len(images)}
    description = export.describe_run(model, preprocess, dataset.class_names, data=about)
    loss_fn = training.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
    )
    example = preprocess(jnp.asarray(images[:1]))
    _, history = training.run(
        training.make_step(loss_fn, tx),
        training.init_state(model, tx, init_key, example),
        loader,
        num_epochs=hparams.num_epochs,
        eval_fn=training.make_eval(loss_fn),
        eval_data=dataset.test,
        workdir=workdir,
        config=hparams,
        watch=watch,
        hooks=[export.keep_description(description), *options.pop("hooks", [])],
        **options,
    )
    return history


def train(
    hparams_dict: Mapping[str, Any] | None = None,
    log_dir: Path | str | None = None,
    *,
    data_dir: Path | str | None = None,
    dataset: data.Dataset | None = None,
) -> float:
    """Trains with everything on.

    Args:
        hparams_dict: fields of :class:`HParams`; those it lacks have their defaults.
        log_dir: run folder; runs/mnist_TIME by default.
        data_dir: see :class:`Config`.
        dataset: the data instead.

    Returns:
        the share of all test images that are right after the last epoch.

    Raises:
        ValueError: an unknown hyperparameter, or a log_dir that holds a run.
    """
    hparams = merged(hparams_dict)
    dataset = dataset or data.load("mnist", data_dir)
    workdir = Path(log_dir or Path("runs") / f"mnist_{time.strftime('%Y%m%d-%H%M%S')}")
    watch = dataclasses.replace(
        WATCH, hparams=dataclasses.asdict(hparams), class_names=tuple(dataset.class_names)
    )
    return train_model(hparams, dataset, workdir, watch)[-1]["test/accuracy"]


def main(cfg: Config) -> list[float]:
    """Trains as often as ``runs`` says; returns the accuracies."""
    dataset = data.load("mnist", cfg.data_dir)
    base = cfg.workdir or Path("runs") / f"mnist_{time.strftime('%Y%m%d-%H%M%S')}"
    flags = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(HParams)}
    accuracies = []
    for index, changes in enumerate(RUNS[cfg.runs]):
        workdir = base / f"run_{index}" if len(RUNS[cfg.runs]) > 1 else base
        accuracies.append(train(flags | changes, workdir, dataset=dataset))
        print(f"{workdir}: {accuracies[-1]:.2%} of {len(dataset.test['label']):,} test images")
    print(f"tensorboard --logdir {base}")
    return accuracies


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
