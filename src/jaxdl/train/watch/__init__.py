"""Statistics, images and profiles of a training run for TensorBoard."""

from jaxdl.train.watch.options import Watch

__all__ = [
    "Watch",
]
