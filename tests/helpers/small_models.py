"""Small models, and variables for them without compiling an initializer."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import models, nn, tree
from jaxdl.models.convnet import StridedConvNet

RNG = np.random.default_rng(0)

SMALL = {
    "MLP": models.MLP((8, 4)),
    "LeNet5": models.LeNet5(4, hidden=(8, 6)),
    "ConvNet": models.ConvNet(4),
    "CNN": models.CNN(4, (4,)),
    "MnistCNN": models.MnistCNN(4, features=(3, 4), hidden=8),
    "BatchNormConvNet": models.BatchNormConvNet(4, (4,)),
    "StridedConvNet": StridedConvNet(4),
    "Autoencoder": models.Autoencoder((8,), 3, (12, 12, 1)),
    "VAE": models.VAE(8, 3, (12, 12, 1)),
    "ConvVAE": models.ConvVAE((3, 4), 3, (12, 12, 1)),
    "ResNet": models.ResNet((1,), models.resnet.Bottleneck, 4, width=4),
    "VGG": models.VGG((1,), 4, True, 4, 8),
    "VisionTransformer": models.VisionTransformer(4, 4, 8, 1, 2, 8),
}
"""One of each family, for images of 12x12 pixels and one channel; four classes or a code of 3."""


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def draw_variables(model, x):
    """Variables of the right shapes and of sizes that keep signals alive."""

    def values(path, leaf):
        one = tree.leaf_name(path).endswith(("scale", "var"))
        if one:
            return 1 + abs(draw(*leaf.shape)) / 4
        return draw(*leaf.shape) / (np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 4)

    like = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree_util.tree_map_with_path(values, like)


def dense(params, x):
    """x W + b."""
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def convolve(params, x, padding):
    """XLA's convolution of stride 1, and the bias."""
    outputs = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return outputs + params["bias"].reshape(1, 1, 1, -1) if "bias" in params else outputs


def pool(x):
    """The maximum of every 2x2 square."""
    return linen.max_pool(x, (2, 2), (2, 2))


def intermediates(model, variables, x):
    """Outputs and all intermediates."""
    found = jax.jit(lambda variables: nn.features(model, variables, x))(variables)
    return found[""], found
