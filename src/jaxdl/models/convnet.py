"""Small convolutional networks for small images."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_fraction
from jaxdl.nn import BatchNorm, Conv, Dense, flatten, max_pool
from jaxdl.nn.conv import PooledConv
from jaxdl.nn.initializers import uniform_fan_in
from jaxdl.types import Array


def conv_relu_pool(
    parent: nn.Module, conv: Callable[..., PooledConv], x: Array, name: str
) -> Array:
    """Convolution, ReLU and 2x2 max-pooling; sows the maps before the pooling.

    The maximum commutes with ReLU, so the convolution keeps the maxima itself, which is faster on
    CPU. The whole maps are computed only when intermediates are requested.

    Args:
        parent: the calling module, inside its compact method.
        conv: ``conv(pool=...)`` makes the convolution, under one name.
        x: (B, H, W, C).
        name: name of the maps (B, H', W', features) in the collection ``intermediates``.

    Returns:
        (B, H' // 2, W' // 2, features).
    """
    if not parent.is_mutable_collection("intermediates"):
        return nn.relu(conv(pool=2)(x))
    x = nn.relu(conv(pool=1)(x))
    parent.sow("intermediates", name, x)
    return max_pool(x)


class ConvNet(nn.Module):
    """Small CNN: two 3x3 convolutions with pooling, then two dense layers.

    30,762 parameters at 28x28x1. Feature maps 28 → 26 → 13 → 11 → 5, then 800 → 32 → 10; layers of
    160, 4,640, 25,632 and 330 parameters. ReLU after each convolution and the first dense layer,
    dropout before the last. Images must be at least 10x10 pixels.

    Intermediates: ``feat1`` (B, 26, 26, 16) and ``feat2`` (B, 11, 11, 32), the maps after ReLU and
    before pooling; ``feat3`` and ``embed``, the 32 features before the last layer.

    Attributes:
        num_classes: number of outputs.
        dropout_rate: fraction of the 32 features dropped in training.
        dtype: dtype of the computation; None infers it.
        conv_init: initializer of the convolutions' kernels.
        dense_init: initializer of the dense kernels.
        bias_init: initializer of all biases; None is PyTorch's.

    Raises:
        ValueError: images that are too small, a dropout rate outside [0, 1].

    Source: the MNIST network of dldna, chapter 3, with PyTorch's default initial distribution;
    dldna's is ``kaiming_normal("fan_out")``, ``nn.initializers.normal(0.01)`` and zeros.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(ConvNet().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 30762)
    """

    num_classes: int = 10
    dropout_rate: float = 0.3
    dtype: DTypeLike | None = None
    conv_init: Initializer = uniform_fan_in()
    dense_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            train: turn dropout on.

        Returns:
            (B, num_classes).
        """
        check_fraction(dropout_rate=self.dropout_rate)
        for index, features in enumerate((16, 32)):
            conv = functools.partial(
                PooledConv,
                features,
                3,
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
    """CNN with BatchNorm: blocks of 3x3 convolution, pooling, norm and ReLU, then a dense layer.

    With the default sizes at 28x28x1: maps 28 → 14 → 7 → 3, 1,152 features, 104,426 parameters.

    Intermediates: ``embed``, the flattened features.

    Attributes:
        num_classes: number of outputs.
        features: channels of each block; every block halves height and width.
        dropout_rate: fraction of the flattened features dropped in training.
        dtype: dtype of the computation; None infers it. Statistics stay float32.

    Raises:
        ValueError: images that are too small, a dropout rate outside [0, 1].

    Source: the usual VGG-like stack, pooled before the norm.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(CNN().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 104426)
    """

    num_classes: int = 10
    features: Sequence[int] = (32, 64, 128)
    dropout_rate: float = 0.3
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: turn dropout on; use and update the batch statistics (collection
                ``batch_stats``).

        Returns:
            (B, num_classes).
        """
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
    """CNN of PyTorch's MNIST example: two 3x3 convolutions, one pooling, two dense layers.

    1,199,882 parameters at 28x28x1. Maps 28 → 26 → 24 → 12 with 32 and 64 channels, then
    9,216 → 128 → 10. Images must be at least 6x6 pixels.

    Intermediates: ``relu2`` (B, 24, 24, 64); ``embed``, the 128 features before the last layer.

    Attributes:
        num_classes: number of outputs.
        dropout_rates: fractions dropped of the pooled maps and of the 128 features.
        features: channels of the convolutions.
        hidden: number of outputs of the first dense layer.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: images that are too small, a dropout rate outside [0, 1].

    Source: the MNIST example of pytorch/examples, names as there (``conv1``, ``conv2``, ``fc1``,
    ``fc2``), without its log-softmax, which is part of the loss here. Both dropouts are of single
    values: ``Dropout2d`` after a dense layer, which the example once had, drops no whole channels.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(MnistCNN().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 1199882)
    """

    num_classes: int = 10
    dropout_rates: tuple[float, float] = (0.25, 0.5)
    features: tuple[int, int] = (32, 64)
    hidden: int = 128
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            train: turn dropout on.

        Returns:
            (B, num_classes).
        """
        for rate in self.dropout_rates:
            check_fraction(dropout_rate=rate)
        conv1, conv2 = (
            functools.partial(PooledConv, features, 3, dtype=self.dtype, name=f"conv{index}")
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
    """CNN with BatchNorm: blocks of convolution, norm, ReLU and pooling, then a dense layer.

    29,034 parameters at 28x28x1: maps 28 → 14 → 7, 1,568 features. With ``features=(64,)``,
    ``kernel_size=3`` and ``num_classes=512`` at 28x28x3: 12,544 features, 6,424,960 parameters.

    Intermediates: ``relu1``, ``relu2``, … before pooling; ``embed``, the flattened features.

    Attributes:
        num_classes: number of outputs.
        features: channels of each block; every block halves height and width.
        kernel_size: side of the kernel, odd; the padding keeps height and width.
        dtype: dtype of the computation; None infers it. Statistics stay float32.
        conv_init: initializer of the convolutions' kernels, e.g. ``kaiming_normal("fan_out")``.
        dense_init: initializer of the dense kernel, e.g. ``xavier_normal()``.
        bias_init: initializer of the biases of convolutions and dense layer; None is PyTorch's.

    Raises:
        ValueError: images that are too small.

    Source: the two-block MNIST network of the PyTorch tutorials for researchers; names as there:
    ``layer1_0`` is a convolution, ``layer1_1`` its norm, ``fc`` the dense layer.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> model = BatchNormConvNet()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 29034)
    """

    num_classes: int = 10
    features: Sequence[int] = (16, 32)
    kernel_size: int = 5
    dtype: DTypeLike | None = None
    conv_init: Initializer = uniform_fan_in()
    dense_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, num_classes).
        """
        for index, features in enumerate(self.features, 1):
            x = Conv(
                features,
                self.kernel_size,
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
    """CNN without pooling: two convolutions of stride 2, each with LeakyReLU and then BatchNorm.

    3,720 parameters. Maps 28 → 12 → 5 with 10 channels and kernels of 5 and 3 pixels, 250 features.

    Intermediates: ``embed``, the flattened features.

    Attributes:
        num_classes: number of outputs.
        features: channels of the convolutions.
        negative_slope: slope of the LeakyReLU.
        dtype: dtype of the computation; None infers it. Statistics stay float32.

    Raises:
        ValueError: images that are too small.

    Source: the convolutional MNIST classifier of Rashid, "Make Your First GAN With PyTorch", there
    for a batch of 1 and with a sigmoid at the end, which is part of the loss here
    (``losses.binary_cross_entropy`` on one-hot targets).

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(StridedConvNet().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 3720)
    """

    num_classes: int = 10
    features: tuple[int, int] = (10, 10)
    negative_slope: float = 0.02
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, num_classes).
        """
        for index, (features, size) in enumerate(zip(self.features, (5, 3), strict=True), 1):
            conv = Conv(features, size, stride=2, dtype=self.dtype, name=f"conv{index}")
            x = nn.leaky_relu(conv(x), self.negative_slope)
            x = BatchNorm(dtype=self.dtype, name=f"bn{index}")(x, mask=mask, train=train)
        x = flatten(x)
        self.sow("intermediates", "embed", x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
