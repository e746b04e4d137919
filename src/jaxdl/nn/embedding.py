"""Embedding with PyTorch's padding row, maximum norm and gradient scaled by frequency."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxdl import tree
from jaxdl._checks import check_count, check_positive
from jaxdl.types import Array


class Embed(nn.Module):
    """Table of vectors that are looked up by index; the parameter is ``embedding`` (V, F).

    An index outside 0 to V - 1 gives a row of NaN, negative ones included: under ``jit`` values
    cannot be checked, and a NaN loss is better than another word's vector. PyTorch raises an error.

    Attributes:
        num_embeddings: V, number of rows.
        features: F, length of a row.
        padding_index: index of a row that starts at zero and gets no gradient, so it keeps its
            values; in 0 to V - 1 (PyTorch counts negative ones from the end).
        max_norm: a longer row is used as ``row * max_norm / (norm + 1e-7)``. PyTorch writes the
            shortened row back into its table; here the stored row keeps its length. Values and
            gradients of a call are equal (the gradient is that of the row itself, not of its
            scaling); :func:`jaxdl.optim.max_norm` shortens the stored rows too.
        norm_type: p of the p-norm.
        scale_grad_by_freq: divide the gradient of a row by its number of occurrences in the call.
        dtype: dtype of the result; None is that of the table.
        embedding_init: initializer of the table, PyTorch's N(0, 1).

    Raises:
        ValueError: indices that are not integers, sizes below 1, a padding index outside the table,
            ``max_norm`` or ``norm_type`` that is not positive.

    Source: ``torch.nn.Embedding`` without ``sparse`` gradients. ``flax.linen.Embed`` starts from a
    narrower distribution and has none of the options.

    >>> embed = Embed(10, 3, padding_index=0)
    >>> rows, variables = embed.init_with_output(jax.random.key(0), jnp.array([[4, 3, 0]]))
    >>> rows.shape, rows[0, 2].tolist()
    ((1, 3, 3), [0.0, 0.0, 0.0])
    """

    num_embeddings: int
    features: int
    padding_index: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    dtype: DTypeLike | None = None
    embedding_init: Initializer = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self, indices: Int[Array, "*B"]) -> Float[Array, "*B features"]:
        """Looks rows up.

        Args:
            indices: (...) integers in 0 to V - 1.

        Returns:
            (..., features).
        """
        size = self.num_embeddings
        check_count(num_embeddings=size, features=self.features)
        check_positive(norm_type=self.norm_type)
        if self.max_norm is not None:
            check_positive(max_norm=self.max_norm)
        if self.padding_index is not None and not 0 <= self.padding_index < size:
            raise ValueError(
                f"padding_index must lie in 0 to {size - 1} (num_embeddings - 1), "
                f"got {self.padding_index}."
            )
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise ValueError(f"indices must be integers, got dtype {indices.dtype}.")
        table = self.param("embedding", self._init, (size, self.features))
        (table,) = promote_dtype(table, dtype=self.dtype)
        rows = jnp.take(table, jnp.where(indices < 0, size, indices), axis=0, mode="fill")
        if self.max_norm is not None:
            shortened = tree.shorten_rows(rows, self.max_norm, self.norm_type)
            rows = _straight_through(rows, shortened.astype(rows.dtype))
        if self.padding_index is None and not self.scale_grad_by_freq:
            return rows
        weight = jnp.ones(indices.shape, rows.dtype)
        if self.scale_grad_by_freq:
            counts = jnp.zeros(size, jnp.int32).at[indices].add(1)
            weight = weight / jnp.maximum(counts[indices], 1).astype(rows.dtype)
        if self.padding_index is not None:
            weight = jnp.where(indices == self.padding_index, 0, weight)
        return _scale_gradient(rows, weight[..., None])

    def _init(self, key: Array, shape: tuple[int, int]) -> Array:
        table = self.embedding_init(key, shape)
        return table if self.padding_index is None else table.at[self.padding_index].set(0.0)


@jax.custom_vjp
def _scale_gradient(x: Array, factor: Array) -> Array:
    """``x``, with its gradient multiplied by ``factor``."""
    return x


_scale_gradient.defvjp(lambda x, factor: (x, factor), lambda factor, g: (g * factor, None))


@jax.custom_vjp
def _straight_through(x: Array, value: Array) -> Array:
    """``value``, with the gradient as if it were ``x``."""
    return value


_straight_through.defvjp(lambda x, value: (value, None), lambda _, g: (g, None))
