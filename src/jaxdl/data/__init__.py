"""Data: sources of arrays, transforms on the device, batches.

``load("fashion_mnist")`` gives both splits as uint8 arrays; ``mean_and_std`` measures them and
``transforms`` normalises and augments on the device.
"""

from jaxdl.data import generated, text, transforms
from jaxdl.data.batches import epoch_order, num_batches, sequential_order, take
from jaxdl.data.folders import image_folder, read_image
from jaxdl.data.named import load
from jaxdl.data.sources import Dataset, digits, idx, mean_and_std, read_idx
from jaxdl.data.tfds import load_tfds

__all__ = [
    "Dataset",
    "digits",
    "epoch_order",
    "generated",
    "idx",
    "image_folder",
    "load",
    "load_tfds",
    "mean_and_std",
    "num_batches",
    "read_idx",
    "read_image",
    "sequential_order",
    "take",
    "text",
    "transforms",
]
