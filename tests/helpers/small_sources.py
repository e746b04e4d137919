"""Sources of few examples."""

import time

import numpy as np

from jaxdl import data
from jaxdl.data.source import check_index

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)


class Counted(data.BaseSource):
    """Square numbers; counts how often an example is read."""

    def __init__(self, length):
        self.length, self.read = length, 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.read += 1
        return {"x": np.float32(check_index(index, self.length) ** 2)}


class Ragged(data.BaseSource):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"tokens": np.arange(check_index(index, 3) + 1)}


def numbers(length):
    return data.ArraySource({"x": np.arange(length)})


class Numbers(data.BaseSource):
    """Example i is i. Late ones come first from threads that run side by side."""

    def __init__(self, number, bad=None, slow=None):
        self.number, self.bad, self.slow = number, bad, slow

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError(f"example {index} is bad")
        if index == self.slow:
            time.sleep(0.25)
        return {"x": np.int32(index), "label": np.int32(index % 3)}
