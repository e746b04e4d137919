"""Functions that move pixels and channels, without parameters."""

import jax.numpy as jnp
from jaxtyping import Shaped

from jaxdl._checks import check_count
from jaxdl.types import Array


def pixel_shuffle(
    x: Shaped[Array, "*B H W C"], factor: int
) -> Shaped[Array, "*B height width channels"]:
    """Moves channels into positions: (H, W, C·r²) becomes (H·r, W·r, C).

    Args:
        x: (..., H, W, C·r²).
        factor: r.

    Returns:
        (..., H·r, W·r, C).

    Raises:
        ValueError: channels that cannot be divided by r², or fewer than three axes.

    Source: ``torch.nn.PixelShuffle`` (Shi et al. 2016), equal to it: channel c·r² + i·r + j of the
    input is row i and column j of channel c. Channels come last.

    >>> print(pixel_shuffle(jnp.arange(4).reshape(1, 1, 4), 2)[..., 0])
    [[0 1]
     [2 3]]
    """
    check_count(factor=factor)
    if x.ndim < 3 or x.shape[-1] % factor**2:
        raise ValueError(
            f"x must have shape (..., H, W, C) with C divisible by factor² = {factor**2}, "
            f"got {x.shape}."
        )
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height, width, channels // factor**2, factor, factor)
    first = len(batch)
    x = jnp.moveaxis(x, (-2, -1), (first + 1, first + 3))  # (..., H, r, W, r, C)
    return x.reshape(*batch, height * factor, width * factor, channels // factor**2)


def pixel_unshuffle(
    x: Shaped[Array, "*B height width channels"], factor: int
) -> Shaped[Array, "*B H W C"]:
    """Moves positions into channels: the inverse of :func:`pixel_shuffle`.

    Args:
        x: (..., H·r, W·r, C).
        factor: r.

    Returns:
        (..., H, W, C·r²).

    Raises:
        ValueError: a height or width that cannot be divided by r, or fewer than three axes.

    Source: ``torch.nn.PixelUnshuffle``, equal to it. Channels come last.

    >>> print(pixel_unshuffle(jnp.array([[[0], [1]], [[2], [3]]]), 2))
    [[[0 1 2 3]]]
    """
    check_count(factor=factor)
    if x.ndim < 3 or x.shape[-3] % factor or x.shape[-2] % factor:
        raise ValueError(
            f"x must have shape (..., H, W, C) with H and W divisible by factor={factor}, "
            f"got {x.shape}."
        )
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height // factor, factor, width // factor, factor, channels)
    first = len(batch)
    x = jnp.moveaxis(x, (first + 1, first + 3), (-2, -1))  # (..., H, W, C, r, r)
    return x.reshape(*batch, height // factor, width // factor, channels * factor**2)


def channel_shuffle(x: Shaped[Array, "*B C"], num_groups: int) -> Shaped[Array, "*B C"]:
    """Interleaves groups of channels: (groups, C/groups) transposed.

    Args:
        x: (..., C).
        num_groups: divides C.

    Returns:
        (..., C).

    Raises:
        ValueError: channels that cannot be divided into the groups.

    Source: ``torch.nn.ChannelShuffle`` (ShuffleNet), equal to it. Channels come last.

    >>> print(channel_shuffle(jnp.arange(6), 2))
    [0 3 1 4 2 5]
    """
    check_count(num_groups=num_groups)
    if not x.ndim or x.shape[-1] % num_groups:
        raise ValueError(
            f"x must have shape (..., C) with C divisible by num_groups={num_groups}, "
            f"got {x.shape}."
        )
    grouped = x.reshape(*x.shape[:-1], num_groups, x.shape[-1] // num_groups)
    return grouped.swapaxes(-1, -2).reshape(x.shape)
