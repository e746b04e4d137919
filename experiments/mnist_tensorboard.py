"""Train a small ConvNet on MNIST and watch everything in TensorBoard.

    python experiments/mnist_tensorboard.py --data_dir DIR
    python experiments/mnist_tensorboard.py --data_dir DIR --runs two
    tensorboard --logdir runs

DIR holds mnist/train-images-idx3-ubyte.gz and so on; without --data_dir TFDS downloads the set.
About 99 % of the 10,000 test images are right after 10 epochs, half a minute on two CPU cores.
Every 50 batches: loss, accuracy, gradient norms, histograms of the 8 parameters, their gradients
and activations, maps of both convolutions; at the first batch of each epoch the input images and
filters; after each epoch 1,024 embeddings; at the end PCA, t-SNE, confusion matrix and the worst
images; at both ends the hyperparameters, which ``--runs two`` and ``--runs three`` compare.

Source: chapter 3 of dldna, ``train(hparams, log_dir)``: its defaults (``epochs`` is num_epochs),
cadence and lists. Here the chosen optimizer is used, and all test images count.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import config, data, export, losses, metrics, models, optim
from jaxdl.nn.initializers import kaiming_normal
from jaxdl.train import Watch, init_state, make_eval, make_step, run, supervised
from jaxdl.types import TrainState


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One or several trainings; every field is a flag."""

    batch_size: int = 64
    """Images per step."""
    learning_rate: float = 1e-3
    """Learning rate of the first epochs."""
    dropout_rate: float = 0.3
    """Fraction of the 32 features dropped in training."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    momentum: float = 0.0
    """Momentum of sgd and rmsprop."""
    weight_decay: float = 1e-5
    """Of all parameters; in the gradient, except for adamw."""
    step_size: int = 5
    """Epochs between two multiplications of the learning rate by gamma."""
    gamma: float = 0.5
    drop_last: bool = True
    """Leave out the ragged last batch of an epoch: 937 steps, not 938."""
    runs: Literal["one", "two", "three"] = "one"
    """One run by the flags, or the two or three settings of the source on top of the flags."""


TWO = [
    {"batch_size": 32, "dropout_rate": 0.3, "num_epochs": 5, "step_size": 2},
    {"batch_size": 64, "learning_rate": 5e-4, "dropout_rate": 0.5, "num_epochs": 5,
     "weight_decay": 1e-4, "step_size": 3, "gamma": 0.2},
]  # fmt: skip
THREE = [
    {"batch_size": size, "dropout_rate": rate, "weight_decay": decay}
    for size, rate, decay in ((32, 0.3, 1e-5), (64, 0.5, 1e-4), (128, 0.7, 1e-3))
]
RUNS: dict[str, list[dict[str, Any]]] = {
    "one": [{}],
    "two": TWO,
    "three": [{**one, "learning_rate": 1e-4, "num_epochs": 3} for one in THREE],
}
WATCH = Watch.all(
    activations=("feat1", "feat2", "feat3"),
    feature_maps=("feat1", "feat2"),
    filters=("Conv_0",),
    embeddings="feat3",
    hparams_metrics=("test/accuracy", "test/loss"),
)
NOT_HPARAMS = ("data_dir", "workdir", "resume", "runs")


def make_optimizer(cfg: Config, steps_per_epoch: int) -> optax.GradientTransformation:
    decay = optim.step_decay(cfg.learning_rate, cfg.step_size, cfg.gamma)
    options: dict[str, Any] = {"weight_decay": cfg.weight_decay}
    if cfg.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = cfg.momentum
    elif cfg.momentum:
        raise ValueError(f"momentum is for sgd and rmsprop, not {cfg.optimizer}.")
    return getattr(optim, cfg.optimizer)(optim.per_epoch(decay, steps_per_epoch), **options)


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains with everything on; returns the state and the history, one row per epoch."""
    images, names = dataset.train["image"], tuple(dataset.class_names)
    inits: dict[str, Any] = {
        "dense_init": nn.initializers.normal(0.01),
        "bias_init": nn.initializers.zeros,
    }
    model = models.ConvNet(
        dropout_rate=cfg.dropout_rate, conv_init=kaiming_normal("fan_out"), **inits
    )
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    loader = data.Loader(
        data.ArraySource(dataset.train),
        batch_size=cfg.batch_size,
        shuffle=True,
        drop_last=cfg.drop_last,
        key=order_key,
        resident=True,
    )
    tx = make_optimizer(cfg, len(loader))
    preprocess = export.Preprocessing(images.shape[1:], mean=(0.1307,), std=(0.3081,))
    accuracy, about = {"accuracy": metrics.accuracy}, {"name": dataset.name}
    loss_fn = supervised(model, losses.cross_entropy, metrics=accuracy, preprocess=preprocess)
    fields = dataclasses.asdict(cfg)
    hparams = {name: value for name, value in fields.items() if name not in NOT_HPARAMS}
    return run(
        make_step(loss_fn, tx),
        init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1]))),
        loader,
        num_epochs=cfg.num_epochs,
        eval_fn=make_eval(loss_fn),
        eval_data=dataset.test,
        workdir=cfg.workdir,
        resume=cfg.resume,
        config=cfg,
        watch=dataclasses.replace(WATCH, hparams=hparams, class_names=names),
        description=export.describe_run(model, preprocess, names, data=about),
    )


def main(cfg: Config) -> list[float]:
    """Trains every setting of ``runs``; returns the test accuracies."""
    dataset = data.load("mnist", cfg.data_dir)
    base, settings = cfg.workdir or config.new_run_dir("mnist"), RUNS[cfg.runs]
    accuracies = []
    for index, changes in enumerate(settings):
        workdir = base / f"run_{index}" if len(settings) > 1 else base
        _, history = train(dataclasses.replace(cfg, workdir=workdir, **changes), dataset)
        accuracies.append(history[-1]["test/accuracy"])
        print(f"{workdir}: {accuracies[-1]:.2%} of {len(dataset.test['label']):,} test images")
    print(f"tensorboard --logdir {base}")
    return accuracies


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
