"""Chains of transforms, and random choice among them."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real

from jaxdl.transforms._image import Augment, check_probability
from jaxdl.types import Array


def fixed(function: Callable[..., Array], *arguments: object, **options: object) -> Augment:
    """Makes a deterministic augmentation from a function of images, for :func:`compose`.

    Args:
        function: ``(image, *arguments, **options) -> image``, e.g. :func:`grayscale`.
        *arguments: passed on after the image.
        **options: likewise.

    >>> from jaxdl.transforms import center_crop, normalize, random_flip
    >>> augment = compose(random_flip(), fixed(center_crop, 24), fixed(normalize(0.5, 0.5)))
    >>> augment(jax.random.key(0), jnp.zeros((28, 28, 1), jnp.uint8)).shape
    (24, 24, 1)
    """
    if not callable(function):
        raise ValueError(
            f"fixed takes a function and its arguments, got {type(function).__name__}: "
            "fixed(center_crop, 24), not fixed(center_crop(image, 24))."
        )

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        return function(image, *arguments, **options)

    return apply


def compose(*transforms: Augment) -> Augment:
    """Chains augmentations from left to right; each gets its own part of the key.

    Source: ``torchvision.transforms.Compose``, with the randomness as an argument.

    >>> from jaxdl.transforms import random_crop, random_flip
    >>> augment = jax.jit(compose(random_crop(padding=4), random_flip()))
    >>> augment(jax.random.key(0), jnp.zeros((28, 28, 1), jnp.uint8)).shape
    (28, 28, 1)
    """

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        if not transforms:
            return image
        keys = jax.random.split(key, len(transforms))
        for index, transform in enumerate(transforms):
            image = transform(keys[index], image)
        return image

    return apply


def random_apply(transform: Augment, probability: float = 0.5) -> Augment:
    """Makes an augmentation that changes an image with the given probability.

    Args:
        transform: an augmentation that keeps shape and dtype; ``fixed(invert)`` for a function.
        probability: of applying it.

    Raises:
        ValueError: a probability outside 0 to 1; when called, a shape or dtype that changes.

    Source: ``torchvision.transforms.RandomApply``; with :func:`fixed` also ``RandomInvert``,
    ``RandomGrayscale``, ``RandomSolarize``, ``RandomPosterize``, ``RandomEqualize``,
    ``RandomAutocontrast`` and ``RandomAdjustSharpness``.

    >>> from jaxdl.transforms import invert
    >>> augment = random_apply(fixed(invert), 1.0)
    >>> augment(jax.random.key(0), jnp.zeros((1, 2, 1), jnp.uint8)).ravel().tolist()
    [255, 255]
    """
    check_probability(probability)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = jnp.asarray(image)
        coin, inner = jax.random.split(key)
        changed = transform(inner, image)
        _check_same("random_apply", [image, changed])
        return jnp.where(jax.random.bernoulli(coin, probability), changed, image)

    return apply


def random_choice(*transforms: Augment, weights: Sequence[float] | None = None) -> Augment:
    """Makes an augmentation that applies one of several, drawn for every image.

    Under ``vmap`` all of them are computed and one is kept, as for ``jax.lax.switch``.

    Args:
        *transforms: augmentations whose results have one shape and dtype.
        weights: how likely each is, in proportion; evenly by default.

    Raises:
        ValueError: no augmentation, weights that are not as many, negative or all 0; when called,
            results of several shapes or dtypes.

    Source: ``torchvision.transforms.RandomChoice(transforms, p)``.

    >>> from jaxdl.transforms import flip, invert
    >>> augment = random_choice(fixed(flip), fixed(invert), weights=(0.0, 1.0))
    >>> augment(jax.random.key(0), jnp.zeros((1, 2, 1), jnp.uint8)).ravel().tolist()
    [255, 255]
    """
    if not transforms:
        raise ValueError("random_choice needs at least one augmentation, got none.")
    shares = np.ones(len(transforms)) if weights is None else np.asarray(weights, np.float64)
    valid = shares.shape == (len(transforms),) and np.isfinite(shares).all() and (shares >= 0).all()
    if not valid or shares.sum() == 0:
        raise ValueError(
            f"weights must be {len(transforms)} numbers, one an augmentation, none below 0 and "
            f"not all 0, got {weights}."
        )

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = jnp.asarray(image)
        choice, inner = jax.random.split(key)
        _check_same(
            "random_choice", [jax.eval_shape(branch, inner, image) for branch in transforms]
        )
        index = jax.random.choice(choice, len(transforms), p=jnp.asarray(shares / shares.sum()))
        # One branch uses the key: it goes in as data, or debug_key_reuse would count them all.
        kind = jax.random.key_impl(inner)

        def with_key(transform: Augment) -> Augment:
            return lambda data, image: transform(jax.random.wrap_key_data(data, impl=kind), image)

        branches = [with_key(transform) for transform in transforms]
        return jax.lax.switch(index, branches, jax.random.key_data(inner), image)

    return apply


def _check_same(name: str, results: Sequence[Array | jax.ShapeDtypeStruct]) -> None:
    kinds = [(result.shape, str(result.dtype)) for result in results]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"{name} needs one shape and dtype whatever the chance, got {kinds}. Convert or resize "
            "before or after it."
        )
