"""Residual networks, for large images and for small ones.

Names are torchvision's with underscores for dots: ``conv1``, ``bn1``, ``layer1_0/conv1``,
``layer2_0/downsample_0``, ``fc``; :func:`jaxdl.interop.params_from_torch` reads its weights.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxdl._checks import check_positive
from jaxdl.nn import BatchNorm, Conv, Dense, max_pool, prefer_implementation
from jaxdl.nn.initializers import kaiming_normal
from jaxdl.types import Array


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: relu(bn2(conv2(relu(bn1(conv1(x))))) + x).

    Where the shape changes, the shortcut is a 1x1 convolution and a BatchNorm, ``downsample_0`` and
    ``downsample_1``.

    Args of the call: x (B, H, W, C); mask (B,) or None; train. Returns: (B, H', W', features).

    Attributes:
        features: channels.
        stride: of the first convolution and of the shortcut.
        dtype: of the computation; None infers it.
        zero_last: the last norm starts from scale 0: the block starts as its shortcut.

    Source: ``torchvision.models.resnet.BasicBlock``; He et al. 2016, figure 5 left.
    """

    features: int
    stride: int = 1
    dtype: jnp.dtype | None = None
    zero_last: bool = False

    expansion: ClassVar[int] = 1

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(self, x: Array, mask: Array | None, train: bool) -> Array:
        conv, norm = _layers(self.dtype)
        y = conv(self.features, (3, 3), stride=self.stride, padding=1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, mask=mask, train=train))
        y = conv(self.features, (3, 3), padding=1, name="conv2")(y)
        y = norm(name="bn2", scale_init=_last_scale(self.zero_last))(y, mask=mask, train=train)
        return nn.relu(y + _shortcut(self, x, y, mask, train))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; the last has four times the channels.

    Args of the call, shortcut and attributes: as :class:`BasicBlock`; ``features`` are the channels
    of the 3x3 convolution, which has the stride. Returns: (B, H', W', 4·features).

    Source: ``torchvision.models.resnet.Bottleneck``; He et al. 2016, figure 5 right, with the
    stride in the 3x3 convolution (ResNet v1.5).
    """

    features: int
    stride: int = 1
    dtype: jnp.dtype | None = None
    zero_last: bool = False

    expansion: ClassVar[int] = 4

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(self, x: Array, mask: Array | None, train: bool) -> Array:
        conv, norm = _layers(self.dtype)
        y = conv(self.features, (1, 1), name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y, mask=mask, train=train))
        y = conv(self.features, (3, 3), stride=self.stride, padding=1, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y, mask=mask, train=train))
        y = conv(self.expansion * self.features, (1, 1), name="conv3")(y)
        y = norm(name="bn3", scale_init=_last_scale(self.zero_last))(y, mask=mask, train=train)
        return nn.relu(y + _shortcut(self, x, y, mask, train))


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, the mean over the pixels, and a dense layer.

    ========== ================= ============ ======================== ==========
    partial    ``stage_sizes``   block        parameters, 1,000 (10)   convolutions
    ========== ================= ============ ======================== ==========
    ResNet18   (2, 2, 2, 2)      BasicBlock   11,689,512 (11,181,642)  20
    ResNet34   (3, 4, 6, 3)      BasicBlock   21,797,672 (21,289,802)  36
    ResNet50   (3, 4, 6, 3)      Bottleneck   25,557,032 (23,528,522)  53
    ResNet152  (3, 8, 36, 3)     Bottleneck   60,192,808               155
    ========== ================= ============ ======================== ==========

    With the CIFAR stem and 10 classes, ResNet18 has 11,173,962.

    Args of the call: x (B, H, W, C), normalised; mask (B,) leaves padded examples out of the batch
    statistics; train uses and updates those statistics (collection ``batch_stats``).
    Returns: (B, num_classes) logits.

    Intermediates: ``layer1`` to ``layer4``, the outputs of the stages; ``avgpool`` and
    ``embed``, the features before the last layer (512 for ResNet18, 2,048 for ResNet50).

    Attributes:
        stage_sizes: blocks of each stage; every stage but the first halves height and width.
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        num_classes: outputs.
        stem: "imagenet" is a 7x7 convolution of stride 2 and max-pooling, a quarter of height and
            width; "cifar" is a 3x3 convolution that keeps them, for images of 32 pixels.
        width: channels of the stem and the first stage; every stage doubles them.
        remat: gradient checkpointing: each block is computed again in the backward pass, which
            keeps only the blocks' inputs in memory. The numbers stay the same.
        dtype: of the computation; None infers it. Parameters and statistics stay float32.
        zero_init_residual: every block starts as its shortcut.

    Raises:
        ValueError: an unknown stem.

    Source: ``torchvision.models.resnet``; He et al. 2016. Start as there: Kaiming normal by
    fan-out, norms 1 and 0, PyTorch's default for the dense layer.
    """

    stage_sizes: Sequence[int]
    block: type[nn.Module]
    num_classes: int = 1000
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: int = 64
    remat: bool = False
    dtype: jnp.dtype | None = None
    zero_init_residual: bool = False

    @nn.compact
    @prefer_implementation("lax")  # a step takes seconds on CPU; this compiles four times as fast
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        check_positive(width=self.width, num_classes=self.num_classes)
        conv, norm = _layers(self.dtype)
        if self.stem == "imagenet":
            x = conv(self.width, (7, 7), stride=2, padding=3, name="conv1")(x)
        elif self.stem == "cifar":
            x = conv(self.width, (3, 3), padding=1, name="conv1")(x)
        else:
            raise ValueError(f'stem must be "imagenet" or "cifar", got {self.stem!r}.')
        x = nn.relu(norm(name="bn1")(x, mask=mask, train=train))
        if self.stem == "imagenet":
            x = max_pool(x, 3, stride=2, padding=1)
        # `train` is the third argument after the module itself
        block: Any = nn.remat(self.block, static_argnums=(3,)) if self.remat else self.block
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


ResNet18 = functools.partial(ResNet, (2, 2, 2, 2), BasicBlock)
ResNet34 = functools.partial(ResNet, (3, 4, 6, 3), BasicBlock)
ResNet50 = functools.partial(ResNet, (3, 4, 6, 3), Bottleneck)
ResNet152 = functools.partial(ResNet, (3, 8, 36, 3), Bottleneck)


def _layers(dtype: jnp.dtype | None) -> tuple[Any, Any]:
    """The convolution and the norm of every block."""
    conv = functools.partial(
        Conv,
        use_bias=False,
        dtype=dtype,
        kernel_init=kaiming_normal("fan_out"),
    )
    return conv, functools.partial(BatchNorm, dtype=dtype)


def _last_scale(zero: bool) -> Any:
    return nn.initializers.zeros if zero else nn.initializers.ones


def _shortcut(
    block: BasicBlock | Bottleneck, x: Array, y: Array, mask: Array | None, train: bool
) -> Array:
    """x in the shape of y; inside the compact call of ``block``."""
    if x.shape == y.shape and block.stride == 1:
        return x
    conv, norm = _layers(block.dtype)
    x = conv(y.shape[-1], (1, 1), stride=block.stride, name="downsample_0")(x)
    return norm(name="downsample_1")(x, mask=mask, train=train)
