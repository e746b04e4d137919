"""Classify handwritten digits with a small convolutional network.

    python experiments/mnist.py
    python experiments/mnist.py --data_dir DIR --num_epochs 3

The first command needs no download: scikit-learn's 8x8 digits, about 97 % of the test images right
after 5 epochs, in a few seconds. With --data_dir the images are MNIST's, read from
DIR/mnist/train-images-idx3-ubyte.gz and so on: about 99 % after 3 epochs. The run folder gets
config.json, metrics.jsonl, TensorBoard events and checkpoints.

Source: the MNIST example of pytorch/examples and the one of Flax, in one file.
"""

import dataclasses

import flax.linen as nn
import jax

from jaxdl import config, data, losses, metrics, optim, transforms
from jaxdl.train import init_state, make_eval, make_step, run, supervised
from jaxdl.types import Array, Row, TrainState


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """Settings of a run; every field is a flag."""

    num_epochs: int = 5
    learning_rate: float = 1e-3


class CNN(nn.Module):
    """Two convolutions and two dense layers: images (B, H, W, C) to logits (B, 10)."""

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        x = nn.relu(nn.Conv(32, (3, 3))(x))
        x = nn.relu(nn.Conv(64, (3, 3))(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2)).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128)(x))
        x = nn.Dropout(0.25, deterministic=not train)(x)
        return nn.Dense(10)(x)


def train(cfg: Config, digits: data.Dataset) -> tuple[TrainState, list[Row]]:
    """Trains the network; returns the state and the history, one row per epoch."""
    preprocess = transforms.normalize(*data.mean_and_std(digits.train["image"]))
    tx = optim.adam(cfg.learning_rate)
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    loss_fn = supervised(
        CNN(),
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=preprocess,
    )
    return run(
        make_step(loss_fn, tx),
        init_state(loss_fn, tx, init_key, digits.train),
        digits.train,
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=make_eval(loss_fn),
        eval_data=digits.test,
        workdir=cfg.workdir,
        resume=cfg.resume,
        config=cfg,
    )


def main(cfg: Config) -> None:
    digits = data.load("digits" if cfg.data_dir is None else "mnist", cfg.data_dir)
    cfg = dataclasses.replace(cfg, workdir=cfg.workdir or config.new_run_dir("mnist"))
    _, history = train(cfg, digits)
    print(f"test accuracy {history[-1]['test/accuracy']:.4f}, run folder {cfg.workdir}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
