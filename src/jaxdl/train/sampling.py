"""What a trained generator makes: from noise that one gives, or from a key."""

import flax.linen as nn
import jax

from jaxdl import optim
from jaxdl.checks import check_positive, check_shape
from jaxdl.train.gan import GANState, Noise
from jaxdl.types import Array


def generate(
    generator: nn.Module,
    state: GANState,
    noise: Array,
    label: Array | None = None,
    *,
    averaged: bool = False,
    train: bool = False,
) -> Array:
    """Examples from given noise: pure, to be jitted or differentiated.

    Args:
        generator: the module.
        state: whose generator.
        noise: (B, num_latents).
        label: (B,) int32 for a conditional generator.
        averaged: with the average of the weights that :func:`jaxdl.optim.ema` keeps.
        train: normalise by the statistics of this batch, not by the running ones: what a book's
            networks do that know no evaluation mode.

    Returns:
        (B, ...) examples.

    Raises:
        ValueError: noise or label that do not fit; no average.
    """
    player = state.generator
    params = optim.averaged_params(player.opt_state) if averaged else player.params
    labels = () if label is None else (label,)
    variables = {"params": params, **player.model_state}
    mutable = list(player.model_state)
    return generator.apply(variables, noise, *labels, train=train, mutable=mutable)[0]


def sample(
    generator: nn.Module,
    state: GANState,
    key: Array,
    number: int,
    *,
    label: Array | None = None,
    averaged: bool = False,
    noise: Noise = jax.random.normal,
    batch_size: int = 250,
) -> Array:
    """Any number of new examples, ``batch_size`` at a time.

    Args:
        generator, state, averaged: as of :func:`generate`.
        key: PRNG key.
        number: N, of the examples.
        label: (N,) int32 for a conditional generator; None draws evenly from all classes.
        noise: as the generator was trained with; see :data:`Noise`.
        batch_size: examples at a time; the result does not depend on it.

    Returns:
        (N, ...) examples. To know the labels, give them.

    Raises:
        ValueError: no examples asked for; labels of another number.
    """
    check_positive(number=number, batch_size=batch_size)
    num_classes = getattr(generator, "num_classes", None)
    noise_key, label_key = jax.random.split(key)
    vectors = noise(noise_key, (number, generator.num_latents))
    if num_classes is not None and label is None:
        label = jax.random.randint(label_key, (number,), 0, num_classes)
    if label is not None:
        check_shape("label", label, (number,))

    def one(inputs: tuple[Array, Array | None]) -> Array:
        z, y = jax.tree.map(lambda leaf: leaf[None], inputs)
        return generate(generator, state, z, y, averaged=averaged)[0]

    return jax.lax.map(one, (vectors, label), batch_size=min(batch_size, number))
