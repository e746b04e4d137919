"""The folder of a sweep: a folder per member, a table, a heat map, and the best run."""

import contextlib
import dataclasses
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl import config as configs
from jaxdl import plots, tensorboard
from jaxdl._files import read_json, replacing, write_json
from jaxdl._lock import locked
from jaxdl._text import shorten
from jaxdl.sweep._execute import Group, Layout
from jaxdl.sweep.result import JSON, Criterion, Member, SweepResult, as_json
from jaxdl.sweep.space import Setting
from jaxdl.tensorboard.hparams import flatten, write_hparams_end
from jaxdl.tensorboard.writer import check_tag
from jaxdl.train.run_dir import RunFolder, to_json, write_lines
from jaxdl.types import Array, PyTree, Row

Config = Callable[[Setting, int], Any]
"""``(hparams, seed) -> dataclass`` for a member's ``config.json``."""

Order = Callable[[Array, Setting], tuple[int, int, Array]]
"""``(key, hparams) -> (batch_size, num_examples, key)`` of a member's call of ``fit``."""


class Contents(NamedTuple):
    """The files that depend on the caller.

    Attributes:
        criterion: the metric that ranks members.
        config: makes a member's ``config.json``.
        order: makes ``best/`` resumable, or None.
    """

    criterion: Criterion
    config: Config
    order: Order | None


class SweepDir:
    """The folder of a sweep in progress.

    ``plan.json`` holds the settings that a resumed sweep must share. ``members/NAME`` is created
    atomically when a member is done, and ``unfinished.npz`` holds the other members between the
    epochs of successive halving. ``sweep.json`` is written last.

    Args:
        path: existing folder.
        contents: see :class:`Contents`.
        resume: continue the sweep in the folder, if any.

    Raises:
        ValueError: the folder holds a sweep and ``resume`` is False.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, contents: Contents, *, resume: bool):
        self.path, self.contents = path, contents
        self._members, self._unfinished = path / "members", path / "unfinished.npz"
        # a name that begins with a dot is an unfinished folder or a file of the desktop
        found = [child for child in self._members.glob("[!.]*") if child.is_dir()]
        self.begun = (path / "plan.json").exists()
        self.complete = (path / "sweep.json").exists()
        if (self.begun or self.complete or found) and not resume:
            raise ValueError(
                f"{path} already holds a sweep. Resume it (resume=True, --resume) or choose "
                "another folder."
            )
        if (self.complete or found) and not self.begun:
            raise ValueError(f"{path} holds a sweep that cannot be resumed: plan.json is missing.")
        with _naming_folder(path):
            self._members.mkdir(parents=True, exist_ok=True)
            for unfinished in self._members.glob(".*.tmp"):
                shutil.rmtree(unfinished)

    def check_plan(self, plan: dict[str, JSON]) -> None:
        """Raises ValueError if the folder holds a sweep with a different plan."""
        if not self.begun:
            return
        before = read_json(self.path / "plan.json")
        for name, value in plan.items():
            old, new = before.get(name), json.loads(json.dumps(value))
            if old != new:
                begun, now = (shorten(json.dumps(value), 100) for value in (old, new))
                raise ValueError(
                    f"{self.path} was started with {name} {begun}, but this sweep has {now}. "
                    f"Resume it with the same {name}, or choose another folder."
                )

    def layouts(self, methods: Sequence[str]) -> list[Layout | None]:
        """Returns the saved layouts of the groups, so that resuming is bitwise exact."""
        if self.begun:
            before = read_json(self.path / "plan.json")
            if before["devices"] == _devices() and before["methods"] == list(methods):
                return [Layout(*layout) for layout in before["layouts"]]
        return [None] * len(methods)

    def begin(self, plan: dict[str, JSON], groups: Sequence[Group]) -> None:
        """Writes ``plan.json``."""
        layouts: list[JSON] = [list(group.layout) for group in groups]
        methods: list[JSON] = [group.plan.method for group in groups]
        programs: dict[str, JSON] = {
            "devices": _devices(), "methods": methods, "layouts": layouts,
        }  # fmt: skip
        write_json(self.path / "plan.json", plan | programs)

    def check_members(self, members: Iterable[tuple[Setting, int]], metrics: Sequence[str]) -> None:
        """Serializes each member's config, so that errors are raised before training."""
        for tag in metrics:
            check_tag(tag)
        for hparams, seed in members:
            flatten(_shown(hparams, seed))
            json.dumps(dataclasses.asdict(self.contents.config(hparams, seed)), default=str)

    def restore(self, groups: Sequence[Group]) -> dict[int, Member]:
        """Reads the finished members."""
        members = {}
        for group in groups:
            for blank in group.blanks.values():
                folder = self._folder(blank)
                if (folder / "result.npz").exists():
                    arrays = _read_arrays(folder / "result.npz")
                    if (folder / "state.npz").exists():
                        arrays |= _read_arrays(folder / "state.npz")
                    members[blank.number] = _unpack(arrays, blank, group)
        return members

    def add(self, member: Member, *, num_seeds: int, keep_state: bool) -> None:
        """Writes a finished member unless it exists.

        The seeds of a setting share a group, i.e. a row of TensorBoard's table.
        """
        folder = self._folder(member)
        if folder.exists():
            if keep_state:
                _write_arrays(folder / "state.npz", _pack_state(member))
            return
        group = json.dumps(as_json(member.hparams)) if num_seeds > 1 and member.hparams else ""
        rows = rows_of(member)
        curves = [name for name, values in member.history.items() if values.ndim == 1]
        with replacing(folder) as temporary:
            with tensorboard.open_writer(temporary) as writer:
                hparams = _shown(member.hparams, member.seed)
                tensorboard.write_hparams(writer, hparams, metrics=curves, group=group)
                for row in rows:
                    values = {name: row[name] for name in curves}
                    tensorboard.write_scalars(writer, values, row["step"])
                write_hparams_end(writer, succeeded=member.diverged is None)
            write_lines(temporary / "metrics.jsonl", map(to_json, rows))
            made = self.contents.config(member.hparams, member.seed)
            configs.save(made, temporary / "config.json")
            _write_arrays(temporary / "result.npz", _pack_history(member))
            if keep_state:
                _write_arrays(temporary / "state.npz", _pack_state(member))

    def drop_state(self, member: Member) -> None:
        """Deletes the state of a member that is no longer the best."""
        (self._folder(member) / "state.npz").unlink(missing_ok=True)

    def save_unfinished(self, num_epochs: int, members: Mapping[int, Member]) -> None:
        """Saves the remaining members between epochs of successive halving."""
        arrays = {"num_epochs": np.asarray(num_epochs)}
        for number, member in members.items():
            packed = _pack_history(member) | _pack_state(member)
            arrays |= {f"{number}/{name}": value for name, value in packed.items()}
        _write_arrays(self._unfinished, arrays)

    def read_unfinished(self, groups: Sequence[Group]) -> tuple[int, dict[int, Member]]:
        """Reads the file of :meth:`save_unfinished`; without one, 0 epochs and no members."""
        if not self._unfinished.exists():
            return 0, {}
        arrays = _read_arrays(self._unfinished)
        num_epochs = int(arrays.pop("num_epochs"))
        found: dict[str, dict[str, np.ndarray]] = {}
        for path, value in arrays.items():
            number, _, name = path.partition("/")
            found.setdefault(number, {})[name] = value
        members = {
            number: _unpack(found[str(number)], blank, group)
            for group in groups
            for number, blank in group.blanks.items()
            if str(number) in found
        }
        return num_epochs, members

    def finish(self, result: SweepResult, members: Sequence[Member]) -> None:
        """Writes the heat map, the best run, and ``sweep.json``."""
        figure = result.heat_map()
        if figure is not None:
            plots.save(figure, self.path / "heat_map.png")
        shutil.rmtree(self.path / "best", ignore_errors=True)  # of a sweep that was killed here
        if result.best is not None:
            self._write_best(members[result.best], result)
        criterion = self.contents.criterion
        table = {
            "monitor": criterion.monitor,
            "mode": criterion.mode,
            "method": result.method,
            "chunk_size": result.chunk_size,
            "seconds": round(result.seconds, 3),
            "best": result.best,
            "members": [self._row(member) for member in members],
        }
        write_lines(self.path / "sweep.json", [json.dumps(table, indent=1)])
        self._unfinished.unlink(missing_ok=True)

    def _write_best(self, member: Member, result: SweepResult) -> None:
        """Writes the best member as a run folder, resumable if ``order`` is given."""
        key = jax.random.key(member.seed)
        order = self.contents.order and self.contents.order(key, member.hparams)
        made = self.contents.config(member.hparams, member.seed)
        rows = rows_of(member)
        monitor, mode = self.contents.criterion
        finite = [row for row in rows if math.isfinite(row[monitor])]
        best_row = min(finite, key=lambda row: (-1.0 if mode == "max" else 1.0) * row[monitor])
        with RunFolder(
            self.path / "best", result.state,
            resume=False, fingerprint=_fingerprint(order), config=made,
        ) as record:  # fmt: skip
            for row in rows:
                record.add_row(row)
            if best_row is rows[-1]:  # there is no state of earlier epochs
                record.keep_best(result.state, best_row)
            record.save(result.state, None)
            record.finish()

    def _row(self, member: Member) -> dict[str, JSON]:
        monitor = self.contents.criterion.monitor
        last = float(member.history[monitor][-1])
        return {
            "member": member.number,
            "folder": self._folder(member).name,
            "hparams": as_json(member.hparams),
            "seed": member.seed,
            "num_epochs": member.num_epochs,
            "diverged": member.diverged,
            monitor: last if math.isfinite(last) else None,
        }

    def _folder(self, member: Member) -> Path:
        return self._members / member.name


@contextlib.contextmanager
def open_sweep_dir(
    workdir: Path | str | None, contents: Contents, *, resume: bool
) -> Iterator[SweepDir | None]:
    """A locked :class:`SweepDir`, or None without a ``workdir``."""
    if workdir is None:
        yield None
        return
    path = Path(workdir)
    with _naming_folder(path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        yield SweepDir(path, contents, resume=resume)


@contextlib.contextmanager
def _naming_folder(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"the sweep folder {path} cannot be written ({error.strerror or error}). "
            "Choose another one or free some space."
        ) from error


def plan_json(
    settings: Sequence[Setting], seeds: Sequence[int], data: PyTree, **options: object
) -> dict[str, JSON]:
    """Returns the part of ``plan.json`` that a resumed sweep must share."""
    return {
        "settings": as_json(list(settings)),
        "seeds": as_json([int(seed) for seed in seeds]),
        "data": as_json([str(jax.typeof(leaf)) for leaf in jax.tree.leaves(data)]),
        **{name: as_json(value) for name, value in options.items()},
    }


def rows_of(member: Member) -> list[Row]:
    """Converts a member's history to the rows of ``metrics.jsonl``, without times."""
    rows = []
    num_steps = member.num_steps or member.num_epochs
    for epoch in range(member.num_epochs):
        row: Row = {
            "epoch": epoch + 1,
            "step": num_steps * (epoch + 1) // member.num_epochs,
        }
        for name, values in member.history.items():
            value = values[epoch]
            row[name] = float(value) if np.ndim(value) == 0 else value.tolist()
        rows.append(row)
    return rows


def default_config(hparams: Setting, seed: int) -> Any:
    """The ``config.json`` of a member by default: its setting and seed."""
    values = {**{name: as_json(value) for name, value in hparams.items()}, "seed": seed}
    # make_dataclass would refuse names that are not identifiers, such as "optimizer/rate"
    cls: Any = type("Member", (), {"__annotations__": dict.fromkeys(values, object)})
    member: Any = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)()
    vars(member).update(values)
    return member


def _shown(hparams: Setting, seed: int) -> dict[str, JSON]:
    """The hyperparameters in TensorBoard's table."""
    return {name: as_json(value) for name, value in hparams.items()} or {"seed": seed}


def _fingerprint(order: tuple[int, int, Array] | None) -> dict[str, JSON]:
    """Values that :func:`jaxdl.train.run` compares before it resumes."""
    if order is None:
        return dict.fromkeys(("batch size", "number of examples", "order key"), "unknown")
    batch_size, num_examples, key = order
    return {
        "batch size": batch_size,
        "number of examples": num_examples,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }


def _devices() -> str:
    devices = jax.local_devices()
    return f"{len(devices)} x {devices[0].device_kind}"


def _pack_history(member: Member) -> dict[str, np.ndarray]:
    """Packs a history without loss; ``metrics.jsonl`` has neither dtypes nor infinity."""
    numbers = {
        name: np.asarray(-1 if value is None else value)
        for name, value in (("num_steps", member.num_steps), ("diverged", member.diverged))
    }
    return numbers | {f"history/{name}": values for name, values in member.history.items()}


def _pack_state(member: Member) -> dict[str, np.ndarray]:
    return {f"state/{index}": leaf for index, leaf in enumerate(member.leaves or ())}


def _unpack(arrays: dict[str, np.ndarray], blank: Member, group: Group) -> Member:
    num_steps, diverged = (int(arrays[name]) for name in ("num_steps", "diverged"))
    history = {
        name: _as_dtype(arrays[f"history/{name}"], form.dtype)
        for name, form in group.plan.traced.history.items()
    }
    leaves = None
    if "state/0" in arrays:
        leaves = [
            _as_dtype(arrays[f"state/{index}"], dtype)
            for index, dtype in enumerate(group.leaf_dtypes())
        ]
    return blank._replace(
        history=history,
        num_steps=None if num_steps < 0 else num_steps,
        diverged=None if diverged < 0 else diverged,
        leaves=leaves,
    )


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        arguments: dict[str, Any] = {name: _native(x) for name, x in arrays.items()}
        np.savez(file, **arguments)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged ({error}). Delete its folder to train the member again."
        ) from error


def _native(array: np.ndarray) -> np.ndarray:
    """Views extension dtypes such as bfloat16 as unsigned integers, which NumPy can write."""
    array = np.asarray(array)
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def _as_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return array if array.dtype == dtype else array.view(dtype)
