"""Smaller weights for inference: half precision, int8 with a scale a channel, pruning.

Quantised weights stay int8 in memory and in the file, and become numbers again inside the compiled
model: ``jax.jit(lambda variables, x: model.apply(dequantize(variables), x))``.
"""

import re

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl import _checks, tree
from jaxdl.types import Array, PyTree

KERNELS = r"(^|/)(kernel|transposed_kernel|embedding|kernel_\w+)$"
"""Names of the leaves that are quantised and pruned: those with most of the numbers."""


VALUES, SCALE = "int8", "int8_scale"
"""A quantised leaf's two arrays, by which names they are saved."""


@flax.struct.dataclass
class Quantized:
    """An array as int8 and a scale a channel: ``values * scale``.

    Attributes:
        values: int8 in -127 to 127.
        scale: float32, one number a channel, with size 1 on all other axes.
        dtype: name of the dtype that it had and gets again.
    """

    values: Array
    scale: Array
    dtype: str = flax.struct.field(pytree_node=False, default="float32")


def cast(variables: PyTree, dtype: DTypeLike, *, statistics: bool = False) -> PyTree:
    """Variables with floating-point parameters in another dtype.

    Args:
        variables: of a model, ``{"params": …, "batch_stats": …}``, or bare parameters.
        dtype: ``jnp.bfloat16`` or ``jnp.float16``, half the size of float32.
        statistics: convert ``batch_stats`` too, which are small and lose by it.

    Raises:
        ValueError: a number that is finite and would not be in that dtype; float16 ends at 65,504.

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
        # concrete numbers only: what is traced has none to look at
        if not isinstance(leaf, jax.core.Tracer):
            extreme = np.max(np.abs(np.asarray(leaf, np.float64)), initial=0.0)
            if largest < extreme < np.inf:
                raise ValueError(
                    f"{name} holds {extreme:.4g}, and {jnp.dtype(dtype)} ends at {largest:.4g}; "
                    "take bfloat16."
                )
        return leaf.astype(dtype)

    return jax.tree_util.tree_map_with_path(convert, variables)


def quantize(variables: PyTree, patterns: str | tuple[str, ...] = KERNELS) -> PyTree:
    r"""Variables whose kernels are int8, symmetric, with one scale an output channel.

    .. math:: s_c = \max_i |w_{ic}| / 127, \qquad q_{ic} = \mathrm{round}(w_{ic} / s_c)

    Halves are rounded to even. The error of a weight is at most half a step, :math:`s_c / 2`.
    Biases, norms and statistics stay as they are.

    Args:
        variables: of a model, or bare parameters; concrete arrays.
        patterns: regular expressions of the leaves to quantise; of those only floating-point ones
            with two axes or more. The channel is the last axis, as in Linen's kernels; of an
            ``embedding`` (entries, features) it is the entry, the first.

    Returns:
        the same tree with :class:`Quantized` leaves.

    Raises:
        ValueError: a pattern matches nothing; NaN or infinity in a leaf.

    Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks", section 3.1.2;
    ``torch.ao.quantization.PerChannelMinMaxObserver`` with ``qscheme=per_channel_symmetric``,
    whose int8 reaches to -128.

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
            raise ValueError(f"{name} holds NaN or infinity and cannot be quantised.")
        channel = 0 if name.rpartition("/")[2] == "embedding" else weights.ndim - 1
        others = tuple(axis for axis in range(weights.ndim) if axis != channel)
        largest = np.max(np.abs(weights), axis=others, keepdims=True, initial=0.0)
        # a channel of zeros, or of numbers whose 127th part would vanish, stays zero
        scale = np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)
        values = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        return Quantized(jnp.asarray(values), jnp.asarray(scale), str(leaf.dtype))

    return jax.tree_util.tree_map_with_path(convert, variables, chosen)


def dequantize(variables: PyTree) -> PyTree:
    """Variables as the model takes them: every :class:`Quantized` leaf as numbers again.

    Called inside ``jax.jit``, the int8 stays what is in memory between calls.

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
    """Arrays by name, for :func:`jaxdl.interop.write_safetensors`.

    A quantised ``params/fc/kernel`` becomes ``params/fc/kernel/int8`` and
    ``params/fc/kernel/int8_scale``.

    Raises:
        ValueError: a quantised leaf of another dtype than float32, which the file could not say.
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
            raise ValueError(f"{name} was {leaf.dtype}; quantise float32 weights to save them.")
        arrays[f"{name}/{VALUES}"], arrays[f"{name}/{SCALE}"] = leaf.values, leaf.scale
    return arrays


def from_arrays(arrays: dict[str, Array | np.ndarray]) -> PyTree:
    """The variables that :func:`to_arrays` took apart, such as
    :func:`jaxdl.interop.read_weights` reads them.

    Raises:
        ValueError: int8 without its scale, or another dtype or shape than they have.

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
                f"{parent} must be int8 {VALUES} and float32 {SCALE} of size 1 or its own on each "
                f"axis, got {array.dtype}{list(array.shape)} and "
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
    """Sets the weights of least magnitude to zero.

    Args:
        variables: of a model, or bare parameters; concrete arrays.
        fraction: share of the weights of the chosen leaves to remove, 0 to 1; the number is
            rounded to the nearest. Of equal magnitudes the first ones go.
        patterns: regular expressions of the leaves to prune; of those only ones with two axes or
            more.
        per_layer: remove this share of every leaf; otherwise of all of them together, so that one
            with small weights loses more.

    Returns:
        the pruned variables, and masks: a tree of the same form, True where a weight stays.
        ``jax.tree.map(jnp.multiply, gradients, masks["params"])`` keeps it pruned in training.

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
    """The share of zeros of each kernel by name, and under ``"all"`` that of all of them.

    >>> sparsity({"kernel": jnp.array([[3.0, 0.0], [0.0, 0.0]])})
    {'kernel': 0.75, 'all': 0.75}
    """
    zeros, sizes = {}, {}
    for name, leaf in tree.named_leaves(dequantize(variables)).items():
        if leaf.ndim > 1 and re.search(patterns, name):
            zeros[name], sizes[name] = int(np.sum(np.asarray(leaf) == 0)), leaf.size
    shares = {name: zeros[name] / max(sizes[name], 1) for name in zeros}
    return shares | {"all": sum(zeros.values()) / max(sum(sizes.values()), 1)}
