"""Spectral normalisation: a layer whose matrix has largest singular value 1."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.checks import check_positive
from jaxdl.types import Array

INITIAL_ITERATIONS = 15
"""Power iterations at the start, as in PyTorch."""


class SpectralNorm(nn.Module):
    r"""A layer with every kernel divided by an estimate of its largest singular value.

    .. math:: \bar W = W / \sigma,\quad \sigma = u^T W v,\quad
              u \leftarrow \frac{W v}{\|W v\|},\quad v \leftarrow \frac{W^T u}{\|W^T u\|}

    W is the kernel as a matrix (outputs, everything else). A call in training takes one step of the
    power method and keeps u and v; the gradient takes them for constants. Biases and other vectors
    are left alone.

    Args of the call: those of the layer, and train. Returns: what the layer returns.

    Attributes:
        layer: the module around which this stands, ``SpectralNorm(Conv(64, (4, 4)))``.
        num_iterations: steps of the power method a call in training.
        epsilon: least length that u and v are divided by.

    Collection ``spectral_norm`` with ``kernel_u`` and ``kernel_v``; the layer's parameters stand
    where they would without the wrapper.

    Raises:
        ValueError: a layer whose kernel is not one of "kernel", "transposed_kernel", "embedding";
            ``num_iterations`` below 1.

    Source: ``torch.nn.utils.parametrizations.spectral_norm`` (Miyato et al. 2018), equal to it.
    Linen's ``SpectralNorm`` steps half an iteration later, does so in evaluation too, keeps no v
    and starts from a random u instead of 15 iterations.

    >>> from jaxdl.nn import Dense
    >>> layer = SpectralNorm(Dense(3, use_bias=False, kernel_init=nn.initializers.ones))
    >>> outputs, _ = layer.init_with_output(jax.random.key(0), jnp.eye(3))
    >>> print(outputs[0].round(4))  # ones (3, 3) have the singular value 3
    [0.3333 0.3333 0.3333]
    """

    layer: nn.Module
    num_iterations: int = 1
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, *args: Any, train: bool = False, **kwargs: Any) -> Any:
        check_positive(num_iterations=self.num_iterations)

        def normalise(params: Any) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: self._divide(path[-1].key, leaf, train), params
            )

        call = nn.map_variables(
            lambda layer: layer(*args, **kwargs),
            "params",
            normalise,
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
            u.value = _normalised(fixed @ v.value, self.epsilon)
            v.value = _normalised(fixed.T @ u.value, self.epsilon)
        sigma = u.value @ (matrix @ v.value)
        return (weight / sigma).astype(weight.dtype)

    def _start(self, size: int) -> Array:
        return _normalised(jax.random.normal(self.make_rng("params"), (size,)), self.epsilon)


def _matrix(name: str, weight: Array) -> Array:
    """(outputs, the rest); for an embedding (V, F) as it is."""
    if name == "embedding":
        return weight
    if name in ("kernel", "transposed_kernel"):
        return weight.reshape(-1, weight.shape[-1]).T
    raise ValueError(
        f"SpectralNorm knows the outputs' axis of kernel, transposed_kernel and embedding, got "
        f"{name!r} of shape {weight.shape}."
    )


def _normalised(vector: Array, epsilon: float) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)
