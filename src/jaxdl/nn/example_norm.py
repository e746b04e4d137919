"""Normalization within an example: nothing is shared by the batch, and nothing is running."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl._checks import check_count, check_not_negative, check_positive
from jaxdl.nn.linear import floating_dtype
from jaxdl.types import Array


class LayerNorm(nn.Module):
    r"""Normalizes the last axes of every example.

    .. math:: y = \gamma (x - \mu) / \sqrt{v + \epsilon} + \beta

    μ and v are the mean and the biased variance over the last ``num_axes`` axes, float32 whatever
    the dtype of x. Parameters ``scale`` and ``bias``, of the shape of these axes.

    Attributes:
        num_axes: the number of axes, from the last; the length of PyTorch's ``normalized_shape``.
        eps: ε, added to the variance.
        use_scale: learn γ.
        use_bias: learn β.
        dtype: dtype of the result; None is that of x, float32 for integers.

    Raises:
        ValueError: a negative ``eps``, or more axes than x has.

    Source: ``torch.nn.LayerNorm``, equal to it. ``flax.linen.LayerNorm`` has ε 1e-6, and a variance
    as a difference of means, which is .33 off where the mean is 1000 deviations.

    >>> norm = LayerNorm()
    >>> y, variables = norm.init_with_output(jax.random.key(0), jnp.array([[1001.0, 1003.0]]))
    >>> print(y.round(3), variables["params"]["scale"].shape)
    [[-1.  1.]] (2,)
    """

    num_axes: int = 1
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "*axes C"]) -> Float[Array, "*axes C"]:
        """Normalizes the last axes.

        Args:
            x: (..., C).

        Returns:
            (..., C).
        """
        check_count(num_axes=self.num_axes)
        check_not_negative(eps=self.eps)
        if self.num_axes > x.ndim:
            raise ValueError(f"x must have num_axes={self.num_axes} axes or more, got {x.shape}.")
        y = _normalize(x, tuple(range(x.ndim - self.num_axes, x.ndim)), self.eps)
        y = _affine(self, y, x.shape[x.ndim - self.num_axes :])
        return y.astype(self.dtype or floating_dtype(x))


class GroupNorm(nn.Module):
    """Normalizes groups of channels of every example, over all its positions.

    Parameters ``scale`` and ``bias`` (C,); the formula is that of :class:`LayerNorm`.

    Attributes:
        num_groups: the number of groups; divides the number of channels.
        eps: ε, added to the variance.
        use_scale: learn γ.
        use_bias: learn β.
        dtype: dtype of the result; None is that of x, float32 for integers.

    Raises:
        ValueError: channels that cannot be divided into the groups, or a negative ``eps``.

    Source: ``torch.nn.GroupNorm``, equal to it; channels come last.

    >>> y, _ = GroupNorm(2).init_with_output(jax.random.key(0), jnp.array([[1.0, 3.0, 5.0, 5.0]]))
    >>> print(y.round(3))
    [[-1.  1.  0.  0.]]
    """

    num_groups: int
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B *axes C"]) -> Float[Array, "B *axes C"]:
        """Normalizes every group of every example.

        Args:
            x: (B, ..., C).

        Returns:
            (B, ..., C).
        """
        check_count(num_groups=self.num_groups)
        check_not_negative(eps=self.eps)
        channels = x.shape[-1]
        if x.ndim < 2 or channels % self.num_groups:
            raise ValueError(
                f"x must have shape (B, ..., C) with C divisible by num_groups={self.num_groups}, "
                f"got {x.shape}."
            )
        grouped = x.reshape(*x.shape[:-1], self.num_groups, channels // self.num_groups)
        axes = (*range(1, x.ndim - 1), x.ndim)  # positions, and the channels of a group
        y = _affine(self, _normalize(grouped, axes, self.eps).reshape(x.shape), (channels,))
        return y.astype(self.dtype or floating_dtype(x))


class InstanceNorm(nn.Module):
    """Normalizes every channel of every example over its positions.

    Parameters ``scale`` and ``bias`` (C,) where they are asked for; the formula is that of
    :class:`LayerNorm`.

    Attributes:
        eps: ε, added to the variance.
        use_scale: learn γ.
        use_bias: learn β.
        dtype: dtype of the result; None is that of x, float32 for integers.

    Raises:
        ValueError: an example with one position, or a negative ``eps``.

    Source: ``torch.nn.InstanceNorm1d`` to ``InstanceNorm3d``, equal to them without running
    statistics; ``affine=True`` is ``use_scale=True, use_bias=True``.

    >>> y, _ = InstanceNorm().init_with_output(jax.random.key(0), jnp.array([[[1.0], [3.0]]]))
    >>> print(y.ravel().round(3))
    [-1.  1.]
    """

    eps: float = 1e-5
    use_scale: bool = False
    use_bias: bool = False
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B *axes C"]) -> Float[Array, "B *axes C"]:
        """Normalizes every channel of every example.

        Args:
            x: (B, ..., C).

        Returns:
            (B, ..., C).
        """
        check_not_negative(eps=self.eps)
        if x.ndim < 3 or math.prod(x.shape[1:-1]) < 2:
            raise ValueError(
                f"x must have shape (B, ..., C) with two positions or more, got {x.shape}."
            )
        y = _affine(self, _normalize(x, tuple(range(1, x.ndim - 1)), self.eps), x.shape[-1:])
        return y.astype(self.dtype or floating_dtype(x))


class RMSNorm(nn.Module):
    r"""Divides the last axes of every example by their root mean square.

    .. math:: y = \gamma x / \sqrt{\overline{x^2} + \epsilon}

    Parameter ``scale``, of the shape of these axes.

    Attributes:
        num_axes: the number of axes, from the last; the length of PyTorch's ``normalized_shape``.
        eps: ε, added to the mean square; None is the machine epsilon of x's dtype.
        use_scale: learn γ.
        dtype: dtype of the result; None is that of x, float32 for integers.

    Raises:
        ValueError: a negative ``eps``, or more axes than x has.

    Source: ``torch.nn.RMSNorm``, equal to it; Zhang & Sennrich 2019.

    >>> y, _ = RMSNorm().init_with_output(jax.random.key(0), jnp.array([[3.0, 4.0]]))
    >>> print((y**2).mean().round(4))
    1.0
    """

    num_axes: int = 1
    eps: float | None = None
    use_scale: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "*axes C"]) -> Float[Array, "*axes C"]:
        """Divides the last axes by their root mean square.

        Args:
            x: (..., C).

        Returns:
            (..., C).
        """
        check_count(num_axes=self.num_axes)
        if self.num_axes > x.ndim:
            raise ValueError(f"x must have num_axes={self.num_axes} axes or more, got {x.shape}.")
        dtype = floating_dtype(x)
        eps = float(jnp.finfo(dtype).eps) if self.eps is None else self.eps
        check_not_negative(eps=eps)
        wide = x.astype(jnp.float32)
        axes = tuple(range(x.ndim - self.num_axes, x.ndim))
        y = wide * jax.lax.rsqrt(jnp.square(wide).mean(axes, keepdims=True) + eps)
        if self.use_scale:
            scale = self.param("scale", nn.initializers.ones, x.shape[x.ndim - self.num_axes :])
            y = y * _leading(scale, x.ndim)
        return y.astype(self.dtype or dtype)


def local_response_norm(
    x: Num[Array, "B *axes C"], size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1
) -> Float[Array, "B *axes C"]:
    r"""Divides every channel by a power of the mean square of its neighbors.

    .. math:: y_c = x_c \Big/ \Big(k + \frac{\alpha}{n} \sum_{c'} x_{c'}^2\Big)^\beta

    The sum has the ``size`` channels around c, n = ``size``; there are zeros outside.

    Args:
        x: (B, ..., C).
        size: the number of channels of a neighborhood.
        alpha: α.
        beta: β.
        k: added to the mean, above 0.

    Returns:
        (B, ..., C).

    Raises:
        ValueError: a number out of range.

    Source: ``torch.nn.functional.local_response_norm`` (AlexNet), equal to it; channels come last.

    >>> print(local_response_norm(jnp.array([[2.0, 0.0, 0.0]]), 1, alpha=1.0, beta=1.0))
    [[0.4 0.  0. ]]
    """
    check_count(size=size)
    check_not_negative(alpha=alpha, beta=beta)
    check_positive(k=k)
    wide = x.astype(jnp.float32)
    window, strides = (1,) * (x.ndim - 1), (1,) * x.ndim
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    total = jax.lax.reduce_window(
        jnp.square(wide), 0.0, jax.lax.add, (*window, size), strides, padding
    )
    outputs: Array = wide / jnp.power(k + alpha * total / size, beta)
    return outputs.astype(floating_dtype(x))


def _normalize(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """x with mean 0 and variance 1 over the axes, in float32; the variance in a second pass."""
    wide = x.astype(jnp.float32)
    centered = wide - wide.mean(axes, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.square(centered).mean(axes, keepdims=True) + eps)


def _affine(
    module: LayerNorm | GroupNorm | InstanceNorm, y: Array, shape: tuple[int, ...]
) -> Array:
    """Applies the module's parameters of a shape."""
    if module.use_scale:
        y = y * _leading(module.param("scale", nn.initializers.ones, shape), y.ndim)
    if module.use_bias:
        y = y + _leading(module.param("bias", nn.initializers.zeros, shape), y.ndim)
    return y


def _leading(array: Array, ndim: int) -> Array:
    """The array with axes of length 1 in front."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)
