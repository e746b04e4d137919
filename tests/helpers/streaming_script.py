"""A small run, for the tests: its source, its step, and a script that is killed."""

import dataclasses
import sys
import time
from multiprocessing import shared_memory
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, losses, metrics, models, optim, train, transforms

NUM_EXAMPLES, BATCH_SIZE, NUM_EPOCHS = 70, 16, 4


class Images(data.BaseSource):
    """Random images; reading one takes ``seconds``."""

    def __init__(self, number=NUM_EXAMPLES, seed=0, seconds=0.0):
        generator = np.random.default_rng(seed)
        self.image = generator.integers(0, 256, (number, 8, 8, 1), np.uint8)
        self.label = (self.image.reshape(number, -1).mean(1) > 127).astype(np.int32)
        self.seconds = seconds

    def __len__(self):
        return len(self.label)

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return {"image": self.image[index], "label": self.label[index]}

    def arrays(self):
        return {"image": self.image, "label": self.label}


def make_parts(model=None, tx=None):
    """Step, evaluation and state; dropout and Adam are on."""
    model = model or models.MLP((16, 2), dropout_rate=0.3)
    tx = tx or optim.adam(1e-2)
    state = train.init_state(model, tx, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    loss_fn = train.supervised(
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=transforms.normalize(0.5, 0.25),
    )
    return train.make_step(loss_fn, tx), train.make_eval(loss_fn), state


def make_loader(source=None, **options):
    options = {"batch_size": BATCH_SIZE, "shuffle": True, "key": 1, "resident": False} | options
    return data.Loader(source or Images(), **options)


def run(parts, loader, **options):
    step, eval_fn, state = parts
    options = {
        "num_epochs": NUM_EPOCHS,
        "eval_fn": eval_fn,
        "eval_data": Images(25, seed=1).arrays(),
        "progress": False,
    } | options
    return train.run(step, state, loader, **options)


@dataclasses.dataclass
class NameSharedMemory:
    """Prepares a worker process: its shared memory can be told from that of other programs.

    Python takes names of 14 characters at most, so this one must be short.
    """

    name: str

    def __call__(self, index):
        shared_memory._SHM_NAME_PREFIX = f"/{self.name}_"

    def left(self):
        """The files that are there now."""
        return list(Path("/dev/shm").glob(f"{self.name}_*"))


if __name__ == "__main__":
    slow = make_loader(
        Images(seconds=0.01),
        num_workers=2,
        multiprocessing_context="spawn",
        worker_init_fn=NameSharedMemory(sys.argv[2]),
    )
    run(make_parts(), slow, workdir=sys.argv[1], save_every_seconds=0, resume=True)
