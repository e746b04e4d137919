"""Train a small ConvNet on MNIST and watch everything in TensorBoard.

    python experiments/mnist_tensorboard.py --data_dir DIR
    python experiments/mnist_tensorboard.py --data_dir DIR --runs two
    tensorboard --logdir runs

DIR holds mnist/train-images-idx3-ubyte.gz and so on; TFDS downloads the set without --data_dir.
About 99 % of the test images are right after 10 epochs, in less than a minute on two CPU cores.
Every 50 batches: loss, accuracy, gradient norms, histograms of parameters, gradients and
activations, maps of both convolutions. Every epoch: images, filters, 1,024 embeddings. At the end:
PCA, t-SNE, confusion matrix, worst images; and hyperparameters, which ``--runs three`` compares.

Source: chapter 3 of dldna, ``train(hparams, log_dir)``: its defaults, cadence and lists. Here the
chosen optimizer is used, and all test images count.
"""

import dataclasses
from typing import Any, Literal

import jax
import optax
from flax.linen.initializers import normal, zeros

from jaxdl import config, data, export, losses, metrics, models, nn, optim
from jaxdl.train import Watch, init_state, make_eval, make_step, run, supervised
from jaxdl.types import Row, TrainState


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One or several trainings; every field is a flag."""

    batch_size: int = 64
    learning_rate: float = 1e-3  # of the first epochs
    dropout_rate: float = 0.3  # fraction of the 32 features dropped in training
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    momentum: float = 0.0  # of sgd and rmsprop
    weight_decay: float = 1e-5  # of all parameters; in the gradient, except for adamw
    step_size: int = 5  # epochs between two multiplications of the learning rate by gamma
    gamma: float = 0.5
    drop_last: bool = True  # leave out the ragged last batch of an epoch: 937 steps, not 938
    runs: Literal["one", "two", "three"] = "one"  # by the flags, or the source's settings on top


RUNS: dict[str, list[dict[str, Any]]] = {
    "one": [{}],
    "two": [
        {"batch_size": 32, "dropout_rate": 0.3, "num_epochs": 5, "step_size": 2},
        {"batch_size": 64, "dropout_rate": 0.5, "num_epochs": 5, "step_size": 3, "gamma": 0.2,
         "learning_rate": 5e-4, "weight_decay": 1e-4},
    ],
    "three": [
        {"num_epochs": 3, "learning_rate": 1e-4, "batch_size": size, "dropout_rate": rate,
         "weight_decay": decay}
        for size, rate, decay in ((32, 0.3, 1e-5), (64, 0.5, 1e-4), (128, 0.7, 1e-3))
    ],
}  # fmt: skip
WATCH = Watch.all(
    activations=("feat1", "feat2", "feat3"), feature_maps=("feat1", "feat2"), filters=("Conv_0",),
    embeddings="feat3", hparams_metrics=("test/accuracy", "test/loss"),
)  # fmt: skip
NOT_HPARAMS = ("data_dir", "workdir", "resume", "runs")


def make_optimizer(cfg: Config, steps_per_epoch: int) -> optax.GradientTransformation:
    if cfg.momentum and cfg.optimizer not in ("sgd", "rmsprop"):
        raise ValueError(f"momentum is for sgd and rmsprop, not {cfg.optimizer}.")
    options: Any = {"momentum": cfg.momentum} if cfg.momentum else {}
    decay = optim.step_decay(cfg.learning_rate, cfg.step_size, cfg.gamma)
    rate = optim.per_epoch(decay, steps_per_epoch)
    return getattr(optim, cfg.optimizer)(rate, weight_decay=cfg.weight_decay, **options)


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[Row]]:
    """Trains with everything on; returns the state and the history, one row per epoch."""
    model = models.ConvNet(
        dropout_rate=cfg.dropout_rate, conv_init=nn.initializers.kaiming_normal("fan_out"),
        dense_init=normal(0.01), bias_init=zeros,
    )  # fmt: skip
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    loader = data.Loader(
        data.ArraySource(dataset.train), batch_size=cfg.batch_size, shuffle=True,
        drop_last=cfg.drop_last, key=order_key, resident=True,
    )  # fmt: skip
    tx = make_optimizer(cfg, len(loader))
    preprocess = export.Preprocessing((28, 28, 1), mean=(0.1307,), std=(0.3081,))
    accuracy, about = {"accuracy": metrics.accuracy}, {"name": dataset.name}
    loss_fn = supervised(model, losses.cross_entropy, metrics=accuracy, preprocess=preprocess)
    hparams = {k: v for k, v in dataclasses.asdict(cfg).items() if k not in NOT_HPARAMS}
    return run(
        make_step(loss_fn, tx), init_state(loss_fn, tx, init_key, dataset.train), loader,
        num_epochs=cfg.num_epochs, eval_fn=make_eval(loss_fn), eval_data=dataset.test,
        workdir=cfg.workdir, resume=cfg.resume, config=cfg,
        watch=dataclasses.replace(WATCH, hparams=hparams, class_names=dataset.class_names),
        description=export.describe_run(model, preprocess, dataset.class_names, data=about),
    )  # fmt: skip


def main(cfg: Config) -> None:
    dataset = data.load("mnist", cfg.data_dir)
    base, settings = cfg.workdir or config.new_run_dir("mnist"), RUNS[cfg.runs]
    for index, changes in enumerate(settings):
        workdir = base / f"run_{index}" if len(settings) > 1 else base
        _, history = train(dataclasses.replace(cfg, workdir=workdir, **changes), dataset)
        print(f"{workdir}: test accuracy {history[-1]['test/accuracy']:.4f}")
    print(f"tensorboard --logdir {base}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
