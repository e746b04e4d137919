"""Generators and discriminators: those of a GAN book with their exact sizes, and DCGAN.

A generator is called as ``generator(noise, label, train=...)`` and has a field ``num_latents``, the
length of its noise; a discriminator is called as ``discriminator(images, label, train=...)``. Both
have a field ``num_classes``: with None they are unconditional and take no label. Networks with
BatchNorm take a ``mask`` too. Discriminators return logits (B, 1): the sigmoid is part of the loss.
With ``output_activation=nn.sigmoid`` they return probabilities, as the book's do.

The book is Tariq Rashid, "Make Your First GAN With PyTorch" (2020).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Num, Shaped

from jaxdl._checks import check_shape
from jaxdl.models.autoencoder import unflatten
from jaxdl.nn import BatchNorm, Conv, ConvTranspose, Dense, Embed, SpectralNorm, flatten
from jaxdl.types import Array

Activation = Callable[[Array], Array]

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.02)


class DenseGenerator(nn.Module):
    """Generator of dense layers, with LayerNorm after each activation.

    With the default sizes 100-200-784: 178,184 parameters. The networks of the book:

    =========================== ================================================== ==========
    network                     module                                             parameters
    =========================== ================================================== ==========
    1010 pattern, 1-3-4         ``DenseGenerator((3,), (4,), 1, activation=        22
                                nn.sigmoid, layer_norm=False)``
    first MNIST, 1-200-784      ``DenseGenerator((200,), num_latents=1,            157,984
                                activation=nn.sigmoid, layer_norm=False)``
    improved MNIST, 100-200-784 ``DenseGenerator()``                               178,184
    conditional MNIST, 110-200- ``DenseGenerator(num_classes=10)``                 180,184
    faces, 100-300-116412       ``DenseGenerator((300,), (218, 178, 3),            35,070,912
                                activation=nn.leaky_relu)``
    =========================== ================================================== ==========

    Attributes:
        hidden: units of the hidden layers.
        shape: shape of an example.
        num_latents: length of the noise.
        num_classes: number of labels; None is unconditional.
        activation: function of the hidden layers.
        layer_norm: normalize the hidden units after their activation.
        output_activation: function of the example; a sigmoid for values in [0, 1].
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: noise of another length; a label where there are no classes, or the reverse.

    Source: the book, chapters 4 to 7 and 9, notebooks 6, 7, 8, 12 and 16; names as there
    (``model_0`` is ``model.0``), the flat example read row by row.

    >>> model, noise = DenseGenerator(), jnp.zeros((2, 100))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), noise)[0].shape
    (2, 28, 28, 1)
    """

    hidden: Sequence[int] = (200,)
    shape: Sequence[int] = (28, 28, 1)
    num_latents: int = 100
    num_classes: int | None = None
    activation: Activation = leaky_relu
    layer_norm: bool = True
    output_activation: Activation = nn.sigmoid
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        noise: Num[Array, "B num_latents"],
        label: Int[Array, " B"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B ..."]:
        """Generates examples.

        Args:
            noise: (B, num_latents).
            label: (B,) int32, if ``num_classes`` is set; its one-hot vector is joined to the noise.
            train: has no effect.

        Returns:
            (B, *shape).
        """
        del train
        check_shape("noise", noise, ("B", self.num_latents))
        x = _join(noise, label, self.num_classes)
        x = self.output_activation(_dense_layers(self, x, math.prod(self.shape)))
        return x.reshape(x.shape[0], *self.shape)


class DenseDiscriminator(nn.Module):
    """Discriminator of dense layers, with LayerNorm after each activation.

    With the default sizes and 28x28 images 784-200-1: 157,601 parameters. The networks of the book:

    =========================== ================================================== ==========
    network                     module                                             parameters
    =========================== ================================================== ==========
    1010 pattern, 4-3-1         ``DenseDiscriminator((3,), activation=nn.sigmoid,  19
                                layer_norm=False)``
    first MNIST, 784-200-1      ``DenseDiscriminator(activation=nn.sigmoid,        157,201
                                layer_norm=False)``
    improved MNIST, 784-200-1   ``DenseDiscriminator()``                           157,601
    conditional MNIST, 794-200- ``DenseDiscriminator(num_classes=10)``             159,601
    faces, 116412-100-1         ``DenseDiscriminator((100,),                       11,641,601
                                activation=nn.leaky_relu)``
    =========================== ================================================== ==========

    Attributes:
        hidden: units of the hidden layers.
        num_classes: number of labels; None is unconditional.
        activation: function of the hidden layers.
        layer_norm: normalize the hidden units after their activation.
        output_activation: function of the output; None returns logits.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: a label where there are no classes, or the reverse.

    Source: as :class:`DenseGenerator`; there all end in a sigmoid.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> model = DenseDiscriminator()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1), 157601)
    """

    hidden: Sequence[int] = (200,)
    num_classes: int | None = None
    activation: Activation = leaky_relu
    layer_norm: bool = True
    output_activation: Activation | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B ..."],
        label: Int[Array, " B"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B 1"]:
        """Computes logits.

        Args:
            x: (B, ...), flattened row by row.
            label: (B,) int32, if ``num_classes`` is set; its one-hot vector is joined to the
                example.
            train: has no effect.

        Returns:
            (B, 1).
        """
        del train
        x = _join(x.reshape(x.shape[0], -1), label, self.num_classes)
        x = _dense_layers(self, x, 1)
        return x if self.output_activation is None else self.output_activation(x)


def _dense_layers(module: DenseGenerator | DenseDiscriminator, x: Array, features: int) -> Array:
    """The layers of both, numbered as in a ``torch.nn.Sequential`` with the activations in it."""
    index = 0
    for units in module.hidden:
        x = module.activation(Dense(units, dtype=module.dtype, name=f"model_{index}")(x))
        index += 2
        if module.layer_norm:
            x = nn.LayerNorm(
                epsilon=1e-5, use_fast_variance=False, dtype=module.dtype, name=f"model_{index}"
            )(x)
            index += 1
    return Dense(features, dtype=module.dtype, name=f"model_{index}")(x)


class ConvGenerator(nn.Module):
    """Generator of 128x128 pixels: three transposed 8x8 convolutions of stride 2.

    A dense layer gives maps 11x11x3; then 28, 62 and 128 pixels with 256, 256 and 3 channels,
    BatchNorm and activation after each, a sigmoid at the end; 4,330,816 parameters.

    Attributes:
        features: channels between the layers.
        channels: channels of the image, and of the first maps.
        num_latents: length of the noise.
        activation: function of the hidden layers; ``functools.partial(nn.gelu, approximate=False)``
            for the book's variant.
        dtype: dtype of the computation; None infers it. Statistics stay float32.

    Raises:
        ValueError: noise of another length.

    Source: the book, notebooks 14 and 15, names as there.

    >>> model, noise = ConvGenerator((4, 4)), jnp.zeros((2, 100))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), noise)[0].shape
    (2, 128, 128, 3)
    """

    features: tuple[int, int] = (256, 256)
    channels: int = 3
    num_latents: int = 100
    activation: Activation = functools.partial(nn.leaky_relu, negative_slope=0.2)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        noise: Num[Array, "B num_latents"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B 128 128 C"]:
        """Generates images.

        Args:
            noise: (B, num_latents).
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, 128, 128, channels) in [0, 1].
        """
        check_shape("noise", noise, ("B", self.num_latents))
        size, channels = 11, self.channels
        x = Dense(size * size * channels, dtype=self.dtype, name="model_0")(noise)
        x = unflatten(self.activation(x), (size, size, channels))
        layers = (*self.features, channels)
        for index, (features, padding) in enumerate(zip(layers, (0, 0, 1), strict=True), 1):
            x = ConvTranspose(
                features,
                8,
                stride=2,
                padding=padding,
                dtype=self.dtype,
                name=f"model_{3 * index}",
            )(x)
            norm = BatchNorm(dtype=self.dtype, name=f"model_{3 * index + 1}")
            x = norm(x, mask=mask, train=train)
            x = self.activation(x) if index < len(layers) else nn.sigmoid(x)
        return x


class ConvDiscriminator(nn.Module):
    """Discriminator of 128x128 pixels: three 8x8 convolutions of stride 2 and a dense layer.

    Maps 128 → 61 → 27 → 10 with 256, 256 and 3 channels, BatchNorm and activation after the first
    two, activation after the third, a dense layer of 300 inputs; 4,294,448 parameters.

    Attributes:
        features: channels of the convolutions.
        activation: as of :class:`ConvGenerator`.
        output_activation: function of the output; None returns logits, the original has a sigmoid.
        dtype: dtype of the computation; None infers it. Statistics stay float32.

    Raises:
        ValueError: images that are too small.

    Source: as :class:`ConvGenerator`.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 128, 128, 3), "float32")
    >>> model = ConvDiscriminator()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1), 4294448)
    """

    features: tuple[int, int, int] = (256, 256, 3)
    activation: Activation = functools.partial(nn.leaky_relu, negative_slope=0.2)
    output_activation: Activation | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B 1"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, 1).
        """
        for index, features in enumerate(self.features):
            x = Conv(features, 8, stride=2, dtype=self.dtype, name=f"model_{3 * index}")(x)
            if index < 2:
                norm = BatchNorm(dtype=self.dtype, name=f"model_{3 * index + 1}")
                x = norm(x, mask=mask, train=train)
            x = self.activation(x)
        x = Dense(1, dtype=self.dtype, name="model_9")(flatten(x))
        return x if self.output_activation is None else self.output_activation(x)


class DCGANGenerator(nn.Module):
    """DCGAN generator: transposed 4x4 convolutions of stride 2 that double the size of the maps.

    The smallest maps are at most 4 pixels long; every layer has half the channels of the one
    before, and the last hidden one has ``features``. BatchNorm and ReLU after each; no biases.
    Where a size is odd, as 7 in 4, 7, 14, 28, the kernel is 3 long.

    ========== ======================== ============================ ==========
    pixels     sizes of the maps        channels before the image    parameters
    ========== ======================== ============================ ==========
    28x28x1    4, 7, 14, 28             256, 128, 64                 837,504
    32x32x3    4, 8, 16, 32             256, 128, 64                 1,068,928
    64x64x3    4, 8, 16, 32, 64         512, 256, 128, 64            3,576,704
    128x128x3  4, 8, 16, 32, 64, 128    1024, 512, 256, 128, 64      12,786,560
    ========== ======================== ============================ ==========

    Attributes:
        shape: (H, W, C) of an image, at least 5 pixels long.
        num_latents: length of the noise.
        features: channels of the last hidden maps.
        num_classes: number of labels; None is unconditional.
        output_activation: function of the image.
        dtype: dtype of the computation; None infers it. Statistics stay float32.
        kernel_init: initializer of the kernels, N(0, 0.02²) in the paper.

    Raises:
        ValueError: noise of another length, images that are too small; a label where there are no
            classes, or the reverse.

    Source: Radford et al. 2016; the DCGAN of the PyTorch tutorials (64x64x3), names as there
    (``main_0`` is ``main.0``).

    >>> model, noise = DCGANGenerator(), jnp.zeros((2, 100))
    >>> jax.eval_shape(model.init_with_output, jax.random.key(0), noise)[0].shape
    (2, 64, 64, 3)
    """

    shape: tuple[int, int, int] = (64, 64, 3)
    num_latents: int = 100
    features: int = 64
    num_classes: int | None = None
    output_activation: Activation = jnp.tanh
    dtype: DTypeLike | None = None
    kernel_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(
        self,
        noise: Num[Array, "B num_latents"],
        label: Int[Array, " B"] | None = None,
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B H W C"]:
        """Generates images.

        Args:
            noise: (B, num_latents).
            label: (B,) int32, if ``num_classes`` is set; its one-hot vector is joined to the noise.
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``).

        Returns:
            (B, *shape), in [-1, 1].
        """
        check_shape("noise", noise, ("B", self.num_latents))
        sizes = _halvings(self.shape[:2])[::-1]
        x = _join(noise, label, self.num_classes)  # an embedding would be as strong as the noise
        x = x.reshape(x.shape[0], 1, 1, -1)
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            x = ConvTranspose(
                self.shape[2] if last else self.features * 2 ** (len(sizes) - 2 - index),
                size if index == 0 else _kernel(size),
                stride=1 if index == 0 else 2,
                padding=0 if index == 0 else 1,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=self.kernel_init,
                name=f"main_{3 * index}",
            )(x)
            if not last:
                norm = BatchNorm(
                    dtype=self.dtype, scale_init=_near_one, name=f"main_{3 * index + 1}"
                )
                x = nn.relu(norm(x, mask=mask, train=train))
        return self.output_activation(x)


class DCGANDiscriminator(nn.Module):
    """DCGAN discriminator: 4x4 convolutions of stride 2 that halve the size of the maps.

    The mirror image of :class:`DCGANGenerator`: the first convolution has ``features`` channels and
    every other one twice as many as the one before, LeakyReLU of slope 0.2 after each; the last
    one covers the remaining maps. For 64x64x3 pixels 2,765,568 parameters.

    Attributes:
        features: channels of the first convolution.
        norm: "batch" after all but the first convolution; "spectral" around every kernel (which
            then has a bias); "none", for a penalty on the gradient (with biases).
        num_classes: number of labels; None is unconditional.
        condition: use of the label. "concatenate" joins its one-hot vector to every pixel;
            "projection" adds the product of an embedding and the last maps, summed over the pixels.
        output_activation: function of the output; None returns logits.
        dtype: dtype of the computation; None infers it. Statistics stay float32.
        kernel_init: initializer of the kernels, N(0, 0.02²) in the paper.

    Raises:
        ValueError: images less than 5 pixels long, an unknown option; a label where there are no
            classes, or the reverse.

    Source: as :class:`DCGANGenerator`; "spectral" after Miyato et al. 2018, "projection" after
    Miyato & Koyama 2018, eq. 3, "none" after Gulrajani et al. 2017.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    >>> model = DCGANDiscriminator()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1), 2765568)
    """

    features: int = 64
    norm: Literal["batch", "spectral", "none"] = "batch"
    num_classes: int | None = None
    condition: Literal["concatenate", "projection"] = "projection"
    output_activation: Activation | None = None
    dtype: DTypeLike | None = None
    kernel_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B H W C"],
        label: Int[Array, " B"] | None = None,
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B 1"]:
        """Computes logits.

        Args:
            x: (B, H, W, C).
            label: (B,) int32, if ``num_classes`` is set.
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: use and update the batch statistics (collection ``batch_stats``), or the vectors
                of the spectral norms (collection ``spectral_norm``).

        Returns:
            (B, 1).
        """
        check_shape("images", x, ("B", None, None, None))
        _check_options(self)
        *sizes, smallest = _halvings(x.shape[1:3])
        _check_label(label, self.num_classes, x.shape[0])
        if self.condition == "concatenate":
            x = _join(x, label, self.num_classes)
        for index, size in enumerate(sizes):
            place, kernel_size = max(3 * index - 1, 0), _kernel(size)
            x = self._conv(
                x,
                self.features * 2**index,
                kernel_size,
                f"main_{place}",
                train,
                stride=2,
                padding=1,
            )
            if self.norm == "batch" and index > 0:
                norm = BatchNorm(dtype=self.dtype, scale_init=_near_one, name=f"main_{place + 1}")
                x = norm(x, mask=mask, train=train)
            x = nn.leaky_relu(x, 0.2)
        outputs = flatten(self._conv(x, 1, smallest, f"main_{3 * len(sizes) - 1}", train))
        if label is not None and self.num_classes is not None and self.condition == "projection":
            outputs = outputs + self._projection(x, label, self.num_classes, train)
        return outputs if self.output_activation is None else self.output_activation(outputs)

    def _conv(
        self,
        x: Array,
        features: int,
        kernel_size: tuple[int, int],
        name: str,
        train: bool,
        *,
        stride: int = 1,
        padding: int = 0,
    ) -> Array:
        conv = Conv(
            features,
            kernel_size,
            stride=stride,
            padding=padding,
            use_bias=self.norm != "batch",
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            name=name,
        )
        if self.norm == "spectral":
            return SpectralNorm(conv, name=f"{name}_norm")(x, train=train)
        return conv(x)

    def _projection(self, maps: Array, label: Array, num_classes: int, train: bool) -> Array:
        """(B, 1)."""
        embed = Embed(
            num_classes,
            maps.shape[-1],
            dtype=self.dtype,
            embedding_init=self.kernel_init,
            name="embed",
        )
        if self.norm == "spectral":
            vectors = SpectralNorm(embed, name="embed_norm")(label, train=train)
        else:
            vectors = embed(label)
        return (vectors * maps.sum(axis=(1, 2))).sum(axis=-1, keepdims=True)


def _near_one(
    key: Array,
    shape: Sequence[int],
    dtype: DTypeLike | None = None,
    out_sharding: object = None,
) -> Array:
    """N(1, 0.02²), the initial distribution of DCGAN's scales."""
    del out_sharding  # Linen passes none
    return 1.0 + 0.02 * jax.random.normal(key, tuple(shape), dtype or jnp.float32)


def _halvings(size: Sequence[int]) -> list[tuple[int, int]]:
    """The sizes of the maps from the image to the smallest, at most 4 pixels long.

    >>> _halvings((28, 28)), _halvings((64, 48))[-1]
    ([(28, 28), (14, 14), (7, 7), (4, 4)], (4, 3))
    """
    height, width = size
    if min(height, width) < 5:
        raise ValueError(
            f"images must be at least 5 pixels high and wide for DCGAN, got {height}x{width}."
        )
    sizes = [(height, width)]
    while max(height, width) > 4:
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def _kernel(size: tuple[int, int]) -> tuple[int, int]:
    """Size of the kernel that, with stride 2 and padding 1, maps to or from this size."""
    height, width = (4 if length % 2 == 0 else 3 for length in size)
    return height, width


def _check_options(module: DCGANDiscriminator) -> None:
    for name, known in {
        "norm": ("batch", "spectral", "none"),
        "condition": ("concatenate", "projection"),
    }.items():
        if getattr(module, name) not in known:
            raise ValueError(f"{name} must be one of {known}, got {getattr(module, name)!r}.")


def _check_label(label: Array | None, num_classes: int | None, batch_size: int) -> None:
    if num_classes is None:
        if label is not None:
            raise ValueError(
                "got labels, but the model has num_classes=None; set num_classes or omit labels."
            )
        return
    if label is None:
        raise ValueError(
            f"expected a label (B,) int32 for each example, as num_classes={num_classes}; got none."
        )
    check_shape("label", label, (batch_size,))
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"label must be integers (class indices from 0), got {label.dtype}.")


def _join(x: Array, label: Array | None, num_classes: int | None) -> Array:
    """``x`` (B, ..., C) with the one-hot vector of the label after every C numbers."""
    _check_label(label, num_classes, x.shape[0])
    if label is None or num_classes is None:
        return x
    one_hot = jax.nn.one_hot(label, num_classes, dtype=x.dtype)
    one_hot = one_hot.reshape(x.shape[0], *(1,) * (x.ndim - 2), -1)
    return jnp.concatenate([x, jnp.broadcast_to(one_hot, (*x.shape[:-1], num_classes))], axis=-1)
