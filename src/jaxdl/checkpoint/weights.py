"""Weights of a checkpoint: onto any device, into another dtype or model, averaged."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl import tree
from jaxdl._loading import LoadReport, fill, float_dtype
from jaxdl._text import parse_form, shorten_lines
from jaxdl.checkpoint._info import (
    CheckpointInfo,
    StructureMismatchError,
    newest_readable,
    read_info,
    verify,
)
from jaxdl.checkpoint._orbax import plain_path, quiet
from jaxdl.types import Array, PyTree

PathLike = str | Path
Form = jax.ShapeDtypeStruct


PLACES = ("checkpoints/best", "best", "checkpoints/last", "last")
"""Where a run folder has its checkpoints, and its folder of checkpoints."""


KEY_IMPLS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
"""Implementations of random keys by the name of their dtype."""


def describe(path: PathLike) -> CheckpointInfo:
    """Describes a checkpoint: step, metadata, and names, shapes and dtypes of the leaves.

    Reads no arrays.

    Args:
        path: as for :func:`restore_weights`.

    Returns:
        a named tuple with ``folder``, ``step``, ``metadata``, ``structure`` and ``checksums``.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: every checkpoint is damaged.

    >>> import tempfile
    >>> from jaxdl import TrainState, checkpoint
    >>> state = TrainState(jnp.int32(1), {"w": jnp.ones(2)}, {}, (), jax.random.key(0))
    >>> with checkpoint.CheckpointManager(tempfile.mkdtemp(), keep=1) as manager:
    ...     manager.save(state, {"loss": 0.5})
    >>> info = checkpoint.describe(manager.directory)
    >>> info.step, info.metadata, info.structure["params/w"]
    (1, {'loss': 0.5}, 'float32[2]')
    """
    return newest_readable(_find(Path(path)), read_info)[0]


def restore_weights(
    path: PathLike,
    target: PyTree = None,
    *,
    dtype: DTypeLike | None = None,
    partial: bool = False,
    sharding: PyTree = None,
    part: str = "",
    averaged: bool = False,
) -> tuple[PyTree, LoadReport]:
    """Restores the variables of a checkpoint, ``{"params": …, "batch_stats": …}``.

    Nothing else is read. The devices that they were saved from do not matter. Of several
    checkpoints the newest that is not damaged is used, with a warning for each damaged one.

    Args:
        path: a run folder, whose best checkpoint is used, else the last; a folder of checkpoints,
            such as ``runs/NAME/checkpoints/last``; or the folder of one step.
        target: variables of the model, concrete or from ``jax.eval_shape(model.init, ...)``: sets
            names, shapes and dtypes. None restores what is there, as nested dictionaries.
        dtype: floating-point dtype to convert parameters to; statistics (``batch_stats``) get their
            dtype in ``target``. None converts nothing: dtypes must agree.
        partial: load leaves that match by name and shape, and keep the others of ``target``.
        sharding: as in ``jax.device_put``: a device, a sharding, or a tree of them. None: the
            devices of ``target``, else the default device.
        part: field of the state that holds the parameters, such as ``"generator"`` of a GAN.
        averaged: restore the average of the weights that :func:`jaxdl.optim.ema` or ``swa`` kept.

    Returns:
        the variables and a :class:`~jaxdl._loading.LoadReport`.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: every checkpoint is damaged, or ``dtype`` is not a floating-point one.
        StructureMismatchError: not partial, and leaves are missing, unexpected or of another shape;
            nothing fits at all; dtypes differ and no ``dtype`` is given; no such part or average.

    Source: ``torch.load(weights_only=True, map_location=...)`` and ``Module.load_state_dict``.

    >>> import tempfile
    >>> from jaxdl import TrainState, checkpoint
    >>> state = TrainState(jnp.int32(1), {"w": jnp.ones(2)}, {}, (), jax.random.key(0))
    >>> with checkpoint.CheckpointManager(tempfile.mkdtemp(), keep=1) as manager:
    ...     manager.save(state)
    >>> variables, report = checkpoint.restore_weights(manager.directory, dtype=jnp.bfloat16)
    >>> variables["params"]["w"].dtype, str(report)
    (dtype(bfloat16), 'loaded 1 of 1 leaves (2 numbers)')
    """
    if partial and target is None:
        raise ValueError("partial=True needs target=, the variables to load into.")
    request = _Request(
        target=None if target is None else tree.named_leaves(target),
        dtype=None if dtype is None else float_dtype(dtype),
        partial=partial,
        part=part,
        averaged=averaged,
    )
    found, _ = newest_readable(_find(Path(path)), lambda folder: _read(folder, request))
    if target is None:
        variables = tree.nested(found.values)
    else:
        variables = fill(target, found.values)
        if sharding is None:
            variables = jax.tree.map(_place, target, variables)
    return jax.device_put(variables, sharding), found.report


def average(
    paths: PathLike | Sequence[PathLike], *, part: str = "", averaged: bool = False
) -> PyTree:
    """Mean of the weights of several checkpoints.

    Floating-point leaves are summed in float64 and keep their dtype; integers and booleans are
    those of the newest checkpoint. Running statistics of BatchNorm are averaged, too; they differ
    from those of the averaged weights, which :func:`jaxdl.train.with_averaged_params` computes.

    Args:
        paths: paths as for :func:`restore_weights`; or one folder of checkpoints, to average all of
            them.
        part, averaged: as for :func:`restore_weights`.

    Returns:
        variables on the default device, as nested dictionaries.

    Raises:
        FileNotFoundError: no checkpoint.
        ValueError: a damaged checkpoint, different models, or no path at all.

    Source: ``torch.optim.swa_utils.AveragedModel``; Wortsman et al. 2022, uniform soup.

    >>> import tempfile
    >>> from jaxdl import TrainState, checkpoint
    >>> with checkpoint.CheckpointManager(tempfile.mkdtemp(), keep=2) as manager:
    ...     for step in (1, 2):
    ...         params = {"w": jnp.full(2, float(step))}
    ...         manager.save(TrainState(jnp.int32(step), params, {}, (), jax.random.key(0)))
    >>> checkpoint.average(manager.directory)["params"]["w"].tolist()
    [1.5, 1.5]
    """
    if isinstance(paths, str | Path):
        groups = [[folder] for folder in _find(Path(paths))]
    else:
        groups = [_find(Path(path)) for path in paths]
    if not groups:
        raise ValueError("average needs at least one checkpoint, got none.")
    request = _Request(part=part, averaged=averaged)
    total: dict[str, np.ndarray] = {}
    newest: dict[str, Array] = {}
    newest_step = -1
    for folders in groups:
        (info, values, _), _ = newest_readable(folders, lambda folder: _read(folder, request))
        if newest:
            what = f"{info.folder} does not hold the model of the checkpoints before it:"
            tree.check_same_structure(newest, values, what=what)
        for name, value in values.items():
            if jnp.issubdtype(value.dtype, jnp.inexact):
                total[name] = total.get(name, 0) + np.asarray(value).astype(_wide(value.dtype))
        if info.step >= newest_step:
            newest, newest_step = values, info.step
    for name, sums in total.items():
        newest[name] = jnp.asarray((sums / len(groups)).astype(newest[name].dtype))
    return jax.device_put(tree.nested(newest))


def _wide(dtype: DTypeLike) -> type[np.inexact]:
    return np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64


def _find(path: Path) -> list[Path]:
    """The folders of the steps, the newest first."""
    if (path / "content").is_dir() and (path / "state").is_dir():
        return [path.absolute()]
    for place in (path, *(path / name for name in PLACES)):
        # a folder whose name is more than a number is a checkpoint that was never finished
        steps = [each for each in place.glob("*") if _is_number(each.name) and each.is_dir()]
        if steps:
            return [each.absolute() for each in sorted(steps, key=lambda each: -int(each.name))]
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint in {path}: the path does not exist.")
    names = sorted(each.name for each in path.glob("*"))
    raise FileNotFoundError(
        f"no checkpoint in {path}: expected a run folder, its checkpoints/best or "
        f"checkpoints/last, or the folder of one step; found {names[:10]}."
    )


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


class _Request(NamedTuple):
    """The part of a checkpoint to read; see :func:`restore_weights`."""

    target: Mapping[str, Array] | None = None
    dtype: np.dtype | None = None
    partial: bool = False
    part: str = ""
    averaged: bool = False


class _Found(NamedTuple):
    info: CheckpointInfo
    values: dict[str, Array]
    report: LoadReport


def _read(folder: Path, request: _Request) -> _Found:
    """The leaves of a request, from the folder of one step."""
    info = read_info(folder)
    names = _names(info, request.part, request.averaged)
    forms = {name: _form(info.structure[source]) for name, source in names.items()}
    target: Mapping[str, Array | Form] = forms if request.target is None else request.target
    dtypes, mismatched = _match(forms, target, request.dtype)
    report = LoadReport(
        loaded={name: names[name] for name in dtypes},
        missing={
            name: f"no leaf of that name, shape {tuple(leaf.shape)}"
            for name, leaf in target.items()
            if name not in forms
        },
        unexpected={n: f"of shape {form.shape}" for n, form in forms.items() if n not in target},
        mismatched=mismatched,
        num_values=sum(forms[name].size for name in dtypes),
        source=f"checkpoint {folder}",
    )
    if not report.fits and not request.partial:
        raise StructureMismatchError(
            f"the checkpoint does not fit the model:\n{report}\n"
            "Load only what fits (partial=True), or choose another checkpoint or model."
        )
    if not dtypes:
        raise StructureMismatchError(f"nothing in the checkpoint fits the model:\n{report}")
    arrays = _read_arrays(folder, {names[name]: forms[name] for name in dtypes})
    verify(arrays, info)
    values = {}
    for name, dtype in dtypes.items():
        value = arrays[names[name]]
        values[name] = value if value.dtype == dtype else value.astype(dtype)
    return _Found(info, values, report)


def _names(info: CheckpointInfo, part: str, averaged: bool) -> dict[str, str]:
    """Names in the checkpoint by those of the variables."""
    prefix = re.escape(f"{part}/") if part else ""
    parameters = prefix + (r"opt_state/(?:.*/)?average" if averaged else "params")
    found: dict[str, str] = {}
    parents = set()
    for source in info.structure:
        if match := re.fullmatch(f"({parameters})/(.*)", source, re.DOTALL):
            found[f"params/{match[2]}"] = source
            parents.add(match[1])
        elif match := re.fullmatch(f"{prefix}model_state/(.*)", source, re.DOTALL):
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
    forms: Mapping[str, Form], target: Mapping[str, Array | Form], dtype: np.dtype | None
) -> tuple[dict[str, np.dtype], dict[str, str]]:
    """The dtype in which each leaf is loaded, and the leaves of another shape."""
    dtypes: dict[str, np.dtype] = {}
    mismatched: dict[str, str] = {}
    others: dict[str, np.dtype] = {}
    for name, leaf in target.items():
        if name not in forms:
            continue
        shape, saved, own = forms[name].shape, forms[name].dtype, leaf.dtype
        floating = all(jnp.issubdtype(each, jnp.floating) for each in (saved, own))
        if shape != tuple(leaf.shape):
            mismatched[name] = f"the checkpoint's has shape {shape}, expected {tuple(leaf.shape)}"
        elif floating and dtype is not None:
            dtypes[name] = dtype if name.startswith("params/") else own
        elif saved == own:
            dtypes[name] = own
        else:
            others[name] = own
    if others:
        lines = [
            f"{name}: {forms[name].dtype}, the model has {own}" for name, own in others.items()
        ]
        raise StructureMismatchError(
            "dtypes differ from the checkpoint's; to convert them, pass "
            f"dtype=jnp.{next(iter(others.values()))}:\n  {shorten_lines(lines)}"
        )
    return dtypes, mismatched


def _form(description: str) -> Form:
    """Shape and dtype of ``"float32[3, 2]"``."""
    name, shape = parse_form(description)
    is_key = name in KEY_IMPLS
    dtype = jax.random.key(0, impl=KEY_IMPLS[name]).dtype if is_key else jnp.dtype(name)
    return Form(shape, dtype)


def _read_arrays(folder: Path, forms: Mapping[str, Form]) -> dict[str, Array]:
    """Leaves of a checkpoint by name, in the host's memory; random keys on the default device."""
    import orbax.checkpoint as ocp

    handler = ocp.PyTreeCheckpointHandler()
    with plain_path(folder / "state") as path, quiet():
        saved = handler.metadata(path).tree

        def choose(path: tuple[object, ...], leaf: object) -> object:
            form = forms.get(tree.leaf_name(path))
            return leaf if form is not None and form.size else ocp.PLACEHOLDER

        item = jax.tree_util.tree_map_with_path(choose, saved)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        arguments = ocp.args.PyTreeRestore(item=item, restore_args=as_numpy)
        restored = tree.named_leaves(handler.restore(path, args=arguments))
    arrays: dict[str, Array] = {}
    for name, form in forms.items():
        if not form.size:
            arrays[name] = jnp.zeros(form.shape, form.dtype)
        elif jax.dtypes.issubdtype(form.dtype, jax.dtypes.prng_key):
            impl = KEY_IMPLS[str(form.dtype)]
            arrays[name] = jax.random.wrap_key_data(restored[name], impl=impl)
        else:
            arrays[name] = restored[name]
    return arrays


def _place(leaf: Array | Form, value: Array) -> Array:
    """The value on the devices of the target's leaf; unchanged for a leaf that is not committed."""
    if not getattr(leaf, "committed", True):
        return value
    return jax.device_put(value, getattr(leaf, "sharding", None))
