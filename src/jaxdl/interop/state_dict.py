"""State dicts of PyTorch as Linen variables, and back."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl import tree
from jaxdl._loading import LoadReport, fill, float_dtype
from jaxdl._text import shorten_lines
from jaxdl.interop._layouts import Entry, entries, normal, to_linen, to_torch
from jaxdl.interop.transfer import to_numpy, transfer
from jaxdl.types import PyTree

COUNTER = "num_batches_tracked"
"""PyTorch's BatchNorm counts its batches; Linen's has no counterpart."""


Renames = Sequence[tuple[str, str]]
StateDict = Mapping[str, Any]  # tensors are no type of ours


def params_from_torch(state_dict: StateDict, target: PyTree) -> PyTree:
    """Converts a PyTorch state_dict to Linen variables; every array must fit.

    Args:
        state_dict: arrays or tensors by PyTorch's names.
        target: variables of the model, concrete or from ``jax.eval_shape(model.init, ...)``: sets
            names, shapes and dtypes.

    Returns:
        a tree of the structure of ``target``.

    Raises:
        ValueError: as :func:`load_state_dict`, which can rename, convert and leave out.

    Source: ``torch.nn.Module.load_state_dict(strict=True)``.

    >>> target = {"params": {"fc": {"kernel": jnp.zeros((3, 2))}}}
    >>> weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> params_from_torch({"fc.weight": weight}, target)["params"]["fc"]["kernel"].tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    return load_state_dict(state_dict, target)[0]


def load_state_dict(
    state_dict: StateDict,
    target: PyTree,
    *,
    strict: bool = True,
    leave_out: str | Sequence[str] = (),
    renames: Renames = (),
    prefix: str | None = None,
    tied: Mapping[str, str] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[PyTree, LoadReport]:
    r"""Loads a PyTorch state_dict into Linen variables and reports what was loaded.

    Args:
        state_dict: arrays or tensors by PyTorch's names; ``num_batches_tracked`` is ignored.
        target: variables of the model: sets names, shapes and dtypes. Leaves that are not loaded
            are kept; if all are loaded, ``jax.eval_shape(model.init, ...)`` is enough.
        strict: refuse anything missing, unexpected or of another shape. Otherwise load what matches
            by name and shape, and report the rest.
        leave_out: regular expressions, searched for in our names (``params/fc/kernel``) and
            PyTorch's: with ``leave_out="fc"`` a new head keeps its initial weights.
        renames: pairs of regular expression and replacement, applied in order to PyTorch's names
            (``re.sub``) to make them ours: ``[(r"^0\.", "Dense_0.")]``.
        prefix: load only names with this prefix, such as ``"backbone."``, and remove it. None
            detects a prefix of all names (``module.`` of ``DataParallel``) without which more names
            match. An empty one removes nothing.
        tied: PyTorch's second name of an array that the model has once, such as
            ``{"lm_head.weight": "wte.weight"}``. If the state_dict has both, they must be equal.
        dtype: floating-point dtype to convert to; running statistics (``batch_stats``) get their
            dtype in ``target``. None converts nothing: dtypes must agree. Integers change their
            width if all values fit.

    Returns:
        variables of the structure of ``target``, whose arrays are copies, and the
        :class:`LoadReport`.

    Raises:
        ValueError: strict, and something does not fit; nothing fits at all; a leaf of
            ``jax.eval_shape`` is not loaded; dtypes differ and no ``dtype`` is given; a pattern or
            prefix matches nothing; tied arrays differ; two names differ only by dots and
            underscores.

    Source: ``torch.nn.Module.load_state_dict``, which converts dtypes silently and with
    ``strict=False`` still refuses another shape.

    >>> target = {"params": {"fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}}
    >>> weight = np.ones((2, 3), np.float32)
    >>> _, report = load_state_dict({"module.fc.weight": weight}, target, strict=False)
    >>> print(report)
    loaded 1 of 2 leaves (6 numbers)
    prefix 'module.' taken off PyTorch's names
    missing in the state_dict, 1:
      params/fc/bias: no fc.bias of shape (2,)
    """
    leave_out = [leave_out] if isinstance(leave_out, str) else list(leave_out)
    _check_expressions("leave_out", leave_out)
    asked = None if dtype is None else float_dtype(dtype)
    arrays = _untie(state_dict, tied or {})
    _check_patterns(leave_out, [*tree.named_leaves(target), *arrays])
    names = _resolve(list(arrays), target, renames, prefix)
    matched = _match(arrays, target, names, leave_out, asked)
    report = _make_report(arrays, names, matched)
    if matched.other_dtypes:
        raise ValueError(
            "dtypes differ; to convert them, pass dtype=, such as jnp.float32:\n"
            f"  {shorten_lines(matched.other_dtypes)}"
        )
    if strict and not report.fits:
        raise ValueError(
            f"the state_dict does not fit the model:\n{report}\n"
            "Rename (renames=), remove a prefix (prefix=), leave out what is meant to differ "
            "(leave_out=), or load only what fits (strict=False)."
        )
    if not report.loaded and not tree.named_leaves(target).keys() <= set(report.left_out):
        raise ValueError(f"no array of the state_dict fits the model:\n{report}")
    return fill(target, transfer(matched.views, matched.dtypes)), report


def params_to_torch(
    variables: PyTree,
    names: StateDict | Iterable[str] | None = None,
    *,
    renames: Renames = (),
    prefix: str | None = None,
    tied: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Converts Linen variables to PyTorch's names and layouts.

    Args:
        variables: of a model, ``{"params": …, "batch_stats": …}``.
        names: PyTorch's names as its model spells them, such as ``module.state_dict()``; the result
            has their order. None derives them from ours: ``params/Dense_0/kernel`` is
            ``Dense_0.weight``.
        renames: as for :func:`load_state_dict`, from the names in ``names`` to ours.
        prefix: likewise.
        tied: as for :func:`load_state_dict`; the second name gets the same numbers.

    Returns:
        arrays by name, each a copy. ``torch.from_numpy`` takes them, except bfloat16 ones, which
        :func:`write_safetensors` writes. ``num_batches_tracked``, which only a BatchNorm without
        momentum uses, is that of ``names`` if it is a state_dict, else 0.

    Raises:
        ValueError: leaves that ``names`` does not have, names that the variables do not have, or
            other shapes.

    Source: ``torch.nn.Module.state_dict``.

    >>> variables = {"params": {"fc": {"kernel": jnp.arange(6.0).reshape(3, 2)}}}
    >>> params_to_torch(variables)["fc.weight"].tolist()
    [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    """
    tied = tied or {}
    if names is None:
        if renames or prefix:
            raise ValueError("renames and prefix start from PyTorch's names: give names= too.")
        return _tie(_by_own_names(variables), tied)
    template = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
    result = _tie(_by_given_names(variables, template, renames, prefix, tied), tied)
    return {name: result[name] for name in template}


class _Matched(NamedTuple):
    """Arrays of a state_dict and the leaves they go to.

    Attributes:
        views, dtypes, loaded: by leaf: the array, the dtype to load it in, PyTorch's name.
        mismatched: leaves whose array has another shape, with an explanation.
        absent: entries of the model without an array.
        left_out: names that were left out on request.
        unexpected: arrays without a leaf.
        other_dtypes: lines about arrays whose dtype differs.
    """

    views: dict[str, np.ndarray]
    dtypes: dict[str, np.dtype]
    loaded: dict[str, str]
    mismatched: dict[str, str]
    absent: list[Entry]
    left_out: list[str]
    unexpected: list[str]
    other_dtypes: list[str]


def _match(
    arrays: StateDict,
    target: PyTree,
    names: "_Names",
    leave_out: Sequence[str],
    asked: np.dtype | None,
) -> _Matched:
    leaves = tree.named_leaves(target)
    found = _Matched({}, {}, {}, {}, [], list(names.outside), [], [])
    unused = dict(names.found)
    for entry in entries(target, names.found):
        source = unused.pop(normal(entry.name), None)
        both = [*entry.leaves, *([source] if source else [])]
        if any(_matches(leave_out, name) for name in both):
            found.left_out.extend(both)
            continue
        if source is None:
            found.absent.append(entry)
            continue
        array = to_numpy(arrays[source], source)
        if array.shape != entry.shape:
            words = f"{source} has shape {array.shape}, expected {entry.shape}"
            found.mismatched.update(dict.fromkeys(entry.leaves, words))
            continue
        for leaf, part in to_linen(entry, array).items():
            own = leaves[leaf].dtype
            dtype = _target_dtype(leaf, part, own, asked)
            if dtype is None:
                found.other_dtypes.append(f"{source} is {array.dtype}, {leaf} is {own}")
                continue
            found.views[leaf], found.dtypes[leaf], found.loaded[leaf] = part, dtype, source
    for source in unused.values():
        if _matches(leave_out, source):
            found.left_out.append(source)
        elif not source.endswith(COUNTER):
            found.unexpected.append(source)
    return found


def _make_report(arrays: StateDict, names: "_Names", found: _Matched) -> LoadReport:
    return LoadReport(
        loaded=found.loaded,
        missing={
            leaf: _about_missing(entry, found.unexpected, arrays)
            for entry in found.absent
            for leaf in entry.leaves
        },
        unexpected={
            source: _about_unexpected(source, arrays, found.loaded) for source in found.unexpected
        },
        mismatched=found.mismatched,
        left_out=tuple(found.left_out),
        prefix=names.prefix,
        num_values=sum(view.size for view in found.views.values()),
    )


def _by_own_names(variables: PyTree) -> dict[str, np.ndarray]:
    leaves = tree.named_leaves(variables)
    result: dict[str, np.ndarray] = {}
    for entry in entries(variables):
        if entry.name in result:
            raise ValueError(f"two leaves would be {entry.name}: give names=.")
        result[entry.name] = to_torch(entry, leaves)
        if entry.name.endswith("running_var"):
            counter = f"{entry.name.removesuffix('running_var')}{COUNTER}"
            result[counter] = np.zeros((), np.int64)
    return result


def _by_given_names(
    variables: PyTree,
    template: StateDict,
    renames: Renames,
    prefix: str | None,
    tied: Mapping[str, str],
) -> dict[str, np.ndarray]:
    sources = [name for name in template if not name.endswith(COUNTER) and name not in tied]
    resolved = _resolve(sources, variables, renames, prefix)
    unused = dict(resolved.found)
    found: dict[str, Entry] = {}
    problems = []
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
        raise ValueError(f"the names do not fit the variables:\n  {shorten_lines(problems, 20)}")
    leaves = tree.named_leaves(variables)
    result: dict[str, np.ndarray] = {}
    for name, value in template.items():
        if name in found:
            result[name] = to_torch(found[name], leaves)
        elif name.endswith(COUNTER):
            result[name] = np.array(0 if value is None else int(value), np.int64)
    return result


class _Names(NamedTuple):
    """PyTorch's names by their normal form, those outside the prefix, and the prefix."""

    found: dict[str, str]
    outside: tuple[str, ...]
    prefix: str


def _resolve(names: Sequence[str], target: PyTree, renames: Renames, prefix: str | None) -> _Names:
    _check_expressions("renames", [pattern for pattern, _ in renames])
    outside: tuple[str, ...] = ()
    if prefix is None:
        prefix = _common_prefix(names, target, renames)
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


def _common_prefix(names: Sequence[str], target: PyTree, renames: Renames) -> str:
    """The shortest prefix of all names without which most of them are ours."""
    prefixes = [""]
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        prefixes.append(f"{prefixes[-1]}{parts[0]}.")
    if len(prefixes) == 1:
        return ""
    own = entries(target)
    wanted = {normal(entry.name) for entry in own}
    wanted |= {normal(part.name) for entry in own for part in entry.parts}

    def num_fitting(prefix: str) -> int:
        inner = [_rename(name.removeprefix(prefix), renames) for name in names]
        return sum(normal(name) in wanted for name in inner)

    return max(prefixes, key=num_fitting)  # the first of the best ones


def _rename(name: str, renames: Renames, used: set[str] | None = None) -> str:
    for pattern, replacement in renames:
        try:
            name, count = re.subn(pattern, replacement, name)
        except (re.error, IndexError) as error:
            raise ValueError(f"renames: invalid replacement {replacement!r}: {error}.") from error
        if count and used is not None:
            used.add(pattern)
    return name


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _check_expressions(argument: str, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"{argument}: {pattern!r} is not a regular expression: {error}."
            ) from error


def _check_patterns(patterns: Iterable[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(
                f"leave_out: {pattern!r} matches no leaf and no array, such as "
                f"{', '.join(names[:20])}."
            )


def _target_dtype(
    leaf: str, array: np.ndarray, own: np.dtype, asked: np.dtype | None
) -> np.dtype | None:
    """The dtype to load an array in; None if that would be a conversion without a request."""
    if all(jnp.issubdtype(each, jnp.floating) for each in (array.dtype, own)) and asked is not None:
        return own if leaf.startswith("batch_stats/") else asked
    if all(jnp.issubdtype(each, jnp.integer) for each in (array.dtype, own)):
        return own if (array.astype(own) == array).all() else None
    return own if array.dtype == own else None


def _untie(state_dict: StateDict, tied: Mapping[str, str]) -> StateDict:
    """The arrays without the second names."""
    arrays = dict(state_dict)
    for copy, original in tied.items():
        if copy in arrays:
            value = arrays.pop(copy)
            other = arrays.setdefault(original, value)
            if not _same(to_numpy(value, copy), to_numpy(other, original)):
                raise ValueError(f"{copy} and {original} are not tied: their numbers differ.")
        elif original not in arrays:
            raise ValueError(f"tied: the state_dict has neither {copy} nor {original}.")
    return arrays


def _tie(arrays: dict[str, np.ndarray], tied: Mapping[str, str]) -> dict[str, np.ndarray]:
    for copy, original in tied.items():
        if original not in arrays:
            raise ValueError(f"tied: {original} not found among {', '.join(arrays)}.")
        arrays[copy] = arrays[original].copy()
    return arrays


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())  # NaN equals NaN


def _about_missing(entry: Entry, candidates: Iterable[str], arrays: StateDict) -> str:
    words = f"no {entry.name} of shape {entry.shape}"
    same_shape = [name for name in candidates if tuple(arrays[name].shape) == entry.shape]
    nearest = difflib.get_close_matches(entry.name, same_shape, 1, cutoff=0.0)
    return f"{words}; the nearest of that shape is {nearest[0]}" if nearest else words


def _about_unexpected(name: str, arrays: StateDict, loaded: Mapping[str, str]) -> str:
    array = to_numpy(arrays[name], name)
    for other in dict.fromkeys(loaded.values()):
        if array.size > 1 and _same(array, to_numpy(arrays[other], other)):
            return f'equal to {other}; if they are tied, pass tied={{"{name}": "{other}"}}'
    return f"of shape {array.shape}"
