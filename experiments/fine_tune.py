"""Fine-tuning: a backbone trained on one set, a new head for another with few examples.

    python experiments/fine_tune.py
    python experiments/fine_tune.py --data_dir DIR --source fashion_mnist --target mnist

The source is by default scikit-learn's digits 0 to 4, the target 50 images of 5 to 9. A CNN learns
the target with a new head on the frozen backbone ("head"), with a tenth of the rate below the head
("all"), and from scratch. The folder gets a run folder of each, and fine_tune.png, their accuracy.

Source: transfer learning in PyTorch: ``requires_grad_(False)``, a replaced ``fc``, two rates.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from jaxdl import config, data, export, losses, metrics, models, optim, plots
from jaxdl.train import init_state, make_eval, make_step, run, supervised
from jaxdl.types import Row, TrainState

Name = Literal["digits", "mnist", "fashion_mnist", "kmnist"]


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One comparison; every field is a flag."""

    source: Name = "digits"  # the set that the backbone learns
    target: Name = "digits"  # the set of the new head; one set is split into classes 0-4 and 5-9
    num_target: int = 50  # images of the target to learn from
    source_epochs: int = 4  # passes over the source
    num_epochs: int = 40  # passes over the images of the target
    learning_rate: float = 3e-3  # of AdamW
    batch_size: int = 64  # of the source; at most 10 for the target


def half(dataset: data.Dataset, index: int) -> data.Dataset:
    """The classes 0-4 or 5-9 of a set, numbered from 0."""
    splits = []
    for split in (dataset.train, dataset.test):
        chosen = split["label"] // 5 == index
        splits.append({"image": split["image"][chosen], "label": split["label"][chosen] % 5})
    names = dataset.class_names[5 * index : 5 * index + 5]
    return data.Dataset(f"{dataset.name}, {names[0]} to {names[-1]}", splits[0], splits[1], names)


def load(cfg: Config) -> tuple[data.Dataset, data.Dataset]:
    """The source, and the target with few training images."""
    source, target = (data.load(name, cfg.data_dir) for name in (cfg.source, cfg.target))
    if cfg.source == cfg.target:
        source, target = half(source, 0), half(target, 1)
    number = len(target.train["label"])
    if not 1 <= cfg.num_target <= number:
        raise ValueError(f"--num_target must lie in 1 to {number}, got {cfg.num_target}.")
    chosen = np.random.default_rng(cfg.seed).permutation(number)[: cfg.num_target]
    return source, target._replace(train={k: array[chosen] for k, array in target.train.items()})


def train(
    cfg: Config, dataset: data.Dataset, way: str = "scratch", old: TrainState | None = None
) -> tuple[TrainState, list[Row]]:
    """Trains the CNN from scratch, or a new head on the backbone of another state."""
    adamw, rate = partial(optim.recipe, optim.adamw, decay_vectors=False), cfg.learning_rate
    tx = {
        "scratch": adamw(rate),
        "head": adamw(rate, frozen="^(Conv|BatchNorm)"),
        "all": adamw(rate / 10, parts={"head": ("^Dense", rate)}),
    }[way]
    images, names = dataset.train["image"], dataset.class_names
    mean, std = data.mean_and_std(images)
    preprocess = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model, accuracy = models.CNN(len(names), features=(32, 64)), {"accuracy": metrics.accuracy}
    loss_fn = supervised(model, losses.cross_entropy, metrics=accuracy, preprocess=preprocess)
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    state = init_state(loss_fn, tx, init_key, dataset.train)
    if old is not None:
        params = {**old.params, "Dense_0": state.params["Dense_0"]}
        state = TrainState(state.step, params, old.model_state, tx.init(params), state.key)

    def update_loss(*arguments: Any, train: bool, **rest: Any) -> Any:
        return loss_fn(*arguments, train=train and way != "head", **rest)  # as backbone.eval()

    return run(
        make_step(update_loss, tx), state, dataset.train, num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size, key=order_key, eval_fn=make_eval(loss_fn),
        eval_data=dataset.test, workdir=cfg.workdir, resume=cfg.resume, config=cfg,
        description=export.describe_run(model, preprocess, names, data={"name": dataset.name}),
    )  # fmt: skip


def main(cfg: Config) -> None:
    (source, target), workdir = load(cfg), cfg.workdir or config.new_run_dir("fine_tune")
    first = dataclasses.replace(cfg, workdir=workdir / "source", num_epochs=cfg.source_epochs)
    backbone, _ = train(first, source)
    curves, batch_size = {}, min(10, cfg.batch_size, cfg.num_target)
    for way, old in (("head", backbone), ("all", backbone), ("scratch", None)):
        then = dataclasses.replace(cfg, workdir=workdir / way, batch_size=batch_size)
        _, rows = train(then, target, way, old)
        print(f"{way}: test accuracy {rows[-1]['test/accuracy']:.4f} on {target.name}\n")
        curves[way] = [row["epoch"] for row in rows], [row["test/accuracy"] for row in rows]
    axes = ("epoch", f"accuracy on {target.name}")
    figure = plots.points_and_curves({}, curves, labels=axes)
    print(f"run folder: {plots.save(figure, workdir / 'fine_tune.png').parent}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
