"""State dicts of PyTorch as Linen variables, and back."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jaxdl import tree
from jaxdl._loading import LoadReport, fill
from jaxdl.interop._layouts import Entry, entries, normal, to_linen, to_torch
from jaxdl.interop._transfer import transfer
from jaxdl.types import PyTree

COUNTER = "num_batches_tracked"
"""PyTorch's BatchNorm counts its batches; Linen's has nothing to compare."""


Renames = Sequence[tuple[str, str]]


def params_from_torch(state_dict: Mapping[str, Any], like: PyTree) -> PyTree:
    """Linen variables with the weights of a PyTorch state_dict, where every array fits.

    Args:
        state_dict: arrays or tensors by PyTorch's names.
        like: variables of the model, concrete or from ``jax.eval_shape(model.init, ...)``: says
            names, shapes and dtypes.

    Returns:
        a tree like ``like``.

    Raises:
        ValueError: as :func:`load_state_dict`, which can rename, convert and leave out.

    Source: ``torch.nn.Module.load_state_dict(strict=True)``.

    >>> like = {"params": {"fc": {"kernel": jnp.zeros((3, 2))}}}
    >>> weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> params_from_torch({"fc.weight": weight}, like)["params"]["fc"]["kernel"].tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    return load_state_dict(state_dict, like)[0]


def load_state_dict(
    state_dict: Mapping[str, Any],
    like: PyTree,
    *,
    strict: bool = True,
    leave_out: str | Sequence[str] = (),
    renames: Renames = (),
    prefix: str | None = None,
    tied: Mapping[str, str] | None = None,
    dtype: Any = None,
) -> tuple[PyTree, LoadReport]:
    r"""Linen variables with the weights of a PyTorch state_dict, and a report of what fitted.

    Args:
        state_dict: arrays or tensors by PyTorch's names; ``num_batches_tracked`` is not looked at.
        like: variables of the model: says names, shapes and dtypes. What is not loaded stays as it
            is here; where everything is loaded, ``jax.eval_shape(model.init, ...)`` will do.
        strict: refuse anything missing, unexpected or of another shape. Otherwise what fits by name
            and shape is loaded, and the rest is in the report.
        leave_out: regular expressions, searched for in our names (``params/fc/kernel``) and
            PyTorch's: with ``leave_out="fc"`` a new head keeps its initial weights.
        renames: pairs of regular expression and replacement, applied one after the other to
            PyTorch's names (``re.sub``) to make them ours: ``[(r"^0\.", "Dense_0.")]``.
        prefix: load only what stands under this prefix, ``"backbone."`` say, and take it off. None
            finds out: one that all names have in common (``module.`` of ``DataParallel``) is taken
            off where more names fit without it. An empty one takes nothing off.
        tied: PyTorch's second name of an array that the model has once, as
            ``{"lm_head.weight": "wte.weight"}``. Where the state_dict has both, they must be equal.
        dtype: convert floating-point numbers to it, but running statistics (``batch_stats``) to
            the dtype they have in ``like``. None converts nothing: dtypes must agree. Integers
            change their width where all values fit.

    Returns:
        variables like ``like``, whose arrays are copies, and the :class:`LoadReport`.

    Raises:
        ValueError: strict, and something does not fit; nothing fits at all; a leaf of
            ``jax.eval_shape`` that is not loaded; dtypes that differ while no ``dtype`` is asked
            for; a pattern or prefix that matches nothing; tied arrays that differ; two names that
            differ only by dots and underscores.

    Source: ``torch.nn.Module.load_state_dict``, which converts dtypes silently and with
    ``strict=False`` still refuses another shape.

    >>> like = {"params": {"fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}}
    >>> weight = np.ones((2, 3), np.float32)
    >>> _, report = load_state_dict({"module.fc.weight": weight}, like, strict=False)
    >>> print(report)
    loaded 1 of 2 leaves (6 numbers)
    prefix 'module.' taken off PyTorch's names
    missing in the state_dict, 1:
      params/fc/bias: no fc.bias of shape (2,)
    """
    leave_out = [leave_out] if isinstance(leave_out, str) else list(leave_out)
    if dtype is not None and jax.dtypes.canonicalize_dtype(dtype) != np.dtype(dtype):
        raise ValueError(f"JAX has no {np.dtype(dtype)} unless jax_enable_x64 is on.")
    leaves = tree.named_leaves(like)
    arrays = _untie(state_dict, tied or {})
    _check_patterns(leave_out, [*leaves, *arrays])
    names = _resolve(list(arrays), like, renames, prefix)

    views: dict[str, np.ndarray] = {}
    targets: dict[str, Any] = {}
    loaded: dict[str, str] = {}
    mismatched: dict[str, str] = {}
    absent: list[Entry] = []
    left_out = list(names.outside)
    other_dtypes: list[str] = []
    unused = dict(names.found)
    for entry in entries(like, names.found):
        source = unused.pop(normal(entry.name), None)
        both = [*entry.leaves, *([source] if source else [])]
        if any(_matches(leave_out, name) for name in both):
            left_out += both
            continue
        if source is None:
            absent.append(entry)
            continue
        array = _to_numpy(source, arrays[source])
        if array.shape != entry.shape:
            words = f"{source} has shape {array.shape}, expected {entry.shape}"
            mismatched.update(dict.fromkeys(entry.leaves, words))
            continue
        for leaf, part in to_linen(entry, array).items():
            target = _target_dtype(leaf, part, leaves[leaf].dtype, dtype)
            if target is None:
                other_dtypes.append(f"{source} is {array.dtype}, {leaf} is {leaves[leaf].dtype}")
                continue
            views[leaf], targets[leaf] = part, target
            loaded[leaf] = source
    left_out += [source for source in unused.values() if _matches(leave_out, source)]
    rest = [
        source
        for source in unused.values()
        if not source.endswith(COUNTER) and source not in left_out
    ]
    report = LoadReport(
        loaded=loaded,
        missing={
            leaf: _about_missing(entry, rest, arrays) for entry in absent for leaf in entry.leaves
        },
        unexpected={source: _about_unexpected(source, arrays, loaded) for source in rest},
        mismatched=mismatched,
        left_out=tuple(left_out),
        prefix=names.prefix,
        num_values=sum(view.size for view in views.values()),
    )
    if other_dtypes:
        raise ValueError(
            "dtypes differ, and nothing is converted unasked; ask for it with dtype=, "
            f"jnp.float32 say:\n  {tree.shorten(other_dtypes)}"
        )
    if strict and not report.fits:
        raise ValueError(
            f"the state_dict does not fit the model:\n{report}\n"
            "Rename (renames=), take off a prefix (prefix=), leave out what is meant to differ "
            "(leave_out=), or load only what fits (strict=False)."
        )
    if not loaded and not leaves.keys() <= set(left_out):
        raise ValueError(f"no array of the state_dict fits the model:\n{report}")
    return fill(like, transfer(views, targets)), report


def params_to_torch(
    variables: PyTree,
    names: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    renames: Renames = (),
    prefix: str | None = None,
    tied: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """The weights of Linen variables by PyTorch's names and in its layouts.

    Args:
        variables: of a model, ``{"params": …, "batch_stats": …}``.
        names: PyTorch's names as its model spells them, ``module.state_dict()`` say; the result has
            them in that order. None spells them by :func:`~jaxdl.interop._layouts.torch_name`.
        renames: as for :func:`load_state_dict`, from the names in ``names`` to ours.
        prefix: likewise.
        tied: as for :func:`load_state_dict`; the second name gets the same numbers.

    Returns:
        arrays by name, each a copy of its own. ``torch.from_numpy`` takes them, but for bfloat16
        ones, which travel by :func:`~jaxdl.interop.weight_files.write_safetensors`.
        ``num_batches_tracked``, which only a BatchNorm without momentum uses, is that of ``names``
        where these are a state_dict, else 0.

    Raises:
        ValueError: leaves that ``names`` does not have, names that the variables do not have, or
            other shapes.

    Source: ``torch.nn.Module.state_dict``.

    >>> variables = {"params": {"fc": {"kernel": jnp.arange(6.0).reshape(3, 2)}}}
    >>> params_to_torch(variables)["fc.weight"].tolist()
    [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    """
    leaves, tied = tree.named_leaves(variables), tied or {}
    result: dict[str, np.ndarray] = {}
    if names is None:
        if renames or prefix:
            raise ValueError("renames and prefix start from PyTorch's names: give names= too.")
        for entry in entries(variables):
            if entry.name in result:
                raise ValueError(f"two leaves would be {entry.name}: give names=.")
            result[entry.name] = to_torch(entry, leaves)
            if entry.name.endswith("running_var"):
                counter = f"{entry.name.removesuffix('running_var')}{COUNTER}"
                result[counter] = np.zeros((), np.int64)
        return _tie(result, tied)

    template = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
    sources = [name for name in template if not name.endswith(COUNTER) and name not in tied]
    resolved = _resolve(sources, variables, renames, prefix)
    unused = dict(resolved.found)
    found, problems = {}, []
    for entry in entries(variables, resolved.found):
        source = unused.pop(normal(entry.name), None)
        if source is None:
            problems.append(f"no name for {', '.join(entry.leaves)}; looked for {entry.name}")
            continue
        found[source] = entry
        expected = tuple(getattr(template[source], "shape", entry.shape))
        if entry.shape != expected:
            problems.append(f"{source}: the model's has shape {entry.shape}, names says {expected}")
    problems += [f"no leaf for {name}" for name in (*unused.values(), *resolved.outside)]
    if problems:
        raise ValueError(f"the names do not fit the variables:\n  {tree.shorten(problems, 20)}")
    for name, value in template.items():
        if name in found:
            result[name] = to_torch(found[name], leaves)
        elif name.endswith(COUNTER):
            result[name] = np.array(0 if value is None else int(value), np.int64)
    result = _tie(result, tied)
    return {name: result[name] for name in template}


class _Names(NamedTuple):
    """PyTorch's names by their normal form, those outside the prefix, and the prefix."""

    found: dict[str, str]
    outside: tuple[str, ...]
    prefix: str


def _resolve(names: Sequence[str], like: PyTree, renames: Renames, prefix: str | None) -> _Names:
    outside: tuple[str, ...] = ()
    if prefix is None:
        prefix = _common_prefix(names, like, renames)
    elif prefix:
        outside = tuple(name for name in names if not name.startswith(prefix))
        if len(outside) == len(names):
            heads = sorted({name.split(".")[0] for name in names})
            raise ValueError(f"no name starts with {prefix!r}; they start with {heads[:20]}.")
    found: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        if not name.startswith(prefix):
            continue
        key = normal(_rename(name.removeprefix(prefix), renames, used))
        if key in found:
            raise ValueError(
                f"{found[key]} and {name} are the same name here, {key}; rename one of them "
                "(renames=) or take it out of the state_dict."
            )
        found[key] = name
    for pattern, _ in renames:
        if pattern not in used:
            inner = [name.removeprefix(prefix) for name in names[:20]]
            raise ValueError(f"renames: {pattern!r} matches no name, such as {', '.join(inner)}.")
    return _Names(found, outside, prefix)


def _common_prefix(names: Sequence[str], like: PyTree, renames: Renames) -> str:
    """The prefix of all names without which most of them are ours; the shortest such."""
    prefixes = [""]
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        prefixes.append(f"{prefixes[-1]}{parts[0]}.")
    if len(prefixes) == 1:
        return ""
    own = entries(like)
    wanted = {normal(entry.name) for entry in own}
    wanted |= {normal(part.name) for entry in own for part in entry.parts}

    def num_fitting(prefix: str) -> int:
        inner = [_rename(name.removeprefix(prefix), renames) for name in names]
        return sum(normal(name) in wanted for name in inner)

    return max(prefixes, key=num_fitting)  # the first of the best ones


def _rename(name: str, renames: Renames, used: set[str] | None = None) -> str:
    for pattern, replacement in renames:
        name, count = re.subn(pattern, replacement, name)
        if count and used is not None:
            used.add(pattern)
    return name


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _check_patterns(patterns: Iterable[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(
                f"leave_out: {pattern!r} matches no leaf and no array, such as "
                f"{', '.join(names[:20])}."
            )


def _to_numpy(name: str, value: Any) -> np.ndarray:
    """An array of NumPy's, JAX's or PyTorch's as NumPy's, without a copy where that can be."""
    if not hasattr(value, "detach"):
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            raise ValueError(f"{name} must be an array or a tensor, got {type(value).__name__}.")
        return np.asarray(value)
    import torch

    value = value.detach().cpu().resolve_conj().resolve_neg()
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype != "bfloat16" and not dtype.startswith("float8"):
        return value.numpy()
    bits = {1: torch.uint8, 2: torch.int16}[value.element_size()]
    return value.contiguous().view(bits).numpy().view(getattr(ml_dtypes, dtype))


def _target_dtype(leaf: str, array: np.ndarray, own: Any, asked: Any) -> Any:
    """In which dtype an array is loaded; None where that would be a conversion nobody asked for."""
    if all(jnp.issubdtype(each, jnp.floating) for each in (array.dtype, own)) and asked is not None:
        return own if leaf.startswith("batch_stats/") else asked
    if all(jnp.issubdtype(each, jnp.integer) for each in (array.dtype, own)):
        return own if (array.astype(own) == array).all() else None
    return own if array.dtype == own else None


def _untie(state_dict: Mapping[str, Any], tied: Mapping[str, str]) -> dict[str, Any]:
    """The arrays without the second names."""
    arrays = dict(state_dict)
    for copy, original in tied.items():
        if copy in arrays:
            value = arrays.pop(copy)
            other = arrays.setdefault(original, value)
            if not _same(_to_numpy(copy, value), _to_numpy(original, other)):
                raise ValueError(f"{copy} and {original} are not tied: their numbers differ.")
        elif original not in arrays:
            raise ValueError(f"tied: the state_dict has neither {copy} nor {original}.")
    return arrays


def _tie(arrays: dict[str, np.ndarray], tied: Mapping[str, str]) -> dict[str, np.ndarray]:
    for copy, original in tied.items():
        if original not in arrays:
            raise ValueError(f"tied: there is no {original}, only {', '.join(arrays)}.")
        arrays[copy] = arrays[original].copy()
    return arrays


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())


def _about_missing(entry: Entry, candidates: Iterable[str], arrays: Mapping[str, Any]) -> str:
    words = f"no {entry.name} of shape {entry.shape}"
    same_shape = [name for name in candidates if tuple(arrays[name].shape) == entry.shape]
    nearest = difflib.get_close_matches(entry.name, same_shape, 1, cutoff=0.0)
    return f"{words}; the nearest of that shape is {nearest[0]}" if nearest else words


def _about_unexpected(name: str, arrays: Mapping[str, Any], loaded: Mapping[str, str]) -> str:
    array = _to_numpy(name, arrays[name])
    for other in dict.fromkeys(loaded.values()):
        if array.size > 1 and _same(array, _to_numpy(other, arrays[other])):
            return f'equal to {other}; where they are tied, tied={{"{name}": "{other}"}}'
    return f"of shape {array.shape}"
