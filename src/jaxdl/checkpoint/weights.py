"""Weights without the optimizer: onto any device, into another dtype or model, averaged."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl._loading import LoadReport, fill
from jaxdl._text import parse_form
from jaxdl.checkpoint.manager import (
    CheckpointInfo,
    StructureMismatchError,
    newest_readable,
    read_info,
    verify,
)
from jaxdl.types import PyTree

Place = str | Path


PLACES = ("checkpoints/best", "best", "checkpoints/last", "last")
"""Where a run folder has its checkpoints, and its folder of checkpoints."""


def describe(path: Place) -> CheckpointInfo:
    """What a checkpoint says of itself: step, metadata, names, shapes and dtypes; no arrays.

    Args:
        path: as for :func:`restore_weights`.

    Raises:
        FileNotFoundError, ValueError: as for :func:`restore_weights`.
    """
    return newest_readable(_find(Path(path)), read_info)[0]


def restore_weights(
    path: Place,
    target: PyTree = None,
    *,
    dtype: Any = None,
    partial: bool = False,
    sharding: Any = None,
    part: str = "",
    averaged: bool = False,
) -> tuple[PyTree, LoadReport]:
    """The variables of a checkpoint, ``{"params": …, "batch_stats": …}``, and what was loaded.

    Only they are read. On which and how many devices they were does not matter. Of several
    checkpoints the newest that is not damaged counts; one that is damaged gives a warning.

    Args:
        path: a run folder, whose best checkpoint is taken and else the last; a folder of
            checkpoints, ``runs/NAME/checkpoints/last`` say; or the folder of one step.
        target: variables of the model, concrete or from ``jax.eval_shape(model.init, ...)``: says
            names, shapes and dtypes. None takes what is there, as nested dictionaries.
        dtype: convert floating-point parameters to it, and statistics (``batch_stats``) to the
            dtype they have in ``target``. None converts nothing: dtypes must agree.
        partial: load what fits by name and shape, and leave the rest as it is in ``target``.
        sharding: where to, as ``jax.device_put`` takes it: a device, a sharding, or a tree of them.
            None: where ``target`` lies, else the default device.
        part: the field of the state that holds the parameters, ``"generator"`` of a GAN.
        averaged: take the average of the weights that :func:`jaxdl.optim.ema` or ``swa`` kept.

    Returns:
        the variables and a :class:`~jaxdl.interop.LoadReport`.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: every checkpoint is damaged.
        StructureMismatchError: not partial, and leaves are missing, unexpected or of another shape;
            nothing fits at all; dtypes differ and no ``dtype`` is given; no such part or average.

    Source: ``torch.load(weights_only=True, map_location=...)`` and ``Module.load_state_dict``.

    >>> import tempfile
    >>> from jaxdl import TrainState, checkpoint
    >>> state = TrainState(jnp.int32(1), {"w": jnp.ones(2)}, {}, (), jax.random.key(0))
    >>> folder = tempfile.mkdtemp()
    >>> with checkpoint.CheckpointManager(folder, keep=1) as manager:
    ...     manager.save(state)
    >>> variables, report = checkpoint.restore_weights(folder, dtype=jnp.bfloat16)
    >>> variables["params"]["w"].dtype, str(report)
    (dtype(bfloat16), 'loaded 1 of 1 leaves (2 numbers)')
    """
    if partial and target is None:
        raise ValueError("partial=True needs target=, the variables to load into.")
    leaves = None if target is None else tree.named_leaves(target)
    options = (leaves, dtype, partial, part, averaged)
    found, _ = newest_readable(_find(Path(path)), lambda folder: _read(folder, *options))
    _, values, report = found
    if target is None:
        variables = tree.nested(values)
    else:
        variables = fill(target, values)
        if sharding is None:
            variables = jax.tree.map(_place, target, variables)
    return jax.device_put(variables, sharding), report


def average(paths: Place | Sequence[Place], *, part: str = "", averaged: bool = False) -> PyTree:
    """The mean of the weights of several checkpoints.

    Floating-point leaves are added up in float64 and keep their dtype; integers and booleans are
    those of the newest. The running statistics of a BatchNorm are averaged too, which is not what
    they would be for the averaged weights: pass training data through the model again where that
    matters.

    Args:
        paths: two or more, each as for :func:`restore_weights`; or one folder of checkpoints, all
            of which are taken.
        part, averaged: as for :func:`restore_weights`.

    Returns:
        variables on the default device, as nested dictionaries.

    Raises:
        FileNotFoundError, ValueError: as for :func:`restore_weights`; or the checkpoints hold
            different models.

    Source: ``torch.optim.swa_utils.AveragedModel``; Wortsman et al. 2022, uniform soup.
    """
    if isinstance(paths, str | Path):
        groups = [[folder] for folder in _find(Path(paths))]
    else:
        groups = [_find(Path(path)) for path in paths]
    if not groups:
        raise ValueError("average needs at least one checkpoint, got none.")
    total: dict[str, Any] = {}
    newest: dict[str, np.ndarray] = {}
    newest_step = -1
    for folders in groups:
        (info, values, _), _ = newest_readable(
            folders, lambda folder: _read(folder, None, part=part, averaged=averaged)
        )
        if newest:
            what = f"{info.folder} does not hold the model of the checkpoints before it:"
            tree.check_same_structure(newest, values, what=what)
        for name, value in values.items():
            if jnp.issubdtype(value.dtype, jnp.inexact):
                total[name] = total.get(name, 0) + value.astype(_wide(value.dtype))
        if info.step >= newest_step:
            newest, newest_step = values, info.step
    for name, value in total.items():
        newest[name] = (value / len(groups)).astype(newest[name].dtype)
    return jax.device_put(tree.nested(newest))


def _wide(dtype: Any) -> Any:
    return np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64


def _find(path: Path) -> list[Path]:
    """The folders of the steps, the newest first."""
    if (path / "content").is_dir() and (path / "state").is_dir():
        return [path.absolute()]
    for place in (path, *(path / name for name in PLACES)):
        # a folder whose name is more than a number is a checkpoint that was never finished
        steps = [each for each in place.glob("*") if each.name.isdigit() and each.is_dir()]
        if steps:
            return [each.absolute() for each in sorted(steps, key=lambda each: -int(each.name))]
    there = sorted(each.name for each in path.glob("*"))
    raise FileNotFoundError(
        f"no checkpoint in {path}: expected a run folder, its checkpoints/best or "
        f"checkpoints/last, or the folder of one step; it {'holds' if path.exists() else 'is'} "
        f"{there[:10] if path.exists() else 'not there'}."
    )


def _read(
    folder: Path,
    target: Mapping[str, Any] | None,
    dtype: Any = None,
    partial: bool = False,
    part: str = "",
    averaged: bool = False,
) -> tuple[CheckpointInfo, dict[str, np.ndarray], LoadReport]:
    """The leaves that :func:`restore_weights` is asked for, from the folder of one step."""
    info = read_info(folder)
    names = _names(info, part, averaged)
    forms = {name: _form(info.structure[source]) for name, source in names.items()}
    if target is None:
        target = {n: jax.ShapeDtypeStruct(shape, own) for n, (shape, own) in forms.items()}
    dtypes, mismatched = _match(forms, target, dtype)
    report = LoadReport(
        loaded={name: names[name] for name in dtypes},
        missing={
            name: f"no leaf of that name, shape {tuple(leaf.shape)}"
            for name, leaf in target.items()
            if name not in forms
        },
        unexpected={n: f"of shape {shape}" for n, (shape, _) in forms.items() if n not in target},
        mismatched=mismatched,
        num_values=sum(int(np.prod(forms[name][0])) for name in dtypes),
        source=f"checkpoint {folder}",
    )
    if not report.fits and not partial:
        raise StructureMismatchError(
            f"the checkpoint does not fit the model:\n{report}\n"
            "Load only what fits (partial=True), or choose another checkpoint or model."
        )
    if not dtypes:
        raise StructureMismatchError(f"nothing in the checkpoint fits the model:\n{report}")
    arrays = _read_arrays(folder, [names[name] for name in dtypes])
    verify(arrays, info)
    values = {name: arrays[names[name]].astype(to, copy=False) for name, to in dtypes.items()}
    return info, values, report


def _names(info: CheckpointInfo, part: str, averaged: bool) -> dict[str, str]:
    """Names in the checkpoint by those of the variables."""
    prefix = re.escape(f"{part}/") if part else ""
    parameters = prefix + (r"opt_state/(?:.*/)?average" if averaged else "params")
    found: dict[str, str] = {}
    parents = set()
    for source in info.structure:
        if match := re.fullmatch(f"({parameters})/(.*)", source):
            found[f"params/{match[2]}"] = source
            parents.add(match[1])
        elif match := re.fullmatch(f"{prefix}model_state/(.*)", source):
            found[match[1]] = source
    if len(parents) != 1:
        kinds = {}
        for kind in ("params", "average"):
            named = (re.match(f"(?:(.*?)/)?{kind}/", source) for source in info.structure)
            kinds[kind] = sorted({match[1] or "" for match in named if match})
        raise StructureMismatchError(
            f"the checkpoint {info.folder} holds {len(parents)} sets of "
            f"{'averaged ' if averaged else ''}parameters in its part {part!r}, expected 1. It has "
            f"parameters in {kinds['params']} (part=), averages in {kinds['average']} "
            "(averaged=True)."
        )
    return found


def _match(
    forms: Mapping[str, Any], target: Mapping[str, Any], dtype: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """In which dtype each leaf is loaded, and what has another shape."""
    dtypes: dict[str, Any] = {}
    mismatched: dict[str, str] = {}
    others: dict[str, Any] = {}
    for name, leaf in target.items():
        if name not in forms:
            continue
        (shape, saved), own = forms[name], leaf.dtype
        floating = all(jnp.issubdtype(each, jnp.floating) for each in (saved, own))
        if shape != tuple(leaf.shape):
            mismatched[name] = f"the checkpoint's has shape {shape}, expected {tuple(leaf.shape)}"
        elif floating and dtype is not None:
            dtypes[name] = jnp.dtype(dtype) if name.startswith("params/") else own
        elif saved == own:
            dtypes[name] = own
        else:
            others[name] = own
    if others:
        lines = [f"{name}: {forms[name][1]}, the model has {own}" for name, own in others.items()]
        raise StructureMismatchError(
            "dtypes differ from the checkpoint's, and nothing is converted unasked; ask for it "
            f"with dtype=jnp.{next(iter(others.values()))}:\n  {tree.shorten(lines)}"
        )
    return dtypes, mismatched


def _form(description: str) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of ``"float32[3, 2]"``."""
    dtype, shape = parse_form(description)
    return shape, jnp.dtype(dtype)


def _read_arrays(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Leaves of a checkpoint by name, in the host's memory and as they were saved."""
    import orbax.checkpoint as ocp

    handler = ocp.PyTreeCheckpointHandler()
    form = handler.metadata(folder / "state").tree

    def choose(path: tuple, leaf: Any) -> Any:
        return leaf if tree.leaf_name(path) in names else ocp.PLACEHOLDER

    item = jax.tree_util.tree_map_with_path(choose, form)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), form)
    arguments = ocp.args.PyTreeRestore(item=item, restore_args=as_numpy)
    restored: dict[str, Any] = tree.named_leaves(handler.restore(folder / "state", args=arguments))
    return {name: restored[name] for name in names}


def _place(leaf: Any, value: Any) -> Any:
    """The value where the target's leaf lies; anywhere, for a leaf that is not committed."""
    if not getattr(leaf, "committed", True):
        return value
    return jax.device_put(value, getattr(leaf, "sharding", None))
