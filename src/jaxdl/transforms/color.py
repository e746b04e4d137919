"""Color transforms."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real

from jaxdl.transforms._image import (
    Augment,
    Scalar,
    check_images,
    check_range,
    is_known,
    one_image,
    rounded_like,
    to_float,
    to_uint8,
    uniform,
    white,
)
from jaxdl.types import Array

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray, ITU-R 601."""


def invert(image: Real[Array, "*B H W C"]) -> Real[Array, "*B H W C"]:
    """The negative: 255 − x for uint8, 1 − x for floating point.

    Source: ``torchvision.transforms.functional.invert``, ``ImageOps.invert``.

    >>> invert(jnp.array([[[0], [200]]], jnp.uint8)).ravel().tolist()
    [255, 55]
    """
    image = check_images(image)
    return jnp.asarray(white(image), image.dtype) - image


def grayscale(
    image: Real[Array, "*B H W C"], num_channels: int = 1
) -> Real[Array, "*B H W {num_channels}"]:
    """Gray, 0.299 R + 0.587 G + 0.114 B.

    Args:
        image: (..., H, W, C) with 1 or 3 channels; one channel is gray already.
        num_channels: 1, or 3 equal ones.

    Returns:
        (..., H, W, num_channels) in the image's dtype; uint8 rounded as Pillow rounds.

    Raises:
        ValueError: other numbers of channels.

    Source: ``torchvision.transforms.Grayscale``, ``Image.convert("L")`` (equal);
    torchvision's tensors use 0.2989 for red and cut uint8 off.

    >>> grayscale(jnp.array([[[255, 0, 0]]], jnp.uint8)).ravel().tolist()
    [76]
    """
    image = check_images(image, 1, 3)
    if num_channels not in (1, 3):
        raise ValueError(f"num_channels must be 1 or 3, got {num_channels}.")
    if image.shape[-1] == 1:
        gray = image
    elif image.dtype == jnp.uint8:
        whole = image.astype(jnp.int32)
        red, green, blue = (whole[..., channel : channel + 1] for channel in range(3))
        # Pillow's weights in 1 / 65536
        gray = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(jnp.uint8)
    else:
        gray = _gray(image)
    return jnp.repeat(gray, num_channels, axis=-1) if num_channels == 3 else gray


def _gray(image: Array) -> Array:
    """Gray of a floating-point image, (..., H, W, 1)."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = (image[..., channel : channel + 1] for channel in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def mean_gray(image: Array) -> Array:
    """The mean of an image in gray, (..., 1, 1, 1), of uint8 rounded to a whole number."""
    if image.dtype != jnp.uint8:
        # Sums of a product are several times quicker here than those of three added slices.
        weights = jnp.asarray(LUMA if image.shape[-1] == 3 else (1.0,), image.dtype)
        weighted = image * weights.reshape((1,) * (image.ndim - 1) + (-1,))
        return weighted.sum(axis=-1, keepdims=True).mean(axis=(-3, -2), keepdims=True)
    gray = grayscale(image)
    total = gray.astype(jnp.int32).sum(axis=(-3, -2), keepdims=True)
    return jnp.floor(total / (gray.shape[-3] * gray.shape[-2]) + 0.5)


def blend(dull: Scalar, image: Array, factor: Scalar) -> Array:
    """d + f · (x − d), cut to the image's range and, for uint8, to whole numbers."""
    if is_known(factor) and not (factor >= 0 and np.isfinite(factor)):
        raise ValueError(f"factor must be finite and 0 or greater, got {factor}.")
    values = image.astype(jnp.float32) if image.dtype == jnp.uint8 else image
    dull = jnp.asarray(dull).astype(values.dtype)
    factor = jnp.asarray(factor, values.dtype)
    values = (dull + factor * (values - dull)).clip(0, white(image))
    return values.astype(image.dtype)


def adjust_brightness(image: Real[Array, "*B H W C"], factor: Scalar) -> Real[Array, "*B H W C"]:
    """Blends with black: 0 is black, 1 the image, 2 twice as bright.

    Args:
        image: (..., H, W, C).
        factor: 0 or greater; may be traced.

    Raises:
        ValueError: a negative factor.

    Source: ``torchvision.transforms.functional.adjust_brightness``,
    ``ImageEnhance.Brightness``.

    >>> adjust_brightness(jnp.array([[[10], [200]]], jnp.uint8), 1.5).ravel().tolist()
    [15, 255]
    """
    return blend(0.0, check_images(image), factor)


def adjust_contrast(image: Real[Array, "*B H W C"], factor: Scalar) -> Real[Array, "*B H W C"]:
    """Blends with the mean of the image in gray: 0 is flat gray, 1 the image.

    Args:
        image: (..., H, W, C) with 1 or 3 channels.
        factor: 0 or greater; may be traced.

    Raises:
        ValueError: a negative factor, another number of channels.

    Source: ``torchvision.transforms.functional.adjust_contrast``, ``ImageEnhance.Contrast``.

    >>> adjust_contrast(jnp.array([[[100], [200]]], jnp.uint8), 0.5).ravel().tolist()
    [125, 175]
    """
    image = check_images(image, 1, 3)
    return blend(mean_gray(image), image, factor)


def adjust_saturation(image: Real[Array, "*B H W C"], factor: Scalar) -> Real[Array, "*B H W C"]:
    """Blends with the image in gray: 0 is gray, 1 the image, 2 more colorful.

    Args:
        image: (..., H, W, C) with 1 or 3 channels; one channel stays as it is.
        factor: 0 or greater; may be traced.

    Raises:
        ValueError: a negative factor, another number of channels.

    Source: ``torchvision.transforms.functional.adjust_saturation``, ``ImageEnhance.Color``.

    >>> adjust_saturation(jnp.array([[[255, 0, 0]]], jnp.uint8), 0.0).ravel().tolist()
    [76, 76, 76]
    """
    image = check_images(image, 1, 3)
    return blend(grayscale(image), image, factor)


def adjust_hue(image: Real[Array, "*B H W C"], factor: Scalar) -> Real[Array, "*B H W C"]:
    """Turns the colors around the circle of hues; ½ is the opposite color.

    The hue of HSV (0 to 1) becomes hue + factor; saturation and value stay.

    Args:
        image: (..., H, W, C) with 1 or 3 channels; one channel stays as it is.
        factor: −½ to ½; may be traced.

    Raises:
        ValueError: a factor outside its range, another number of channels.

    Source: ``torchvision.transforms.functional.adjust_hue`` of tensors; Pillow rounds hue,
    saturation and value to eight bits between.

    >>> jax.jit(adjust_hue)(jnp.array([[[255, 0, 0]]], jnp.uint8), 1 / 3).ravel().tolist()
    [0, 255, 0]
    """
    image = check_images(image, 1, 3)
    if is_known(factor) and not -0.5 <= factor <= 0.5:
        raise ValueError(f"a factor of hue must lie in -0.5 to 0.5, got {factor}.")
    if image.shape[-1] == 1:
        return image
    values = to_float(image)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    top = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = top - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(chroma > 0, chroma, 1)
    # Compared by order, not with ``top``: XLA may compute a value twice, a last bit apart.
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / divisor,
        jnp.where(green >= blue, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * jnp.asarray(factor, values.dtype)
    channels = []
    for offset in (5, 3, 1):
        place = sixths + offset
        place = place - 6 * jnp.floor(place / 6)
        channels.append(top - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1))
    turned = jnp.stack(channels, axis=-1)
    return to_uint8(turned) if image.dtype == jnp.uint8 else turned


def color_jitter(
    brightness: float | tuple[float, float] = 0.0,
    contrast: float | tuple[float, float] = 0.0,
    saturation: float | tuple[float, float] = 0.0,
    hue: float | tuple[float, float] = 0.0,
) -> Augment:
    """Makes an augmentation that changes the colors by random factors, in a random order.

    Args:
        brightness: v draws the factor from [max(0, 1 − v), 1 + v]; a pair is the range itself.
        contrast: likewise.
        saturation: likewise.
        hue: v ≤ ½ draws from [−v, v]; a pair is the range itself.

    Returns:
        an augmentation; without arguments it changes nothing, as in torchvision.

    Raises:
        ValueError: a negative number, a range that is empty or reaches too far; an image that is
            not (H, W, C) with 1 or 3 channels.

    Source: ``torchvision.transforms.ColorJitter``. uint8 is rounded once, at the end.

    >>> jitter = jax.jit(color_jitter(brightness=(2.0, 2.0)))
    >>> jitter(jax.random.key(0), jnp.array([[[10], [200]]], jnp.uint8)).ravel().tolist()
    [20, 255]
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    ranges = [_factor_range(name, value) for name, value in strengths.items()]
    hues = hue if isinstance(hue, tuple) else (-hue, hue)
    check_range("hue", hues, -0.5, 0.5)
    blends = [number for number, limits in enumerate(ranges) if limits != (1.0, 1.0)]
    has_hue = hues != (0.0, 0.0)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = check_images(one_image(image), 1, 3)
        if not blends and not has_hue:
            return image
        order_key, place_key, hue_key, factor_key = jax.random.split(key, 4)
        limits = jnp.asarray(ranges, jnp.float32).T
        factors = jax.random.uniform(factor_key, (3,), minval=limits[0], maxval=limits[1])
        order = jax.random.permutation(order_key, jnp.asarray(blends, jnp.int32))
        values = to_float(image)
        if not has_hue:
            for which in order:
                values = _one_blend(values, which, factors[which])
            return rounded_like(values * white(image), image)
        # The hue is turned once, after ``place`` of the blends; a factor of 1 leaves one out.
        place = jax.random.randint(place_key, (), 0, len(blends) + 1)
        for number, which in enumerate(order):
            values = _one_blend(values, which, jnp.where(number < place, factors[which], 1.0))
        values = adjust_hue(values, uniform(hue_key, hues))
        for number, which in enumerate(order):
            values = _one_blend(values, which, jnp.where(number < place, 1.0, factors[which]))
        return rounded_like(values * white(image), image)

    return apply


def _one_blend(image: Array, which: Array, factor: Array) -> Array:
    """Brightness (0), contrast (1) or saturation (2), whichever is asked for, in one pass."""
    gray = jnp.where(which == 1, mean_gray(image), grayscale(image))
    return blend(jnp.where(which == 0, 0.0, gray), image, factor)


def _factor_range(name: str, strength: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(strength, tuple):
        check_range(name, strength, 0.0, np.inf)
        return strength
    if not (strength >= 0 and np.isfinite(strength)):
        raise ValueError(f"{name} must be 0 or greater, got {strength}.")
    return max(0.0, 1.0 - strength), 1.0 + strength


def solarize(image: Real[Array, "*B H W C"], threshold: Scalar) -> Real[Array, "*B H W C"]:
    """Inverts what is at or above a threshold.

    Args:
        image: (..., H, W, C).
        threshold: 0 to 255 for uint8, 0 to 1 for floating point; may be traced.

    Raises:
        ValueError: a threshold outside its range.

    Source: ``torchvision.transforms.functional.solarize``, ``ImageOps.solarize`` (equal).

    >>> solarize(jnp.array([[[10], [200]]], jnp.uint8), 128).ravel().tolist()
    [10, 55]
    """
    image = check_images(image)
    if is_known(threshold) and not 0 <= threshold <= white(image):
        raise ValueError(
            f"threshold must lie in 0 to {white(image):.0f} for {image.dtype}, got {threshold}."
        )
    values = image.astype(jnp.float32) if image.dtype == jnp.uint8 else image
    return jnp.where(values >= threshold, invert(image), image)


def posterize(image: Real[Array, "*B H W C"], bits: Scalar) -> Real[Array, "*B H W C"]:
    """Keeps the given number of leading bits of every value.

    Args:
        image: (..., H, W, C); floating point becomes ⌊2ᵇ x⌋ / 2ᵇ.
        bits: b, 0 to 8; may be traced.

    Raises:
        ValueError: bits outside 0 to 8.

    Source: ``torchvision.transforms.v2.functional.posterize``, ``ImageOps.posterize`` (equal).

    >>> posterize(jnp.array([[[127], [200]]], jnp.uint8), 2).ravel().tolist()
    [64, 192]
    """
    image = check_images(image)
    if is_known(bits) and not (0 <= bits <= 8 and bits == int(bits)):
        raise ValueError(f"bits must be a whole number in 0 to 8, got {bits}.")
    if image.dtype == jnp.uint8:
        mask = 255 - (jnp.left_shift(1, 8 - jnp.asarray(bits, jnp.int32)) - 1)
        return image & mask.astype(jnp.uint8)
    steps = jnp.left_shift(1, jnp.asarray(bits, jnp.int32)).astype(image.dtype)
    return jnp.clip(jnp.floor(image * steps), 0, steps - 1) / steps


def autocontrast(image: Real[Array, "*B H W C"]) -> Real[Array, "*B H W C"]:
    """Stretches every channel so that its darkest pixel becomes black and its brightest white.

    x ↦ (x − min) / (max − min), on the scale of the image and cut to whole numbers for uint8; a
    channel of one value stays as it is.

    Args:
        image: (..., H, W, C).

    Source: ``torchvision.transforms.functional.autocontrast``, ``ImageOps.autocontrast``,
    which computes in floating point and so is one level lower for a few values.

    >>> autocontrast(jnp.array([[[50], [75], [100]]], jnp.uint8)).ravel().tolist()
    [0, 127, 255]
    """
    image = check_images(image)
    low = image.min(axis=(-3, -2), keepdims=True)
    high = image.max(axis=(-3, -2), keepdims=True)
    if image.dtype == jnp.uint8:
        whole, low, high = (x.astype(jnp.int32) for x in (image, low, high))
        stretched = (whole - low) * 255 // jnp.maximum(high - low, 1)
        return jnp.where(high > low, stretched, whole).astype(jnp.uint8)
    span = jnp.where(high > low, high - low, 1)
    return jnp.where(high > low, (image - low) / span, image)


def equalize(image: Real[Array, "*B H W C"]) -> Real[Array, "*B H W C"]:
    """Makes the histogram of every channel as even as a function of the values can.

    With h the histogram and s = ⌊(Σ h − its last count above 0) / 255⌋, the value v becomes
    ⌊(⌊s / 2⌋ + Σ_{u < v} h(u)) / s⌋, at most 255; where s is 0 the channel stays as it is.

    Args:
        image: (..., H, W, C); floating point is rounded to 256 levels, as in torchvision.

    Source: ``torchvision.transforms.v2.functional.equalize``, ``ImageOps.equalize`` (equal).

    >>> image = jnp.arange(100, 200, dtype=jnp.uint8).reshape(10, 10, 1)
    >>> jax.jit(equalize)(image).max().item()
    199
    """
    image = check_images(image)
    if image.dtype != jnp.uint8:
        return to_float(equalize(to_uint8(image))).astype(image.dtype)
    return jnp.vectorize(_equalize, signature="(h,w,c)->(h,w,c)")(image)


def _equalize(image: Array) -> Array:
    num_channels = image.shape[-1]
    # one histogram of 256 bins a channel, behind one another
    bins = image.astype(jnp.int32) + 256 * jnp.arange(num_channels).reshape(1, 1, -1)
    counts = (
        jnp.zeros(256 * num_channels, jnp.int32).at[bins.ravel()].add(1, mode="promise_in_bounds")
    )
    counts = counts.reshape(num_channels, 256)
    last = jnp.take_along_axis(
        counts, image.max(axis=(0, 1)).astype(jnp.int32).reshape(-1, 1), axis=1
    )
    step = (image.shape[0] * image.shape[1] - last) // 255
    before = jnp.cumsum(counts, axis=1) - counts
    table = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256).reshape(1, -1)).astype(jnp.uint8)
    return table.ravel().at[bins].get(mode="promise_in_bounds")
