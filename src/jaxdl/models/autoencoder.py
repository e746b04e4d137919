"""Autoencoders: plain, variational, and variational with convolutions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl._checks import check_shape
from jaxdl.models.mlp import MLP
from jaxdl.nn import Conv, ConvTranspose, Dense, flatten
from jaxdl.types import Array


class VAEOutput(NamedTuple):
    """What a variational autoencoder puts out.

    Attributes:
        logits: (B, ...) of the reconstruction, in the shape of the input; their sigmoid is the
            reconstruction.
        mean: (B, num_latents) of the code.
        log_variance: (B, num_latents), the logarithm of the code's variance.
    """

    logits: Array
    mean: Array
    log_variance: Array


class Autoencoder(nn.Module):
    """Dense layers to a short code and back: 784-400-400-20-400-400-784, 965,604 parameters.

    ReLU between the layers, not on the code and not on the output, which is logits for a
    cross-entropy and the reconstruction itself for a squared error.

    Args of the call: x (B, *shape). Returns: like x. Methods: ``encode`` gives the codes
    (B, num_latents), ``decode`` the reconstruction from codes.

    Intermediates: ``embed``, the codes.

    Attributes:
        hidden: units of the layers before the code; those behind it mirror them.
        num_latents: length of the code.
        shape: of an example; (784,) for flat ones.
        dtype: of the computation; None infers it.

    Source: ``torch.nn.Sequential`` of ``Linear`` and ``ReLU``, as an encoder and a decoder.
    """

    hidden: Sequence[int] = (400, 400)
    num_latents: int = 20
    shape: Sequence[int] = (28, 28, 1)
    dtype: jnp.dtype | None = None

    def setup(self) -> None:
        self.encoder = MLP((*self.hidden, self.num_latents), dtype=self.dtype)
        self.decoder = MLP((*reversed(self.hidden), math.prod(self.shape)), dtype=self.dtype)

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        del train  # nothing differs
        code = self.encode(x)
        self.sow("intermediates", "embed", code)
        return self.decode(code)

    def encode(self, x: Array) -> Array:
        check_shape("x", x, ("B", *self.shape))
        return self.encoder(x)

    def decode(self, code: Array) -> Array:
        check_shape("code", code, ("B", self.num_latents))
        return unflatten(self.decoder(code), self.shape)


class _Variational(nn.Module):
    """The call of a variational autoencoder that encodes and decodes."""

    def __call__(self, x: Array, *, train: bool = False, sample: bool | None = None) -> VAEOutput:
        mean, log_variance = self.encode(x)
        self.sow("intermediates", "embed", mean)
        code = mean
        if train if sample is None else sample:
            noise = jax.random.normal(self.make_rng("dropout"), mean.shape, mean.dtype)
            code = mean + jnp.exp(log_variance / 2) * noise
        return VAEOutput(self.decode(code), mean, log_variance)

    def encode(self, x: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def decode(self, code: Array) -> Array:
        raise NotImplementedError


class VAE(_Variational):
    """Variational autoencoder with dense layers: 784-400-(20, 20), 20-400-784, 652,824 parameters.

    The code of an example is drawn from N(mean, exp(log_variance)); ReLU after the hidden layers.

    Args of the call: x (B, *shape), values in [0, 1]; train draws the code, from the random stream
    ``dropout``, else it is the mean; sample says so without regard to train: an ELBO on test data
    needs drawn codes too. Returns: a :class:`VAEOutput`, with logits where the original has
    probabilities: the sigmoid is part of the loss.

    Methods: ``encode`` gives mean and log-variance, ``decode`` the logits from codes
    (B, num_latents).

    Intermediates: ``embed``, the means of the codes.

    Attributes:
        hidden: units of the layer on each side.
        num_latents: length of the code.
        shape: of an example; (784,) for flat ones.
        dtype: of the computation; None infers it.

    Source: Kingma & Welling 2014, appendix C; the VAE of pytorch/examples, names as there:
    ``fc1``, ``fc21`` (mean), ``fc22`` (log-variance), ``fc3``, ``fc4``.
    """

    hidden: int = 400
    num_latents: int = 20
    shape: Sequence[int] = (28, 28, 1)
    dtype: jnp.dtype | None = None

    def setup(self) -> None:
        self.fc1 = Dense(self.hidden, dtype=self.dtype)
        self.fc21 = Dense(self.num_latents, dtype=self.dtype)
        self.fc22 = Dense(self.num_latents, dtype=self.dtype)
        self.fc3 = Dense(self.hidden, dtype=self.dtype)
        self.fc4 = Dense(math.prod(self.shape), dtype=self.dtype)

    def encode(self, x: Array) -> tuple[Array, Array]:
        check_shape("x", x, ("B", *self.shape))
        hidden = nn.relu(self.fc1(flatten(x)))
        return self.fc21(hidden), self.fc22(hidden)

    def decode(self, code: Array) -> Array:
        check_shape("code", code, ("B", self.num_latents))
        return unflatten(self.fc4(nn.relu(self.fc3(code))), self.shape)


class ConvVAE(_Variational):
    """Variational autoencoder with convolutions and transposed convolutions.

    Maps 28 → 14 → 7 with 32 and 64 channels (3x3, stride 2), codes of 20, and back by 4x4 kernels
    of stride 2; 243,465 parameters at 28x28x1. ReLU after every hidden layer.

    Args and returns of the call, methods and intermediates: as :class:`VAE`, for images
    (B, *shape).

    Attributes:
        features: channels of the two convolutions; those of the decoder mirror them.
        num_latents: length of the code.
        shape: (H, W, C) of an image; H and W are multiples of 4.
        dtype: of the computation; None infers it.

    Source: Kingma & Welling 2014 with the layers of DCGAN-like recipes. Names: ``conv1``,
    ``conv2``, ``fc_mean``, ``fc_log_variance``, ``fc_code``, ``deconv1``, ``deconv2``.
    """

    features: tuple[int, int] = (32, 64)
    num_latents: int = 20
    shape: tuple[int, int, int] = (28, 28, 1)
    dtype: jnp.dtype | None = None

    def setup(self) -> None:
        height, width, channels = self.shape
        if height % 4 or width % 4:
            raise ValueError(
                f"ConvVAE halves height and width twice: both must be multiples of 4, got "
                f"{height}x{width}; pad or resize the images."
            )
        first, second = self.features
        self.small = (height // 4, width // 4, second)
        self.conv1 = Conv(first, (3, 3), stride=2, padding=1, dtype=self.dtype)
        self.conv2 = Conv(second, (3, 3), stride=2, padding=1, dtype=self.dtype)
        self.fc_mean = Dense(self.num_latents, dtype=self.dtype)
        self.fc_log_variance = Dense(self.num_latents, dtype=self.dtype)
        self.fc_code = Dense(math.prod(self.small), dtype=self.dtype)
        self.deconv1 = ConvTranspose(first, (4, 4), stride=2, padding=1, dtype=self.dtype)
        self.deconv2 = ConvTranspose(channels, (4, 4), stride=2, padding=1, dtype=self.dtype)

    def encode(self, x: Array) -> tuple[Array, Array]:
        check_shape("x", x, ("B", *self.shape))
        hidden = flatten(nn.relu(self.conv2(nn.relu(self.conv1(x)))))
        return self.fc_mean(hidden), self.fc_log_variance(hidden)

    def decode(self, code: Array) -> Array:
        check_shape("code", code, ("B", self.num_latents))
        maps = unflatten(nn.relu(self.fc_code(code)), self.small)
        return self.deconv2(nn.relu(self.deconv1(maps)))


def unflatten(x: Array, shape: Sequence[int]) -> Array:
    """The inverse of :func:`jaxdl.nn.flatten`: (B, n) as (B, *shape), channels first in n.

    Source: ``torch.nn.Unflatten`` of an NCHW array.

    >>> unflatten(jnp.array([[0, 2, 4, 6, 1, 3, 5, 7]]), (2, 2, 2)).ravel().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    if len(shape) != 3:
        return x.reshape(x.shape[0], *shape)
    height, width, channels = shape
    return x.reshape(x.shape[0], channels, height, width).transpose(0, 2, 3, 1)
