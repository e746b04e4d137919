"""Weight compression for inference: half precision, per-channel int8 quantization, pruning.

Quantized weights stay int8 in memory and on disk and are dequantized inside the compiled model:
``jax.jit(lambda variables, x: model.apply(dequantize(variables), x))``.
"""

import re
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl import _checks, tree
from jaxdl.types import Array, PyTree

KERNELS = r"(^|/)(kernel|transposed_kernel|embedding|kernel_\w+)$"
"""Pattern of the leaves that are quantized and pruned by default."""


VALUES, SCALE = "int8", "int8_scale"
"""Names under which the two arrays of a quantized leaf are saved."""


@flax.struct.dataclass
class Quantized:
    """Array quantized to int8 with one scale per channel: ``values * scale``.

    Attributes:
        values: int8 in -127 to 127.
        scale: float32, one value per channel; size 1 on all other axes.
        dtype: name of the original dtype, which :func:`dequantize` restores.
    """

    values: Array
    scale: Array
    dtype: str = flax.struct.field(pytree_node=False, default="float32")


def cast(variables: PyTree, dtype: DTypeLike, *, statistics: bool = False) -> PyTree:
    """Casts the floating-point parameters of a model to another dtype.

    Args:
        variables: of a model, ``{"params": …, "batch_stats": …}``, or bare parameters.
        dtype: e.g. ``jnp.bfloat16`` or ``jnp.float16``, half the size of float32.
        statistics: cast ``batch_stats`` too, which saves little and loses precision.

    Raises:
        ValueError: a finite value overflows in that dtype; the maximum of float16 is 65,504.

    Source: ``torch.nn.Module.to(dtype)``, which converts statistics and overflows silently.

    >>> cast({"kernel": jnp.ones((2, 3))}, jnp.bfloat16)["kernel"].dtype
    dtype(bfloat16)
    """
    largest = float(jnp.finfo(dtype).max)

    def convert(path: tuple, leaf: Array) -> Array:
        name = tree.leaf_name(path)
        fixed = name.startswith("batch_stats/") and not statistics
        if fixed or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        # traced arrays have no values to check
        if not isinstance(leaf, jax.core.Tracer):
            extreme = np.max(np.abs(np.asarray(leaf, np.float64)), initial=0.0)
            if largest < extreme < np.inf:
                raise ValueError(
                    f"{name} holds {extreme:.4g}, which exceeds the maximum of {jnp.dtype(dtype)}, "
                    f"{largest:.4g}; use bfloat16."
                )
        return leaf.astype(dtype)

    return jax.tree_util.tree_map_with_path(convert, variables)


def quantize(variables: PyTree, patterns: str | tuple[str, ...] = KERNELS) -> PyTree:
    r"""Quantizes kernels to int8, symmetrically, with one scale per output channel.

    .. math:: s_c = \max_i |w_{ic}| / 127, \qquad q_{ic} = \mathrm{round}(w_{ic} / s_c)

    Halves are rounded to even. The error of a weight is at most :math:`s_c / 2`. Biases, norms, and
    statistics are not quantized.

    Args:
        variables: of a model, or bare parameters; concrete arrays.
        patterns: regular expressions of the leaves to quantize; only floating-point leaves with at
            least two axes are. The channel is the last axis, as in Linen's kernels, but the first
            of an ``embedding`` (entries, features).

    Returns:
        The same tree with :class:`Quantized` leaves.

    Raises:
        ValueError: a pattern matches no leaf, or a leaf holds NaN or infinity.

    Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks", section 3.1.2;
    ``torch.ao.quantization.PerChannelMinMaxObserver`` with ``qscheme=per_channel_symmetric``,
    whose range of int8 starts at -128.

    >>> kernel = jnp.array([[1.0, 0.5], [-2.0, 0.25]])
    >>> small = quantize({"kernel": kernel})["kernel"]
    >>> small.values.tolist(), small.scale.shape
    ([[64, 127], [-127, 64]], (1, 2))
    """
    chosen = tree.mask(variables, patterns)

    def convert(path: tuple, leaf: Array, wanted: bool) -> Array | Quantized:
        if not wanted or leaf.ndim < 2 or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        name = tree.leaf_name(path)
        weights = np.asarray(leaf, np.float32)
        if not np.isfinite(weights).all():
            raise ValueError(f"{name} holds NaN or infinity and cannot be quantized.")
        channel = 0 if name.rpartition("/")[2] == "embedding" else weights.ndim - 1
        others = tuple(axis for axis in range(weights.ndim) if axis != channel)
        largest = np.max(np.abs(weights), axis=others, keepdims=True, initial=0.0)
        # a scale of 0, or one that underflows, would divide by zero
        scale = np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)
        values = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        return Quantized(jnp.asarray(values), jnp.asarray(scale), str(leaf.dtype))

    return jax.tree_util.tree_map_with_path(convert, variables, chosen)


def dequantize(variables: PyTree) -> PyTree:
    """Dequantizes every :class:`Quantized` leaf, so that a model can take the variables.

    Call it inside ``jax.jit``, so that only int8 stays in memory between calls.

    >>> kernel = jnp.array([[1.0, -0.5], [-1.0, 0.5]])
    >>> dequantize(quantize({"kernel": kernel}))["kernel"].tolist()
    [[1.0, -0.5], [-1.0, 0.5]]
    """

    def restore(leaf: Array | Quantized) -> Array:
        if not isinstance(leaf, Quantized):
            return leaf
        return (leaf.values.astype(jnp.float32) * leaf.scale).astype(leaf.dtype)

    return jax.tree.map(restore, variables, is_leaf=lambda leaf: isinstance(leaf, Quantized))


def to_arrays(variables: PyTree) -> dict[str, Array]:
    """Flattens variables to arrays by name, for :func:`jaxdl.interop.write_safetensors`.

    A quantized ``params/fc/kernel`` becomes ``params/fc/kernel/int8`` and
    ``params/fc/kernel/int8_scale``.

    Raises:
        ValueError: a quantized leaf was not float32; the file has no place for its dtype.
    """
    arrays: dict[str, Array] = {}
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        variables, is_leaf=lambda leaf: isinstance(leaf, Quantized)
    )
    for path, leaf in leaves:
        name = tree.leaf_name(path)
        if not isinstance(leaf, Quantized):
            arrays[name] = leaf
            continue
        if leaf.dtype != "float32":
            raise ValueError(f"{name} was {leaf.dtype}; quantize float32 weights to save them.")
        arrays[f"{name}/{VALUES}"], arrays[f"{name}/{SCALE}"] = leaf.values, leaf.scale
    return arrays


def from_arrays(arrays: Mapping[str, Array | np.ndarray]) -> PyTree:
    """Inverse of :func:`to_arrays`, e.g. of arrays from :func:`jaxdl.interop.read_weights`.

    Raises:
        ValueError: int8 values without their scale, or with one of another dtype or shape.

    >>> variables = quantize({"params": {"fc": {"kernel": jnp.ones((3, 2))}}})
    >>> from_arrays(to_arrays(variables))["params"]["fc"]["kernel"].values.dtype
    dtype('int8')
    """
    leaves: dict[str, Array | Quantized] = {}
    for name, array in arrays.items():
        parent, _, last = name.rpartition("/")
        if last == SCALE and f"{parent}/{VALUES}" in arrays:
            continue
        if last != VALUES:
            leaves[name] = jnp.array(array)
            continue
        scale = arrays.get(f"{parent}/{SCALE}")
        fits = (
            scale is not None
            and (array.dtype, scale.dtype) == (np.int8, np.float32)
            and array.ndim == scale.ndim
            and all(size in (1, full) for size, full in zip(scale.shape, array.shape, strict=True))
        )
        if not fits:
            raise ValueError(
                f"{parent} must be int8 {VALUES} and float32 {SCALE} of size 1 or of the same "
                f"size on each axis, got {array.dtype}{list(array.shape)} and "
                f"{'nothing' if scale is None else f'{scale.dtype}{list(scale.shape)}'}."
            )
        leaves[parent] = Quantized(jnp.array(array), jnp.array(scale))
    return tree.nested(leaves)


def prune(
    variables: PyTree,
    fraction: float,
    *,
    patterns: str | tuple[str, ...] = KERNELS,
    per_layer: bool = False,
) -> tuple[PyTree, PyTree]:
    """Prunes the weights of smallest magnitude, i.e. sets them to zero.

    Args:
        variables: of a model, or bare parameters; concrete arrays.
        fraction: fraction of the weights to prune, 0 to 1; their number is rounded. Among equal
            magnitudes, the first ones are pruned.
        patterns: regular expressions of the leaves to prune; only those with at least two axes are.
        per_layer: prune this fraction of each leaf; by default, of all leaves together, so that
            leaves with smaller weights lose more of them.

    Returns:
        The pruned variables, and masks of the same structure, True where a weight is kept.
        ``jax.tree.map(jnp.multiply, gradients, masks["params"])`` keeps weights pruned in training.

    Raises:
        ValueError: a fraction outside 0 to 1, or a pattern that matches nothing.

    Source: ``torch.nn.utils.prune.global_unstructured`` with ``L1Unstructured``, and
    ``l1_unstructured`` (``per_layer``); Han et al. 2015.

    >>> pruned, masks = prune({"kernel": jnp.array([[3.0, -1.0], [0.5, 2.0]])}, 0.5)
    >>> pruned["kernel"].tolist(), masks["kernel"].tolist()
    ([[3.0, 0.0], [0.0, 2.0]], [[True, False], [False, True]])
    """
    _checks.check_fraction(fraction=fraction)
    chosen = tree.named_leaves(tree.mask(variables, patterns))
    leaves = {name: np.asarray(leaf) for name, leaf in tree.named_leaves(variables).items()}
    names = [name for name, leaf in leaves.items() if chosen[name] and leaf.ndim > 1]
    groups = [[name] for name in names] if per_layer else [names] if names else []
    masks = {name: np.ones(leaf.shape, bool) for name, leaf in leaves.items()}
    for group in groups:
        magnitudes = np.concatenate(
            [np.abs(leaves[name].astype(np.float64)).ravel() for name in group]
        )
        kept = np.ones(magnitudes.size, bool)
        kept[np.argsort(magnitudes, kind="stable")[: round(fraction * magnitudes.size)]] = False
        ends = np.cumsum([leaves[name].size for name in group])[:-1]
        for name, part in zip(group, np.split(kept, ends), strict=True):
            masks[name] = part.reshape(leaves[name].shape)

    def take(path: tuple, leaf: Array) -> Array:
        return jnp.asarray(masks[tree.leaf_name(path)])

    masks_tree = jax.tree_util.tree_map_with_path(take, variables)
    pruned = jax.tree.map(
        lambda leaf, mask: jnp.where(mask, leaf, jnp.zeros_like(leaf)), variables, masks_tree
    )
    return pruned, masks_tree


def sparsity(variables: PyTree, patterns: str = KERNELS) -> dict[str, float]:
    """The fraction of zeros in each kernel, by name, and in all of them (``"all"``).

    >>> sparsity({"kernel": jnp.array([[3.0, 0.0], [0.0, 0.0]])})
    {'kernel': 0.75, 'all': 0.75}
    """
    zeros, sizes = {}, {}
    for name, leaf in tree.named_leaves(dequantize(variables)).items():
        if leaf.ndim > 1 and re.search(patterns, name):
            zeros[name], sizes[name] = int(np.sum(np.asarray(leaf) == 0)), leaf.size
    shares = {name: zeros[name] / max(sizes[name], 1) for name in zeros}
    return shares | {"all": sum(zeros.values()) / max(sum(sizes.values()), 1)}
