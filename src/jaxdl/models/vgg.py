"""VGG networks.

Names are torchvision's with underscores for dots: ``features_0``, …, ``classifier_0``,
``classifier_3``, ``classifier_6``; :func:`jaxdl.interop.params_from_torch` reads its weights.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxdl._checks import check_fraction, check_positive
from jaxdl.models.convnet import conv_relu_pool
from jaxdl.nn import BatchNorm, Dense, adaptive_avg_pool, flatten, max_pool
from jaxdl.nn.conv import PooledConv
from jaxdl.nn.initializers import kaiming_normal
from jaxdl.types import Array


class VGG(nn.Module):
    """Stages of 3x3 convolutions with pooling, then three dense layers.

    ========== ================= ========================= =============
    partial    ``stage_sizes``   parameters, 1,000 classes with BatchNorm
    ========== ================= ========================= =============
    VGG11      (1, 1, 2, 2, 2)   132,863,336               132,868,840
    VGG16      (2, 2, 3, 3, 3)   138,357,544               138,365,992
    ========== ================= ========================= =============

    Images must be at least 32x32 pixels (halved five times); 224 give 7x7 maps at the end, other
    sizes are averaged to 7x7.

    Args of the call: x (B, H, W, C), normalised; mask (B,) leaves padded examples out of the batch
    statistics; train turns dropout on, and uses and updates those statistics (collection
    ``batch_stats``, with BatchNorm only). Returns: (B, num_classes) logits.

    Intermediates: ``relu1_1`` … ``relu5_3`` (before pooling), ``pool1`` … ``pool5``, ``fc6`` and
    ``fc7`` (after ReLU); ``embed`` is ``fc7``.

    Attributes:
        stage_sizes: convolutions of each stage, which ends in 2x2 max-pooling.
        num_classes: outputs.
        batch_norm: a BatchNorm between every convolution and its ReLU.
        width: channels of the first stage; they double until eight times as many.
        hidden: units of the two hidden dense layers.
        dropout_rate: fraction of the hidden units dropped in training.
        dtype: of the computation; None infers it. Parameters and statistics stay float32.

    Source: ``torchvision.models.vgg``; Simonyan & Zisserman 2015, configurations A and D. Start as
    there: Kaiming normal by fan-out, N(0, 0.01²) for dense layers, zero biases.
    """

    stage_sizes: Sequence[int]
    num_classes: int = 1000
    batch_norm: bool = False
    width: int = 64
    hidden: int = 4096
    dropout_rate: float = 0.5
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None, train: bool = False) -> Array:
        check_positive(width=self.width, hidden=self.hidden, num_classes=self.num_classes)
        check_fraction(dropout_rate=self.dropout_rate)
        zeros = nn.initializers.zeros
        place = 0  # in torchvision's Sequential, where ReLU and pooling count too
        for stage, size in enumerate(self.stage_sizes, 1):
            for index in range(1, size + 1):
                conv = functools.partial(
                    PooledConv,
                    self.width * min(2 ** (stage - 1), 8),
                    (3, 3),
                    padding=1,
                    dtype=self.dtype,
                    kernel_init=kaiming_normal("fan_out"),
                    bias_init=zeros,
                    name=f"features_{place}",
                )
                tap = f"relu{stage}_{index}"
                if index == size and not self.batch_norm:
                    x = conv_relu_pool(self, conv, x, tap)
                else:
                    x = conv()(x)
                    if self.batch_norm:
                        norm = BatchNorm(dtype=self.dtype, name=f"features_{place + 1}")
                        x = norm(x, mask=mask, train=train)
                    x = nn.relu(x)
                    self.sow("intermediates", tap, x)
                    x = max_pool(x) if index == size else x
                place += 3 if self.batch_norm else 2
            place += 1
            self.sow("intermediates", f"pool{stage}", x)
        x = flatten(adaptive_avg_pool(x, 7))
        dense = functools.partial(
            Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01), bias_init=zeros
        )
        for place, tap in ((0, "fc6"), (3, "fc7")):
            x = nn.relu(dense(self.hidden, name=f"classifier_{place}")(x))
            self.sow("intermediates", tap, x)
            if tap == "fc7":
                self.sow("intermediates", "embed", x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return dense(self.num_classes, name="classifier_6")(x)


VGG11 = functools.partial(VGG, (1, 1, 2, 2, 2))
VGG16 = functools.partial(VGG, (2, 2, 3, 3, 3))
