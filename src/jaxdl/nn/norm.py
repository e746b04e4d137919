"""Normalization layers."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_count, check_fraction, check_not_negative, check_shape
from jaxdl.nn.linear import floating_dtype, trailing
from jaxdl.types import Array, PyTree

INITIAL_ITERATIONS = 15
"""Power iterations of :class:`SpectralNorm` at the start, as in PyTorch."""


class BatchNorm(nn.Module):
    r"""Normalizes every channel over the batch.

    .. math:: y = \gamma (x - \mu) / \sqrt{v + \epsilon} + \beta

    In training μ and v are the mean and the biased variance of the batch, and the running ones
    follow them: ``running = (1 - momentum) * running + momentum * batch``, the running variance
    with the unbiased estimate, n / (n - 1). In evaluation μ and v are the running ones. Statistics
    are float32 whatever the dtype of x.

    Parameters ``scale`` and ``bias``; collection ``batch_stats`` with ``mean`` and ``var``.

    Attributes:
        momentum: weight of a batch in the running statistics, PyTorch's momentum (Linen's is one
            minus it).
        eps: ε, added to the variance.
        axis_name: axis of ``vmap`` or ``shard_map`` whose members share their statistics, as
            ``torch.nn.SyncBatchNorm``. Under ``jit`` with a sharded batch they do anyway.
        dtype: dtype of the result; None is that of x, float32 for integers.
        scale_init: initializer of γ.

    Raises:
        ValueError: a mask of another shape, a momentum outside [0, 1].

    Source: ``torch.nn.BatchNorm1d`` and ``BatchNorm2d``. Where a batch has one value per channel
    PyTorch raises an error; here the result is β and the running statistics stay.

    >>> norm, x = BatchNorm(), jnp.array([[1.0], [3.0]])
    >>> variables = norm.init(jax.random.key(0), x)
    >>> y, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
    >>> print(y[:, 0].round(3), updated["batch_stats"]["mean"])
    [-1.  1.] [0.2]
    """

    momentum: float = 0.1
    eps: float = 1e-5
    axis_name: str | None = None
    dtype: DTypeLike | None = None
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B *axes C"],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B *axes C"]:
        """Normalizes, and in training updates the running statistics.

        Args:
            x: (B, ..., C).
            mask: (B,), 0 for padded examples, which are normalized but not counted.
            train: use the statistics of the batch.

        Returns:
            (B, ..., C).
        """
        check_fraction(momentum=self.momentum)
        check_not_negative(eps=self.eps)
        if mask is not None:
            check_shape("mask", mask, x.shape[:1])
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if train and not self.is_initializing():
            batch_mean, batch_var, count = self._statistics(x, mask)
            unbiased = batch_var * count / jnp.maximum(count - 1, 1)
            weight = jnp.where(count > 1, self.momentum, 0.0)
            mean.value = mean.value + weight * (batch_mean - mean.value)
            var.value = var.value + weight * (unbiased - var.value)
        else:
            batch_mean, batch_var = mean.value, var.value
        factor = scale.astype(jnp.float32) * jax.lax.rsqrt(batch_var + self.eps)
        wide = x.astype(jnp.float32) - trailing(batch_mean, x.ndim)
        outputs = wide * trailing(factor, x.ndim) + trailing(bias.astype(jnp.float32), x.ndim)
        return outputs.astype(self.dtype or floating_dtype(x))

    def _statistics(self, x: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        """Mean and biased variance of every channel, and the number of values in each."""
        axes = tuple(range(x.ndim - 1))
        x = x.astype(jnp.float32)
        weights = None
        count = jnp.array(float(x.size // x.shape[-1]))
        if mask is not None:
            real = (mask > 0).astype(jnp.float32)
            weights = real.reshape(-1, *(1,) * (x.ndim - 1))
            count = real.sum() * float(x.size // (x.shape[0] * x.shape[-1]))

        def total(values: Array) -> Array:
            # where, not a product: padding that overflowed must not turn the sum into NaN
            return (values if weights is None else jnp.where(weights > 0, values, 0.0)).sum(axes)

        totals = total(x)
        if self.axis_name is not None:
            totals, count = jax.lax.psum((totals, count), self.axis_name)
        divisor = jnp.maximum(count, 1)
        mean = totals / divisor
        squares = total(jnp.square(x - trailing(mean, x.ndim)))
        if self.axis_name is not None:
            squares = jax.lax.psum(squares, self.axis_name)
        return mean, squares / divisor, count


class SpectralNorm(nn.Module):
    r"""Divides every kernel of a layer by an estimate of its largest singular value.

    .. math:: \bar W = W / \sigma,\quad \sigma = u^T W v,\quad
              u \leftarrow \frac{W v}{\|W v\|},\quad v \leftarrow \frac{W^T u}{\|W^T u\|}

    W is the kernel as a matrix (outputs, everything else). A call in training takes
    ``num_iterations`` steps of the power method and keeps u and v; they are constants for the
    gradient. Biases and other vectors are left alone.

    Collection ``spectral_norm`` with ``kernel_u`` and ``kernel_v``; the layer's parameters have the
    names that they have without the wrapper.

    Attributes:
        layer: the wrapped module, ``SpectralNorm(Conv(64, (4, 4)))``.
        num_iterations: steps of the power method per call in training.
        eps: minimum length that u and v are divided by.

    Raises:
        ValueError: a layer whose kernel is not one of "kernel", "transposed_kernel", "embedding";
            ``num_iterations`` below 1.

    Source: ``torch.nn.utils.parametrizations.spectral_norm`` (Miyato et al. 2018).
    ``flax.linen.SpectralNorm`` steps half an iteration later, does so in evaluation too, keeps no v
    and starts from a random u instead of 15 iterations.

    >>> from jaxdl.nn import Dense
    >>> layer = SpectralNorm(Dense(3, use_bias=False, kernel_init=nn.initializers.ones))
    >>> outputs, _ = layer.init_with_output(jax.random.key(0), jnp.eye(3))
    >>> print(outputs[0].round(4))  # ones (3, 3) have the singular value 3
    [0.3333 0.3333 0.3333]
    """

    layer: nn.Module
    num_iterations: int = 1
    eps: float = 1e-12

    @nn.compact
    def __call__(self, *args: PyTree, train: bool = False, **kwargs: PyTree) -> PyTree:
        """Calls the layer with normalized kernels.

        Args:
            *args: inputs of the layer: (B, ..., C) for a dense or convolutional one.
            train: update u (D,) and v (K,) of every kernel, which is (D, K) as a matrix.
            **kwargs: keyword arguments of the layer.

        Returns:
            the layer's outputs: (B, ..., D) for D features.
        """
        check_count(num_iterations=self.num_iterations)
        check_not_negative(eps=self.eps)

        def normalize(params: PyTree) -> PyTree:
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: self._divide(path[-1].key, leaf, train), params
            )

        call: Callable[[nn.Module], PyTree] = nn.map_variables(
            lambda layer: layer(*args, **kwargs),
            "params",
            normalize,
            init=self.is_initializing(),
            mutable=True,
        )
        return call(self.layer)

    def _divide(self, name: str, weight: Array, train: bool) -> Array:
        if weight.ndim < 2:
            return weight
        matrix = _matrix(name, weight).astype(jnp.float32)
        fixed = jax.lax.stop_gradient(matrix)
        u = self.variable("spectral_norm", f"{name}_u", lambda: self._start(fixed.shape[0]))
        v = self.variable("spectral_norm", f"{name}_v", lambda: self._start(fixed.shape[1]))
        steps = 0
        if self.is_initializing():
            steps = INITIAL_ITERATIONS
        elif train:
            steps = self.num_iterations
        for _ in range(steps):
            u.value = _normalized(fixed @ v.value, self.eps)
            v.value = _normalized(fixed.T @ u.value, self.eps)
        sigma = u.value @ (matrix @ v.value)
        return (weight / sigma).astype(weight.dtype)

    def _start(self, size: int) -> Array:
        return _normalized(jax.random.normal(self.make_rng("params"), (size,)), self.eps)


def _matrix(name: str, weight: Array) -> Array:
    """(outputs, the rest); for an embedding (V, F) as it is."""
    if name == "embedding":
        return weight
    if name in ("kernel", "transposed_kernel"):
        return weight.reshape(-1, weight.shape[-1]).T
    raise ValueError(
        "SpectralNorm supports layers with a kernel, transposed_kernel or embedding, got "
        f"{name!r} of shape {weight.shape}."
    )


def _normalized(vector: Array, eps: float) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), eps)
