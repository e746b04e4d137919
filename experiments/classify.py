"""Classify images: digits, MNIST, Fashion-MNIST, KMNIST or CIFAR-10.

    python experiments/classify.py
    python experiments/classify.py --data fashion_mnist --data_dir DIR --model cnn

The first command needs no data: scikit-learn's digits and an MLP, about 98 % right in seconds. The
set of the second is read from DIR/fashion_mnist/, or fetched by TFDS without --data_dir. The run
folder also gets pictures; ``python -m jaxdl predict`` and ``export`` find the model in it.

Source: the quick-start recipe of the PyTorch tutorials, and common additions to it.
"""

import dataclasses
import math
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxdl import config, data, export, losses, metrics, models, optim, plots
from jaxdl.train import init_state, make_eval, make_step, run, supervised
from jaxdl.transforms import compose, cutmix, mixup, random_crop, random_flip
from jaxdl.types import Row, TrainState

AUGMENT = {"none": None, "flip": random_flip(), "shift": random_crop(padding=2)}
AUGMENT["shift_flip"] = compose(random_crop(padding=4), random_flip())
MIX = {"none": None, "mixup": mixup(0.2), "cutmix": cutmix(1.0)}
SMALL = Literal["mlp", "convnet", "cnn", "lenet5", "mnist_cnn", "bn_convnet", "lstm", "gru"]


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10"] = "digits"
    model: Literal[SMALL, "resnet18", "vit"] = "mlp"  # lstm and gru read an image row by row
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    learning_rate: float = 1e-3  # the peak
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    weight_decay: float = 0.0  # of kernels; biases and norms are exempt
    clip_norm: float | None = None
    accumulate: int = 1  # batches whose mean gradient makes one update
    ema: float | None = None  # decay of an average of the weights, which is evaluated: 0.999
    dropout_rate: float = 0.0
    label_smoothing: float = 0.0
    augment: Literal["none", "flip", "shift", "shift_flip"] = "none"
    mix: Literal["none", "mixup", "cutmix"] = "none"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # weights stay float32
    patience: int | None = None  # epochs without a better test loss after which training stops


def make_model(cfg: Config, num_classes: int) -> nn.Module:
    rate = cfg.dropout_rate
    return {
        "mlp": models.MLP((512, 512, num_classes), dropout_rate=rate),  # 784-512-512-10
        "convnet": models.ConvNet(num_classes, dropout_rate=rate),
        "cnn": models.CNN(num_classes, dropout_rate=rate),
        "lenet5": models.LeNet5(num_classes),
        "mnist_cnn": models.MnistCNN(num_classes),
        "bn_convnet": models.BatchNormConvNet(num_classes),
        "lstm": models.RecurrentClassifier(num_classes, "lstm"),
        "gru": models.RecurrentClassifier(num_classes, "gru"),
        "resnet18": models.ResNet18(num_classes=num_classes, stem="cifar"),
        "vit": models.VisionTransformer(num_classes, 4, 128, 6, 4, 256, rate),  # 6 layers
    }[cfg.model]


def make_optimizer(cfg: Config, num_batches: int) -> optax.GradientTransformation:
    num_steps = cfg.num_epochs * math.ceil(num_batches / max(1, cfg.accumulate))
    rate: Any = cfg.learning_rate
    match cfg.schedule:
        case "step":  # a tenth after half and three quarters
            rate = optim.multi_step(rate, [max(1, num_steps // 2), max(1, num_steps * 3 // 4)])
        case "cosine":
            rate = optim.warmup_cosine(rate, num_steps)
        case "one_cycle":
            rate = optim.one_cycle(rate, num_steps)
    nesterov = partial(optim.sgd, momentum=0.9, nesterov=True)
    kinds: Any = {"sgd": optim.sgd, "momentum": nesterov, "adam": optim.adam, "adamw": optim.adamw}
    return optim.recipe(
        kinds[cfg.optimizer], rate, weight_decay=cfg.weight_decay, decay_vectors=False,
        clip_norm=cfg.clip_norm, accumulate=cfg.accumulate, ema=cfg.ema, precision=cfg.precision,
        plateau={"patience": 2} if cfg.schedule == "plateau" else None,
    )  # fmt: skip


def train(cfg: Config, dataset: data.Dataset) -> tuple[TrainState, list[Row]]:
    """Trains a network; returns the state and the history, one row per epoch."""
    images, names, averaged = dataset.train["image"], dataset.class_names, cfg.ema is not None
    mean, std = data.mean_and_std(images)
    preprocess = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model = make_model(cfg, len(names))
    tx = make_optimizer(cfg, data.num_batches(len(images), cfg.batch_size))
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    options: Any = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": preprocess}
    smoothed = partial(losses.cross_entropy, label_smoothing=cfg.label_smoothing)
    loss_fn = supervised(model, smoothed, augment=AUGMENT[cfg.augment], mix=MIX[cfg.mix], **options)
    eval_fn = make_eval(supervised(model, losses.cross_entropy, **options), averaged=averaged)
    about = {"name": cfg.data, "data_dir": cfg.data_dir and str(cfg.data_dir.absolute())}
    description = export.describe_run(model, preprocess, names, data=about, averaged=averaged)
    return run(
        make_step(loss_fn, tx), init_state(loss_fn, tx, init_key, dataset.train), dataset.train,
        num_epochs=cfg.num_epochs, batch_size=cfg.batch_size, key=order_key, eval_fn=eval_fn,
        eval_data=dataset.test, patience=cfg.patience, workdir=cfg.workdir, resume=cfg.resume,
        config=cfg, description=description,
    )  # fmt: skip


def main(cfg: Config) -> None:
    dataset = data.load(cfg.data, cfg.data_dir)
    workdir = cfg.workdir or config.new_run_dir(f"{cfg.data}_{cfg.model}")
    state, history = train(dataclasses.replace(cfg, workdir=workdir), dataset)
    images, labels, names = dataset.test["image"], dataset.test["label"], dataset.class_names
    shares = export.open_model(workdir, which="last").predict(images)
    matrix = metrics.confusion_matrix(shares, jax.numpy.asarray(labels))
    export.write_evaluation(workdir, int(state.step), matrix)
    shown = np.linspace(0, len(labels) - 1, 32).astype(int)  # folders are in order of their classes
    examples = plots.predictions(images[shown], labels[shown], shares[shown], names)
    plots.save(examples, workdir / "predictions.png")
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    plots.save(plots.confusion_matrix(matrix, names), workdir / "confusion_matrix.png")
    print(f"{len(labels):,} test images: accuracy {history[-1]['test/accuracy']:.4f}")
    print(f"run folder: {workdir}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
