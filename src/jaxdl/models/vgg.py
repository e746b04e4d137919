"""VGG networks.

Names are torchvision's with underscores for dots: ``features_0``, …, ``classifier_0``,
``classifier_3``, ``classifier_6``; :func:`jaxdl.interop.params_from_torch` reads its weights.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_count, check_fraction
from jaxdl.models.convnet import conv_relu_pool
from jaxdl.nn import BatchNorm, Dense, adaptive_avg_pool, flatten, max_pool
from jaxdl.nn.conv import PooledConv
from jaxdl.nn.initializers import kaiming_normal
from jaxdl.types import Array


class VGG(nn.Module):
    """VGG: stages of 3x3 convolutions with pooling, then three dense layers.

    =========== ================= ========================= =============
    constructor ``stage_sizes``   parameters, 1,000 classes with BatchNorm
    =========== ================= ========================= =============
    VGG11       (1, 1, 2, 2, 2)   132,863,336               132,868,840
    VGG16       (2, 2, 3, 3, 3)   138,357,544               138,365,992
    =========== ================= ========================= =============

    Images must be at least 32x32 pixels (halved five times); 224 give 7x7 maps at the end, other
    sizes are averaged to 7x7.

    Intermediates: ``relu1_1`` … ``relu5_3`` (before pooling), ``pool1`` … ``pool5``, ``fc6`` and
    ``fc7`` (after ReLU); ``embed`` is ``fc7``.

    Attributes:
        stage_sizes: number of convolutions of each stage, which ends in 2x2 max-pooling.
        num_classes: number of outputs.
        batch_norm: add a BatchNorm between every convolution and its ReLU.
        width: channels of the first stage; they double until eight times as many.
        hidden: units of the two hidden dense layers.
        dropout_rate: fraction of the hidden units dropped in training.
        dtype: dtype of the computation; None infers it. Parameters and statistics stay float32.

    Raises:
        ValueError: images that are too small, sizes below 1, a dropout rate outside [0, 1].

    Source: ``torchvision.models.vgg``; Simonyan & Zisserman 2015, configurations A and D. Initial
    distributions as there: Kaiming normal by fan-out, N(0, 0.01²) for dense layers, zero biases.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(VGG((1, 1), 10).init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 42590986)
    """

    stage_sizes: Sequence[int]
    num_classes: int = 1000
    batch_norm: bool = False
    width: int = 64
    hidden: int = 4096
    dropout_rate: float = 0.5
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
            x: (B, H, W, C), normalized.
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: turn dropout on; with BatchNorm use and update the batch statistics (collection
                ``batch_stats``).

        Returns:
            (B, num_classes).
        """
        check_count(width=self.width, hidden=self.hidden, num_classes=self.num_classes)
        check_fraction(dropout_rate=self.dropout_rate)
        place = 0  # in torchvision's Sequential, where ReLU and pooling count too
        for stage, size in enumerate(self.stage_sizes, 1):
            for index in range(1, size + 1):
                conv = functools.partial(
                    PooledConv,
                    self.width * min(2 ** (stage - 1), 8),
                    3,
                    padding=1,
                    dtype=self.dtype,
                    kernel_init=kaiming_normal("fan_out"),
                    bias_init=nn.initializers.zeros,
                    name=f"features_{place}",
                )
                name = f"relu{stage}_{index}"
                if index == size and not self.batch_norm:
                    x = conv_relu_pool(self, conv, x, name)
                else:
                    x = conv()(x)
                    if self.batch_norm:
                        norm = BatchNorm(dtype=self.dtype, name=f"features_{place + 1}")
                        x = norm(x, mask=mask, train=train)
                    x = nn.relu(x)
                    self.sow("intermediates", name, x)
                    x = max_pool(x) if index == size else x
                place += 3 if self.batch_norm else 2
            place += 1
            self.sow("intermediates", f"pool{stage}", x)
        x = flatten(adaptive_avg_pool(x, 7))
        dense = functools.partial(
            Dense,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.zeros,
        )
        for place, name in ((0, "fc6"), (3, "fc7")):
            x = nn.relu(dense(self.hidden, name=f"classifier_{place}")(x))
            self.sow("intermediates", name, x)
            if name == "fc7":
                self.sow("intermediates", "embed", x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return dense(self.num_classes, name="classifier_6")(x)


def VGG11(
    num_classes: int = 1000,
    batch_norm: bool = False,
    *,
    width: int = 64,
    hidden: int = 4096,
    dropout_rate: float = 0.5,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> VGG:
    """VGG-11, configuration A: 8 convolutions, 132,863,336 parameters with 1,000 classes.

    Args:
        num_classes, batch_norm, width, hidden, dropout_rate, dtype: see :class:`VGG`.
        name: name of the module inside another.

    Source: ``torchvision.models.vgg11`` and ``vgg11_bn``.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 224, 224, 3), "float32")
    >>> logits, variables = jax.eval_shape(VGG11().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1000), 132863336)
    """
    return VGG(
        (1, 1, 2, 2, 2), num_classes, batch_norm, width, hidden, dropout_rate, dtype, name=name
    )


def VGG16(
    num_classes: int = 1000,
    batch_norm: bool = False,
    *,
    width: int = 64,
    hidden: int = 4096,
    dropout_rate: float = 0.5,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> VGG:
    """VGG-16, configuration D: 13 convolutions, 138,357,544 parameters with 1,000 classes.

    Args:
        num_classes, batch_norm, width, hidden, dropout_rate, dtype: see :class:`VGG`.
        name: name of the module inside another.

    Source: ``torchvision.models.vgg16`` and ``vgg16_bn``.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 224, 224, 3), "float32")
    >>> logits, variables = jax.eval_shape(VGG16().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1000), 138357544)
    """
    return VGG(
        (2, 2, 3, 3, 3), num_classes, batch_norm, width, hidden, dropout_rate, dtype, name=name
    )
