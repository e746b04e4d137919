"""Networks, one family a file, without losses. Each says its source and its sizes."""

from jaxdl.models.convnet import CNN, ConvNet
from jaxdl.models.mlp import MLP

__all__ = ["CNN", "MLP", "ConvNet"]
