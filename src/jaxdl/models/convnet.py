"""Small convolutional networks for small images."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxdl._checks import check_fraction
from jaxdl.nn import BatchNorm, Conv, Dense, flatten, max_pool
from jaxdl.nn.conv import PooledConv
from jaxdl.nn.initializers import uniform_fan_in
from jaxdl.types import Array


def conv_relu_pool(parent: nn.Module, conv: Callable[..., PooledConv], x: Array, tap: str) -> Array:
    """Convolution, ReLU and 2x2 max-pooling; sows the maps before the pooling as ``tap``.

    The maximum commutes with ReLU, so the convolution keeps the maxima itself, which is quicker on
    CPU. Only where intermediates are asked for are the whole maps computed.

    Args:
        parent: the module that calls, inside its compact method.
        conv: ``conv(pool=...)`` makes the convolution, under one name.
        x: (B, H, W, C).
        tap: name of the maps (B, H', W', features) in the collection ``intermediates``.

    Returns:
        (B, H' // 2, W' // 2, features).
    """
    if not parent.is_mutable_collection("intermediates"):
        return nn.relu(conv(pool=2)(x))
    x = nn.relu(conv(pool=1)(x))
    parent.sow("intermediates", tap, x)
    return max_pool(x)


class ConvNet(nn.Module):
    """Two 3x3 convolutions with pooling, then two dense layers: 30,762 parameters at 28x28x1.

    Feature maps 28 → 26 → 13 → 11 → 5, then 800 → 32 → 10; layers of 160, 4,640, 25,632 and 330
    parameters. ReLU after each convolution and the first dense layer, dropout before the last.
    Images must be at least 10x10 pixels.

    Args of the call: x (B, H, W, C); train turns dropout on. Returns: (B, num_classes) logits.

    Intermediates: ``feat1`` (B, 26, 26, 16) and ``feat2`` (B, 11, 11, 32), the maps after ReLU and
    before pooling; ``feat3`` and ``embed``, the 32 features before the last layer.

    Attributes:
        num_classes: outputs.
        dropout_rate: fraction of the 32 features dropped in training.
        dtype: of the computation; None infers it.
        conv_init: initialiser of the convolutions' kernels.
        dense_init: initialiser of the dense kernels.
        bias_init: initialiser of all biases; None is PyTorch's.

    Source: the MNIST network of dldna, chapter 3. PyTorch's default initial distribution; dldna's
    is ``kaiming_normal("fan_out")``, ``nn.initializers.normal(0.01)`` and zeros.
    """

    num_classes: int = 10
    dropout_rate: float = 0.3
    dtype: jnp.dtype | None = None
    conv_init: Initializer = uniform_fan_in()
    dense_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        for index, features in enumerate((16, 32)):
            conv = functools.partial(
                PooledConv,
                features,
                (3, 3),
                dtype=self.dtype,
                kernel_init=self.conv_init,
                bias_init=self.bias_init,
                name=f"Conv_{index}",
            )
            x = conv_relu_pool(self, conv, x, f"feat{index + 1}")
        dense = functools.partial(
            Dense, dtype=self.dtype, kernel_init=self.dense_init, bias_init=self.bias_init
        )
        x = nn.relu(dense(32)(flatten(x)))
        self.sow("intermediates", "feat3", x)
        self.sow("intermediates", "embed", x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return dense(self.num_classes)(x)


class CNN(nn.Module):
    """Blocks of 3x3 convolution, pooling, BatchNorm and ReLU, then dropout and a dense layer.

    With the default sizes at 28x28x1: maps 28 → 14 → 7 → 3, 1,152 features, 104,426 parameters.

    Args of the call: x (B, H, W, C); mask (B,) leaves padded examples out of the batch statistics;
    train uses and updates those statistics (collection ``batch_stats``) and turns dropout on.
    Returns: (B, num_classes) logits.

    Intermediates: ``embed``, the flattened features.

    Attributes:
        num_classes: outputs.
        features: channels of each block; every block halves height and width.
        dropout_rate: fraction of the flattened features dropped in training.
        dtype: of the computation; None infers it. Statistics stay float32.

    Source: the usual VGG-like stack, pooled before the norm.
    """

    num_classes: int = 10
    features: Sequence[int] = (32, 64, 128)
    dropout_rate: float = 0.3
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        check_fraction(dropout_rate=self.dropout_rate)
        for index, features in enumerate(self.features):
            # pooled before the norm: a quarter of its work
            conv = PooledConv(
                features,
                3,
                padding="SAME",
                pool=2,
                use_bias=False,
                dtype=self.dtype,
                name=f"Conv_{index}",
            )
            x = nn.relu(BatchNorm(dtype=self.dtype)(conv(x), mask=mask, train=train))
        x = flatten(x)
        self.sow("intermediates", "embed", x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype)(x)


class MnistCNN(nn.Module):
    """Two 3x3 convolutions, one pooling, two dense layers: 1,199,882 parameters at 28x28x1.

    Maps 28 → 26 → 24 → 12 with 32 and 64 channels, then 9,216 → 128 → 10. Images must be at least
    6x6 pixels.

    Args of the call: x (B, H, W, C); train turns dropout on. Returns: (B, num_classes) logits; the
    original ends in a log-softmax, which is part of the loss here.

    Intermediates: ``relu2`` (B, 24, 24, 64); ``embed``, the 128 features before the last layer.

    Attributes:
        num_classes: outputs.
        dropout_rates: fractions dropped of the pooled maps and of the 128 features.
        features: channels of the convolutions.
        hidden: outputs of the first dense layer.
        dtype: of the computation; None infers it.

    Source: the MNIST example of pytorch/examples, names as there (``conv1``, ``conv2``, ``fc1``,
    ``fc2``). Both dropouts are of single values: ``Dropout2d`` after a dense layer, as the example
    once had it, drops nothing that it names.
    """

    num_classes: int = 10
    dropout_rates: tuple[float, float] = (0.25, 0.5)
    features: tuple[int, int] = (32, 64)
    hidden: int = 128
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        for rate in self.dropout_rates:
            check_fraction(dropout_rate=rate)
        conv1, conv2 = (
            functools.partial(PooledConv, features, (3, 3), dtype=self.dtype, name=f"conv{index}")
            for index, features in enumerate(self.features, 1)
        )
        x = nn.relu(conv1()(x))
        x = conv_relu_pool(self, conv2, x, "relu2")
        x = flatten(nn.Dropout(self.dropout_rates[0], deterministic=not train)(x))
        x = nn.relu(Dense(self.hidden, dtype=self.dtype, name="fc1")(x))
        self.sow("intermediates", "embed", x)
        x = nn.Dropout(self.dropout_rates[1], deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc2")(x)


class BatchNormConvNet(nn.Module):
    """Blocks of convolution, BatchNorm, ReLU and pooling, then a dense layer.

    29,034 parameters at 28x28x1: maps 28 → 14 → 7, 1,568 features. With ``features=(64,)``,
    ``kernel_size=3`` and ``num_classes=512`` at 28x28x3: 12,544 features, 6,424,960 parameters.

    Args of the call: x (B, H, W, C); mask (B,) leaves padded examples out of the batch statistics;
    train uses and updates those statistics (collection ``batch_stats``).
    Returns: (B, num_classes) logits.

    Intermediates: ``relu1``, ``relu2``, … before pooling; ``embed``, the flattened features.

    Attributes:
        num_classes: outputs.
        features: channels of each block; every block halves height and width.
        kernel_size: side of the kernel, odd; the padding keeps height and width.
        dtype: of the computation; None infers it. Statistics stay float32.
        conv_init: initialiser of the convolutions' kernels, ``kaiming_normal("fan_out")`` say.
        dense_init: initialiser of the dense kernel, ``xavier_normal()`` say.
        bias_init: initialiser of the biases of convolutions and dense layer; None is PyTorch's.

    Source: the two-block MNIST network of the PyTorch tutorials for researchers; names as there:
    ``layer1_0`` is a convolution, ``layer1_1`` its norm, ``fc`` the dense layer. BatchNorm does
    have parameters, a scale and a bias a channel.
    """

    num_classes: int = 10
    features: Sequence[int] = (16, 32)
    kernel_size: int = 5
    dtype: jnp.dtype | None = None
    conv_init: Initializer = uniform_fan_in()
    dense_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        for index, features in enumerate(self.features, 1):
            x = Conv(
                features,
                (self.kernel_size, self.kernel_size),
                padding=self.kernel_size // 2,
                dtype=self.dtype,
                kernel_init=self.conv_init,
                bias_init=self.bias_init,
                name=f"layer{index}_0",
            )(x)
            norm = BatchNorm(dtype=self.dtype, name=f"layer{index}_1")
            x = nn.relu(norm(x, mask=mask, train=train))
            self.sow("intermediates", f"relu{index}", x)
            x = max_pool(x)
        x = flatten(x)
        self.sow("intermediates", "embed", x)
        return Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=self.dense_init,
            bias_init=self.bias_init,
            name="fc",
        )(x)


class StridedConvNet(nn.Module):
    """Two convolutions of stride 2, each with LeakyReLU and then BatchNorm: 3,720 parameters.

    Maps 28 → 12 → 5 with 10 channels and kernels of 5 and 3 pixels, 250 features, no pooling.

    Args of the call: x (B, H, W, C); mask (B,) leaves padded examples out of the batch statistics;
    train uses and updates those statistics (collection ``batch_stats``).
    Returns: (B, num_classes) logits; the original ends in a sigmoid, which is part of the loss
    here (``losses.binary_cross_entropy`` on one-hot targets).

    Intermediates: ``embed``, the flattened features.

    Attributes:
        num_classes: outputs.
        features: channels of the convolutions.
        negative_slope: of the LeakyReLU.
        dtype: of the computation; None infers it. Statistics stay float32.

    Source: the convolutional MNIST classifier of Tariq Rashid's GAN book, there for a batch of 1.
    """

    num_classes: int = 10
    features: tuple[int, int] = (10, 10)
    negative_slope: float = 0.02
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        for index, (features, size) in enumerate(zip(self.features, (5, 3), strict=True), 1):
            conv = Conv(features, (size, size), stride=2, dtype=self.dtype, name=f"conv{index}")
            x = nn.leaky_relu(conv(x), self.negative_slope)
            x = BatchNorm(dtype=self.dtype, name=f"bn{index}")(x, mask=mask, train=train)
        x = flatten(x)
        self.sow("intermediates", "embed", x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
