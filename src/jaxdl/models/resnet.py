"""Residual networks, for large images and for small ones.

Names are torchvision's with underscores for dots: ``conv1``, ``bn1``, ``layer1_0/conv1``,
``layer2_0/downsample_0``, ``fc``; :func:`jaxdl.interop.params_from_torch` reads its weights.
"""

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import flax.linen as nn
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_count
from jaxdl.nn import BatchNorm, Conv, Dense, max_pool
from jaxdl.nn.conv_ops import prefer_implementation
from jaxdl.nn.initializers import kaiming_normal
from jaxdl.types import Array

Stem = Literal["imagenet", "cifar"]


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions: relu(bn2(conv2(relu(bn1(conv1(x))))) + x).

    Where the shape changes, the shortcut is a 1x1 convolution and a BatchNorm, ``downsample_0`` and
    ``downsample_1``.

    Attributes:
        features: number of channels.
        stride: stride of the first convolution and of the shortcut.
        dtype: dtype of the computation; None infers it.
        zero_last: start the last norm from scale 0, so that the block starts as its shortcut.

    Source: ``torchvision.models.resnet.BasicBlock``; He et al. 2016, figure 5 left.
    """

    features: int
    stride: int = 1
    dtype: DTypeLike | None = None
    zero_last: bool = False

    expansion: ClassVar[int] = 1

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(
        self, x: Num[Array, "B H W C"], mask: Shaped[Array, " B"] | None, train: bool
    ) -> Float[Array, "B H2 W2 C2"]:
        """Applies the block.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out; or None.
            train: use and update the batch statistics.

        Returns:
            (B, H / stride, W / stride, features).
        """
        conv, norm = _layers(self.dtype)
        y = conv(self.features, 3, stride=self.stride, padding=1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, mask=mask, train=train))
        y = conv(self.features, 3, padding=1, name="conv2")(y)
        y = norm(name="bn2", scale_init=_last_scale(self.zero_last))(y, mask=mask, train=train)
        return nn.relu(y + _shortcut(self, x, y, mask, train))


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3 and 1x1 convolutions, the last with four times the channels.

    Shortcut and attributes as :class:`BasicBlock`; ``features`` is the number of channels of the
    3x3 convolution, which has the stride.

    Source: ``torchvision.models.resnet.Bottleneck``; He et al. 2016, figure 5 right, with the
    stride in the 3x3 convolution (ResNet v1.5).
    """

    features: int
    stride: int = 1
    dtype: DTypeLike | None = None
    zero_last: bool = False

    expansion: ClassVar[int] = 4

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(
        self, x: Num[Array, "B H W C"], mask: Shaped[Array, " B"] | None, train: bool
    ) -> Float[Array, "B H2 W2 C2"]:
        """Applies the block.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out; or None.
            train: use and update the batch statistics.

        Returns:
            (B, H / stride, W / stride, 4 · features).
        """
        conv, norm = _layers(self.dtype)
        y = conv(self.features, 1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, mask=mask, train=train))
        y = conv(self.features, 3, stride=self.stride, padding=1, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, mask=mask, train=train))
        y = conv(self.expansion * self.features, 1, name="conv3")(y)
        y = norm(name="bn3", scale_init=_last_scale(self.zero_last))(y, mask=mask, train=train)
        return nn.relu(y + _shortcut(self, x, y, mask, train))


class ResNet(nn.Module):
    """Residual network: a stem, four stages of blocks, the mean over the pixels, a dense layer.

    =========== ================= ============ ======================== ==========
    constructor ``stage_sizes``   block        parameters, 1,000 (10)   convolutions
    =========== ================= ============ ======================== ==========
    ResNet18    (2, 2, 2, 2)      BasicBlock   11,689,512 (11,181,642)  20
    ResNet34    (3, 4, 6, 3)      BasicBlock   21,797,672 (21,289,802)  36
    ResNet50    (3, 4, 6, 3)      Bottleneck   25,557,032 (23,528,522)  53
    ResNet152   (3, 8, 36, 3)     Bottleneck   60,192,808               155
    =========== ================= ============ ======================== ==========

    With the CIFAR stem and 10 classes, ResNet18 has 11,173,962.

    Intermediates: ``layer1`` to ``layer4``, the outputs of the stages; ``avgpool`` and
    ``embed``, the features before the last layer (512 for ResNet18, 2,048 for ResNet50).

    Attributes:
        stage_sizes: number of blocks of each stage; every stage but the first halves height and
            width.
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        num_classes: number of outputs.
        stem: "imagenet" is a 7x7 convolution of stride 2 and max-pooling, a quarter of height and
            width; "cifar" is a 3x3 convolution that keeps them, for images of 32 pixels.
        width: channels of the stem and the first stage; every stage doubles them.
        remat: gradient checkpointing: each block is computed again in the backward pass, which
            keeps only the blocks' inputs in memory. The numbers stay the same.
        dtype: dtype of the computation; None infers it. Parameters and statistics stay float32.
        zero_init_residual: start every block as its shortcut.

    Raises:
        ValueError: an unknown stem, or sizes below 1.

    Source: ``torchvision.models.resnet``; He et al. 2016. Initial distributions as there: Kaiming
    normal by fan-out, norms 1 and 0, PyTorch's default for the dense layer.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
    >>> model = ResNet([1, 2], BasicBlock, 10)
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 610378)
    """

    stage_sizes: Sequence[int]
    block: type[BasicBlock] | type[Bottleneck]
    num_classes: int = 1000
    stem: Stem = "imagenet"
    width: int = 64
    remat: bool = False
    dtype: DTypeLike | None = None
    zero_init_residual: bool = False

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C), normalized.
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, num_classes).
        """
        check_count(width=self.width, num_classes=self.num_classes)
        conv, norm = _layers(self.dtype)
        if self.stem == "imagenet":
            x = conv(self.width, 7, stride=2, padding=3, name="conv1")(x)
        elif self.stem == "cifar":
            x = conv(self.width, 3, padding=1, name="conv1")(x)
        else:
            raise ValueError(f'stem must be "imagenet" or "cifar", got {self.stem!r}.')
        x = nn.relu(norm(name="bn1")(x, mask=mask, train=train))
        if self.stem == "imagenet":
            x = max_pool(x, 3, stride=2, padding=1)
        # `train` is the third argument after the module itself
        block = nn.remat(self.block, static_argnums=(3,)) if self.remat else self.block
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                x = block(
                    self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    dtype=self.dtype,
                    zero_last=self.zero_init_residual,
                    name=f"layer{stage + 1}_{index}",
                )(x, mask, train)
            self.sow("intermediates", f"layer{stage + 1}", x)
        x = x.mean((1, 2))
        self.sow("intermediates", "avgpool", x)
        self.sow("intermediates", "embed", x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc")(x)


def ResNet18(
    num_classes: int = 1000,
    *,
    stem: Stem = "imagenet",
    width: int = 64,
    remat: bool = False,
    dtype: DTypeLike | None = None,
    zero_init_residual: bool = False,
    name: str | None = None,
) -> ResNet:
    """ResNet-18: 20 convolutions in blocks of two, 11,689,512 parameters with 1,000 classes.

    Args:
        num_classes, stem, width, remat, dtype, zero_init_residual: see :class:`ResNet`.
        name: name of the module inside another.

    Source: ``torchvision.models.resnet18``.

    >>> ResNet18(num_classes=10).stage_sizes
    (2, 2, 2, 2)
    """
    return ResNet(
        (2, 2, 2, 2),
        BasicBlock,
        num_classes,
        stem,
        width,
        remat,
        dtype,
        zero_init_residual,
        name=name,
    )


def ResNet34(
    num_classes: int = 1000,
    *,
    stem: Stem = "imagenet",
    width: int = 64,
    remat: bool = False,
    dtype: DTypeLike | None = None,
    zero_init_residual: bool = False,
    name: str | None = None,
) -> ResNet:
    """ResNet-34: 36 convolutions in blocks of two, 21,797,672 parameters with 1,000 classes.

    Args:
        num_classes, stem, width, remat, dtype, zero_init_residual: see :class:`ResNet`.
        name: name of the module inside another.

    Source: ``torchvision.models.resnet34``.

    >>> ResNet34(num_classes=10).stage_sizes
    (3, 4, 6, 3)
    """
    return ResNet(
        (3, 4, 6, 3),
        BasicBlock,
        num_classes,
        stem,
        width,
        remat,
        dtype,
        zero_init_residual,
        name=name,
    )


def ResNet50(
    num_classes: int = 1000,
    *,
    stem: Stem = "imagenet",
    width: int = 64,
    remat: bool = False,
    dtype: DTypeLike | None = None,
    zero_init_residual: bool = False,
    name: str | None = None,
) -> ResNet:
    """ResNet-50: 53 convolutions in blocks of three, 25,557,032 parameters with 1,000 classes.

    Args:
        num_classes, stem, width, remat, dtype, zero_init_residual: see :class:`ResNet`.
        name: name of the module inside another.

    Source: ``torchvision.models.resnet50``.

    >>> ResNet50(num_classes=10).stage_sizes
    (3, 4, 6, 3)
    """
    return ResNet(
        (3, 4, 6, 3),
        Bottleneck,
        num_classes,
        stem,
        width,
        remat,
        dtype,
        zero_init_residual,
        name=name,
    )


def ResNet152(
    num_classes: int = 1000,
    *,
    stem: Stem = "imagenet",
    width: int = 64,
    remat: bool = False,
    dtype: DTypeLike | None = None,
    zero_init_residual: bool = False,
    name: str | None = None,
) -> ResNet:
    """ResNet-152: 155 convolutions in blocks of three, 60,192,808 parameters with 1,000 classes.

    Args:
        num_classes, stem, width, remat, dtype, zero_init_residual: see :class:`ResNet`.
        name: name of the module inside another.

    Source: ``torchvision.models.resnet152``.

    >>> ResNet152(num_classes=10).stage_sizes
    (3, 8, 36, 3)
    """
    return ResNet(
        (3, 8, 36, 3),
        Bottleneck,
        num_classes,
        stem,
        width,
        remat,
        dtype,
        zero_init_residual,
        name=name,
    )


def _layers(
    dtype: DTypeLike | None,
) -> tuple[Callable[..., Conv], Callable[..., BatchNorm]]:
    """The convolution and the norm of every block."""
    conv = functools.partial(
        Conv, use_bias=False, dtype=dtype, kernel_init=kaiming_normal("fan_out")
    )
    return conv, functools.partial(BatchNorm, dtype=dtype)


def _last_scale(zero: bool) -> Initializer:
    return nn.initializers.zeros if zero else nn.initializers.ones


def _shortcut(
    block: BasicBlock | Bottleneck, x: Array, y: Array, mask: Array | None, train: bool
) -> Array:
    """x in the shape of y; inside the compact call of ``block``."""
    if x.shape == y.shape and block.stride == 1:
        return x
    conv, norm = _layers(block.dtype)
    x = conv(y.shape[-1], 1, stride=block.stride, name="downsample_0")(x)
    return norm(name="downsample_1")(x, mask=mask, train=train)
