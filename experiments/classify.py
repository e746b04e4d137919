"""Classify images: digits, MNIST or Fashion-MNIST with an MLP or a CNN.

    python experiments/classify.py
    python experiments/classify.py --data fashion_mnist --data_dir DIR --model cnn

The first command needs nothing but the installation: scikit-learn's handwritten digits, an MLP,
about 98 % of the test images right after a few seconds. The sets of the second are read from
DIR/fashion_mnist/train-images-idx3-ubyte.gz and so on, or fetched by TFDS without --data_dir.
The run folder gets config.json, metrics.jsonl, TensorBoard events, checkpoints and pictures, and
model.json, with which ``python -m jaxdl export``, ``predict`` and ``inspect`` find the model again.

Source: the quick-start recipe of the PyTorch tutorials, and what people add to it.
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, data, export, losses, metrics, models, optim, plots, train, transforms


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files, or of images, a set; without it TFDS provides it."""
    num_train: int | None = None
    """Train on so many images only, drawn at random; all by default."""
    model: Literal[
        "mlp",
        "convnet",
        "cnn",
        "lenet5",
        "mnist_cnn",
        "bn_convnet",
        "lstm",
        "gru",
        "resnet18",
        "vit",
    ] = "mlp"
    """A network of jaxdl.models; mlp is 784-512-512-10, lstm and gru read an image row by row."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    """PyTorch's SGD (plain, or with Nesterov momentum 0.9), Adam or AdamW."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    """Of the rate; step: a tenth after half and three quarters; plateau: when the test loss is."""
    weight_decay: float = 0.0
    """Of kernels, not of biases and norms."""
    clip_norm: float | None = None
    """Largest global norm of the gradients."""
    accumulate: int = 1
    """Batches whose mean gradient makes one update."""
    ema: float | None = None
    """Evaluate a moving average of the weights with this decay, 0.999 say."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of forward and backward; weights stay float32."""
    dropout_rate: float = 0.0
    """Fraction of hidden units dropped in training, where the model does not fix it."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    augment: Literal["none", "flip", "shift", "shift_flip"] = "none"
    """Mirror images; random shifts by up to 2 pixels, 4 where images are 32 wide; both."""
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """Blend pairs of images and their labels, or paste one into the other."""
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
    workdir: Path | None = None
    """Run folder; runs/DATA_MODEL_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def make_model(cfg: Config, num_classes: int) -> nn.Module:
    rate = cfg.dropout_rate
    match cfg.model:
        case "mlp":
            return models.MLP((512, 512, num_classes), dropout_rate=rate)
        case "convnet":
            return models.ConvNet(num_classes, dropout_rate=rate)
        case "cnn":
            return models.CNN(num_classes, dropout_rate=rate)
        case "lenet5":
            return models.LeNet5(num_classes)
        case "mnist_cnn":
            return models.MnistCNN(num_classes)
        case "bn_convnet":
            return models.BatchNormConvNet(num_classes)
        case "lstm" | "gru":
            return models.RecurrentClassifier(num_classes, cell=cfg.model)
        case "resnet18":
            return models.ResNet18(num_classes=num_classes, stem="cifar")
        case "vit":
            return models.VisionTransformer(
                num_classes, patch_size=4, hidden_size=128, num_layers=6, num_heads=4, mlp_size=256
            )


def make_optimizer(cfg: Config, num_batches: int) -> optax.GradientTransformation:
    peak, num_steps = cfg.learning_rate, cfg.num_epochs * math.ceil(num_batches / cfg.accumulate)
    rate: optim.optimizers.LearningRate = peak
    match cfg.schedule:
        case "step":
            rate = optim.multi_step(peak, [max(1, num_steps // 2), max(1, num_steps * 3 // 4)])
        case "cosine":
            rate = optim.warmup_cosine(peak, num_steps)
        case "one_cycle":
            rate = optim.one_cycle(peak, num_steps)
    options: dict[str, Any] = (
        {"momentum": 0.9, "nesterov": True} if cfg.optimizer == "momentum" else {}
    )
    optimizers = {"adam": optim.adam, "adamw": optim.adamw}
    return optim.recipe(
        optimizers.get(cfg.optimizer, optim.sgd),
        rate,
        weight_decay=cfg.weight_decay,
        decay_vectors=False,
        clip_norm=cfg.clip_norm,
        accumulate=cfg.accumulate,
        plateau={"patience": 2} if cfg.schedule == "plateau" else None,
        ema=cfg.ema,
        precision=cfg.precision,
        **options,
    )


def make_augment(cfg: Config, width: int) -> transforms._image.Augment | None:
    padding = 4 if width >= 32 else 2
    match cfg.augment:
        case "none":
            return None
        case "flip":
            return transforms.random_flip()
        case "shift":
            return transforms.random_crop(padding=padding)
        case "shift_flip":
            return transforms.compose(
                transforms.random_crop(padding=padding), transforms.random_flip()
            )


MIXES = {"none": None, "mixup": transforms.mixup(0.2), "cutmix": transforms.cutmix(1.0)}


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates, draws; returns the history, one row an epoch."""
    dataset = data.load(cfg.data, cfg.data_dir)
    train_data = dataset.train
    if cfg.num_train is not None:
        number = len(train_data["label"])
        if not 1 <= cfg.num_train <= number:
            raise ValueError(f"--num_train must lie in 1 to {number}, got {cfg.num_train}.")
        chosen = np.random.default_rng(cfg.seed).permutation(number)
        train_data = {name: array[chosen[: cfg.num_train]] for name, array in train_data.items()}
    images = train_data["image"]
    mean, std = data.mean_and_std(images)
    preprocess = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model = make_model(cfg, len(dataset.class_names))
    tx = make_optimizer(cfg, data.num_batches(len(images), cfg.batch_size))
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    example = preprocess(jnp.asarray(images[:1]))
    state = train.init_state(model, tx, init_key, example)
    smoothed = functools.partial(losses.cross_entropy, label_smoothing=cfg.label_smoothing)
    common: dict[str, Any] = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": preprocess}
    train_loss = train.supervised(
        model,
        smoothed,
        augment=make_augment(cfg, images.shape[2]),
        mix=MIXES[cfg.mix],
        **common,
    )
    test_loss = train.supervised(model, losses.cross_entropy, **common)
    print(model.tabulate(init_key, example, console_kwargs={"force_terminal": False, "width": 100}))
    workdir = (
        cfg.workdir or Path("runs") / f"{cfg.data}_{cfg.model}_{time.strftime('%Y%m%d-%H%M%S')}"
    )
    about = {
        "name": cfg.data,
        "data_dir": None if cfg.data_dir is None else str(cfg.data_dir.absolute()),
        "training images": len(images),
        "test images": len(dataset.test["label"]),
    }
    description = export.describe_run(
        model, preprocess, dataset.class_names, data=about, averaged=cfg.ema is not None
    )
    began = time.perf_counter()
    state, history = train.run(
        train.make_step(train_loss, tx),
        state,
        train_data,
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=train.make_eval(test_loss, averaged=cfg.ema is not None),
        eval_data=dataset.test,
        workdir=workdir,
        resume=cfg.resume,
        patience=cfg.patience,
        save_every_seconds=cfg.save_every_seconds,
        config=cfg,
        hooks=[export.keep_description(description)],
    )
    seconds = time.perf_counter() - began

    params = optim.averaged_params(state.opt_state) if cfg.ema is not None else state.params
    logits = train.predict(
        lambda variables, x: model.apply(variables, preprocess(x), train=False),
        {"params": params, **state.model_state},
        dataset.test["image"],
    )
    labels, names = dataset.test["label"], dataset.class_names
    matrix = metrics.confusion_matrix(logits, jnp.asarray(labels))
    export.write_evaluation(workdir, int(state.step), matrix)
    shown = np.linspace(0, len(labels) - 1, 32).astype(int)  # folders are in order of their classes
    probabilities = np.asarray(jax.nn.softmax(logits[shown]))
    grid = plots.predictions(dataset.test["image"][shown], labels[shown], probabilities, names)
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
