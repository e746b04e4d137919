"""Autoencoders: plain, variational, and variational with convolutions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_shape
from jaxdl.models.mlp import MLP
from jaxdl.nn import Conv, ConvTranspose, Dense, flatten
from jaxdl.types import Array


class VAEOutput(NamedTuple):
    """Outputs of a variational autoencoder.

    Attributes:
        logits: (B, ...) in the shape of the input; their sigmoid is the reconstruction.
        mean: (B, num_latents), mean of the code.
        log_variance: (B, num_latents), logarithm of the variance of the code.
    """

    logits: Array
    mean: Array
    log_variance: Array


class Autoencoder(nn.Module):
    """Autoencoder of dense layers: 784-400-400-20-400-400-784, 965,604 parameters.

    ReLU between the layers, not on the code and not on the output, which is logits for a
    cross-entropy and the reconstruction itself for a squared error.

    Intermediates: ``embed``, the codes.

    Attributes:
        hidden: units of the layers before the code; those after it mirror them.
        num_latents: length of the code.
        shape: shape of an example; (784,) for flat ones.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: examples of another shape.

    Source: ``torch.nn.Sequential`` of ``Linear`` and ``ReLU``, as an encoder and a decoder.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> outputs, variables = jax.eval_shape(Autoencoder().init_with_output, jax.random.key(0), x)
    >>> outputs.shape, tree.count(variables["params"])
    ((2, 28, 28, 1), 965604)
    """

    hidden: Sequence[int] = (400, 400)
    num_latents: int = 20
    shape: Sequence[int] = (28, 28, 1)
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        self.encoder = MLP((*self.hidden, self.num_latents), dtype=self.dtype)
        self.decoder = MLP((*reversed(self.hidden), math.prod(self.shape)), dtype=self.dtype)

    def __call__(self, x: Num[Array, "*B"], *, train: bool = False) -> Float[Array, "*B"]:
        """Encodes and decodes.

        Args:
            x: (B, *shape).
            train: has no effect.

        Returns:
            (B, *shape).
        """
        del train
        code = self.encode(x)
        self.sow("intermediates", "embed", code)
        return self.decode(code)

    def encode(self, x: Num[Array, "B ..."]) -> Float[Array, "B num_latents"]:
        """Codes (B, num_latents) of examples (B, *shape)."""
        check_shape("x", x, ("B", *self.shape))
        return self.encoder(x)

    def decode(self, code: Num[Array, "B num_latents"]) -> Float[Array, "B ..."]:
        """Reconstructions (B, *shape) from codes (B, num_latents)."""
        check_shape("code", code, ("B", self.num_latents))
        return unflatten(self.decoder(code), self.shape)


class _Variational(nn.Module):
    """The call of a variational autoencoder, whose subclasses encode and decode."""

    def __call__(
        self, x: Num[Array, "B ..."], *, train: bool = False, sample: bool | None = None
    ) -> VAEOutput:
        """Encodes, samples a code and decodes it.

        Args:
            x: (B, *shape), values in [0, 1].
            train: sample the codes, from the random stream ``dropout``; else they are the means.
            sample: sample the codes whatever ``train`` is, or not: an ELBO on test data needs
                sampled codes too. None follows ``train``.

        Returns:
            a :class:`VAEOutput`.
        """
        mean, log_variance = self.encode(x)
        self.sow("intermediates", "embed", mean)
        code = mean
        if train if sample is None else sample:
            noise = jax.random.normal(self.make_rng("dropout"), mean.shape, mean.dtype)
            code = mean + jnp.exp(log_variance / 2) * noise
        return VAEOutput(self.decode(code), mean, log_variance)

    def encode(self, x: Num[Array, "B ..."]) -> tuple[Array, Array]:
        """Mean and log-variance, each (B, num_latents), of the codes of examples (B, *shape)."""
        raise NotImplementedError

    def decode(self, code: Num[Array, "B num_latents"]) -> Float[Array, "B ..."]:
        """Logits (B, *shape) from codes (B, num_latents)."""
        raise NotImplementedError


class VAE(_Variational):
    """Variational autoencoder with dense layers: 784-400-(20, 20), 20-400-784, 652,824 parameters.

    The code of an example is drawn from N(mean, exp(log_variance)); ReLU after the hidden layers.

    Intermediates: ``embed``, the means of the codes.

    Attributes:
        hidden: units of the layer on each side.
        num_latents: length of the code.
        shape: shape of an example; (784,) for flat ones.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: examples of another shape.

    Source: Kingma & Welling 2014, appendix C; the VAE of pytorch/examples, names as there:
    ``fc1``, ``fc21`` (mean), ``fc22`` (log-variance), ``fc3``, ``fc4``. Its sigmoid is part of the
    loss here.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> outputs, variables = jax.eval_shape(VAE().init_with_output, jax.random.key(0), x)
    >>> outputs.logits.shape, tree.count(variables["params"])
    ((2, 28, 28, 1), 652824)
    """

    hidden: int = 400
    num_latents: int = 20
    shape: Sequence[int] = (28, 28, 1)
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        self.fc1 = Dense(self.hidden, dtype=self.dtype)
        self.fc21 = Dense(self.num_latents, dtype=self.dtype)
        self.fc22 = Dense(self.num_latents, dtype=self.dtype)
        self.fc3 = Dense(self.hidden, dtype=self.dtype)
        self.fc4 = Dense(math.prod(self.shape), dtype=self.dtype)

    def encode(self, x: Num[Array, "B ..."]) -> tuple[Array, Array]:
        """Mean and log-variance, each (B, num_latents), of the codes of examples (B, *shape)."""
        check_shape("x", x, ("B", *self.shape))
        hidden = nn.relu(self.fc1(flatten(x)))
        return self.fc21(hidden), self.fc22(hidden)

    def decode(self, code: Num[Array, "B num_latents"]) -> Float[Array, "B ..."]:
        """Logits (B, *shape) from codes (B, num_latents)."""
        check_shape("code", code, ("B", self.num_latents))
        return unflatten(self.fc4(nn.relu(self.fc3(code))), self.shape)


class ConvVAE(_Variational):
    """Variational autoencoder with convolutions and transposed convolutions.

    Maps 28 → 14 → 7 with 32 and 64 channels (3x3, stride 2), codes of 20, and back by 4x4 kernels
    of stride 2; 243,465 parameters at 28x28x1. ReLU after every hidden layer.

    Intermediates: ``embed``, the means of the codes.

    Attributes:
        features: channels of the two convolutions; those of the decoder mirror them.
        num_latents: length of the code.
        shape: (H, W, C) of an image; H and W are multiples of 4.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: images of another shape, or sides that are not multiples of 4.

    Source: Kingma & Welling 2014 with the layers of DCGAN-like recipes. Names: ``conv1``,
    ``conv2``, ``fc_mean``, ``fc_log_variance``, ``fc_code``, ``deconv1``, ``deconv2``.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> outputs, variables = jax.eval_shape(ConvVAE().init_with_output, jax.random.key(0), x)
    >>> outputs.logits.shape, tree.count(variables["params"])
    ((2, 28, 28, 1), 243465)
    """

    features: tuple[int, int] = (32, 64)
    num_latents: int = 20
    shape: tuple[int, int, int] = (28, 28, 1)
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        height, width, channels = self.shape
        if height % 4 or width % 4:
            raise ValueError(
                f"ConvVAE halves height and width twice: both must be multiples of 4, got "
                f"{height}x{width}; pad or resize the images."
            )
        first, second = self.features
        self.small = (height // 4, width // 4, second)
        self.conv1 = Conv(first, 3, stride=2, padding=1, dtype=self.dtype)
        self.conv2 = Conv(second, 3, stride=2, padding=1, dtype=self.dtype)
        self.fc_mean = Dense(self.num_latents, dtype=self.dtype)
        self.fc_log_variance = Dense(self.num_latents, dtype=self.dtype)
        self.fc_code = Dense(math.prod(self.small), dtype=self.dtype)
        self.deconv1 = ConvTranspose(first, 4, stride=2, padding=1, dtype=self.dtype)
        self.deconv2 = ConvTranspose(channels, 4, stride=2, padding=1, dtype=self.dtype)

    def encode(self, x: Num[Array, "B ..."]) -> tuple[Array, Array]:
        """Mean and log-variance, each (B, num_latents), of the codes of examples (B, *shape)."""
        check_shape("x", x, ("B", *self.shape))
        hidden = flatten(nn.relu(self.conv2(nn.relu(self.conv1(x)))))
        return self.fc_mean(hidden), self.fc_log_variance(hidden)

    def decode(self, code: Num[Array, "B num_latents"]) -> Float[Array, "B ..."]:
        """Logits (B, *shape) from codes (B, num_latents)."""
        check_shape("code", code, ("B", self.num_latents))
        maps = unflatten(nn.relu(self.fc_code(code)), self.small)
        return self.deconv2(nn.relu(self.deconv1(maps)))


def unflatten(x: Shaped[Array, "B n"], shape: Sequence[int]) -> Shaped[Array, "B ..."]:
    """Inverse of :func:`jaxdl.nn.flatten`: (B, n) as (B, *shape), channels first in n.

    Source: ``torch.nn.Unflatten`` of an NCHW array.

    >>> unflatten(jnp.array([[0, 2, 4, 6, 1, 3, 5, 7]]), (2, 2, 2)).ravel().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    if len(shape) != 3:
        return x.reshape(x.shape[0], *shape)
    height, width, channels = shape
    return x.reshape(x.shape[0], channels, height, width).transpose(0, 2, 3, 1)
