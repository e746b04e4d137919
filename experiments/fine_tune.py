"""Fine-tuning: a backbone trained on one set, a new head for another with few examples.

    python experiments/fine_tune.py
    python experiments/fine_tune.py --data_dir DIR --source fashion_mnist --target mnist

First the CNN learns the source set, by default the digits 0 to 4 of scikit-learn's digits against
5 to 9 as the target. Then three networks learn the target set from ``num_target`` images: the new
head alone on the frozen backbone ("head"), everything with a tenth of the learning rate below the
head ("all"), and everything from scratch ("scratch"). The run folder holds one run folder of each,
which ``python -m jaxdl predict`` and ``export`` take, and fine_tune.png with the test accuracy.

Source: transfer learning in PyTorch: ``requires_grad_(False)``, a replaced ``fc``, and parameter
groups with separate learning rates.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, export, losses, metrics, models, optim, plots
from jaxdl.train import init_state, make_eval, make_step, run, supervised

Source = Literal["digits", "mnist", "fashion_mnist", "kmnist"]


@dataclasses.dataclass(frozen=True)
class Config:
    """One comparison; every field is a flag."""

    source: Source = "digits"
    """The set that the backbone learns."""
    target: Source = "digits"
    """The set that the new head learns; where it is the source, classes 0-4 and 5-9 are apart."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files per set; without it TFDS provides the set."""
    num_target: int = 50
    """Images of the target set to learn from."""
    source_epochs: int = 4
    """Passes over the source set."""
    target_epochs: int = 40
    """Passes over the images of the target set."""
    learning_rate: float = 3e-3
    """Learning rate of AdamW."""
    batch_size: int = 64
    """Images per step, on the source; on the target 10, or this if it is less."""
    seed: int = 0
    """Seed of weights, order and choice of images."""
    workdir: Path | None = None
    """Folder of the runs; runs/fine_tune_TIME by default."""
    resume: bool = False
    """Resume the runs in workdir; those that have ended are kept."""


def load(cfg: Config, name: str, half: int | None) -> data.Dataset:
    """A set, or one half of its classes, numbered from 0."""
    dataset = data.load(name, cfg.data_dir)
    if half is None:
        return dataset
    splits = []
    for split in (dataset.train, dataset.test):
        chosen = split["label"] // 5 == half
        splits.append({"image": split["image"][chosen], "label": split["label"][chosen] % 5})
    names = dataset.class_names[5 * half : 5 * half + 5]
    return data.Dataset(f"{name}, {names[0]} to {names[-1]}", splits[0], splits[1], names)


def in_evaluation(loss_fn: Any, *arguments: Any, train: bool, **options: Any) -> Any:
    """The loss function with ``train=False`` always."""
    return loss_fn(*arguments, train=False, **options)


def train(
    cfg: Config,
    workdir: Path | None,
    tx: Any,
    start: Any,
    dataset: data.Dataset,
    num_epochs: int,
    batch_size: int,
    frozen: bool = False,
) -> tuple[Any, Any]:
    """Trains the CNN, starting from the given parameters and statistics, if any.

    ``frozen`` also keeps the statistics and drops nothing, like backbone.eval() in PyTorch.
    """
    images, class_names = dataset.train["image"], dataset.class_names
    mean, std = data.mean_and_std(images)
    preprocess = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model = models.CNN(len(class_names), features=(32, 64))
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    state = init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1])))
    if start is not None:
        backbone = {name: leaf for name, leaf in start.params.items() if name != "Dense_0"}
        params = {**state.params, **backbone}
        state = dataclasses.replace(
            state, params=params, model_state=start.model_state, opt_state=tx.init(params)
        )
    loss_fn = supervised(
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=preprocess,
    )
    update_fn = functools.partial(in_evaluation, loss_fn) if frozen else loss_fn
    about = {"name": dataset.name, "training images": len(images)}
    description = export.describe_run(model, preprocess, class_names, data=about)
    return run(
        make_step(update_fn, tx),
        state,
        dataset.train,
        num_epochs=num_epochs,
        batch_size=batch_size,
        key=order_key,
        eval_fn=make_eval(loss_fn),
        eval_data=dataset.test,
        workdir=workdir,
        config=cfg,
        description=description,
        resume=cfg.resume,
    )


def main(cfg: Config) -> dict[str, list[dict[str, Any]]]:
    """Trains the backbone and the three networks; returns their histories by name."""
    workdir = cfg.workdir or config.new_run_dir("fine_tune")
    halves = (0, 1) if cfg.source == cfg.target else (None, None)
    source, target = load(cfg, cfg.source, halves[0]), load(cfg, cfg.target, halves[1])
    number = len(target.train["label"])
    if not 1 <= cfg.num_target <= number:
        raise ValueError(f"--num_target must lie in 1 to {number}, got {cfg.num_target}.")
    chosen = np.random.default_rng(cfg.seed).permutation(number)[: cfg.num_target]
    few = target._replace(train={name: array[chosen] for name, array in target.train.items()})
    rate = cfg.learning_rate
    adamw = functools.partial(optim.recipe, optim.adamw, decay_vectors=False)
    full = adamw(rate)
    backbone, rows = train(
        cfg, workdir / "source", full, None, source, cfg.source_epochs, cfg.batch_size
    )
    recipes = {
        "head": (backbone, adamw(rate, frozen="^(Conv|BatchNorm)")),
        "all": (backbone, adamw(rate / 10, parts={"head": ("^Dense", rate)})),
        "scratch": (None, full),
    }
    histories = {"source": rows}
    for name, (start, tx) in recipes.items():
        print(f"\n{name}: {len(chosen)} images of {target.name}")
        batch_size = min(10, cfg.batch_size, len(chosen))
        _, histories[name] = train(
            cfg, workdir / name, tx, start, few, cfg.target_epochs, batch_size, name == "head"
        )
    curves = {
        f"{name} {histories[name][-1]['test/accuracy']:.1%}": (
            np.array([row["epoch"] for row in histories[name]]),
            np.array([row["test/accuracy"] for row in histories[name]]),
        )
        for name in recipes
    }
    figure = plots.points_and_curves(
        {}, curves, labels=("epoch", "test accuracy"), title="fine-tuning with few images"
    )
    plots.save(figure, workdir / "fine_tune.png")
    for name in recipes:
        print(f"{name}: test accuracy {histories[name][-1]['test/accuracy']:.4f}")
    print(f"run folder: {workdir}")
    return histories


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
