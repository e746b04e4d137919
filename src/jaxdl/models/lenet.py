"""LeNet-5, with mean or max-pooling."""

import functools
from typing import Literal

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl.models.convnet import conv_relu_pool
from jaxdl.nn import Dense, avg_pool, flatten
from jaxdl.nn.conv import PooledConv
from jaxdl.types import Array


class LeNet5(nn.Module):
    """LeNet-5: two 5x5 convolutions with pooling, then 120, 84 and 10 units.

    61,706 parameters at 28x28x1. Maps 28 → 28 → 14 → 10 → 5; layers of 156, 2,416, 48,120, 10,164
    and 850 parameters; ReLU after each but the last.

    Intermediates: ``relu1`` and ``relu2``, the maps before pooling; ``embed``, the 84 features
    before the last layer.

    Attributes:
        num_classes: number of outputs.
        features: channels of the convolutions.
        hidden: units of the two dense layers.
        pool: "avg" or "max", the mean or the maximum of 2x2 pixels.
        padding: padding of the first convolution: 2 for images of 28 pixels, 0 for 32.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: an unknown ``pool``.

    Source: LeCun et al. 1998, in today's form (ReLU, no Gaussian output units). Names as in PyTorch
    recipes: ``conv1``, ``conv2``, ``fc1``, ``fc2``, ``fc3``.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> logits, variables = jax.eval_shape(LeNet5().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 61706)
    """

    num_classes: int = 10
    features: tuple[int, int] = (6, 16)
    hidden: tuple[int, int] = (120, 84)
    pool: Literal["avg", "max"] = "avg"
    padding: int = 2
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            train: has no effect.

        Returns:
            (B, num_classes).
        """
        del train
        if self.pool not in ("avg", "max"):
            raise ValueError(f'pool must be "avg" or "max", got {self.pool!r}.')
        for index, padding in enumerate((self.padding, 0)):
            conv = functools.partial(
                PooledConv,
                self.features[index],
                5,
                padding=padding,
                dtype=self.dtype,
                name=f"conv{index + 1}",
            )
            if self.pool == "max":
                x = conv_relu_pool(self, conv, x, f"relu{index + 1}")
            else:
                x = nn.relu(conv()(x))
                self.sow("intermediates", f"relu{index + 1}", x)
                x = avg_pool(x)
        x = flatten(x)
        for index, features in enumerate(self.hidden, 1):
            x = nn.relu(Dense(features, dtype=self.dtype, name=f"fc{index}")(x))
        self.sow("intermediates", "embed", x)
        return Dense(self.num_classes, dtype=self.dtype, name="fc3")(x)


def LeNetMaxPool(
    num_classes: int = 10,
    features: tuple[int, int] = (6, 16),
    hidden: tuple[int, int] = (120, 84),
    *,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> LeNet5:
    """The convolutional network of the PyTorch tutorials: LeNet-5 with max-pooling, no padding.

    61,706 parameters at 32x32x1, 62,006 at 32x32x3 (CIFAR-10).

    Args:
        num_classes: number of outputs.
        features: channels of the convolutions.
        hidden: units of the two dense layers, l1 and l2 in the tutorial that tunes them.
        dtype: dtype of the computation; None infers it.
        name: name of the module inside another.

    Source: ``Net`` of the PyTorch tutorials "Training a classifier" and "Hyperparameter tuning".

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
    >>> logits, variables = jax.eval_shape(LeNetMaxPool().init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 62006)
    """
    return LeNet5(num_classes, features, hidden, pool="max", padding=0, dtype=dtype, name=name)
