"""What a sweep leaves on disk: a row a member for TensorBoard, a table, a map, the best run."""

import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl import config as configs
from jaxdl import plots, tensorboard
from jaxdl._files import replacing
from jaxdl.sweep import _plan
from jaxdl.sweep.result import Ended, as_json, ended
from jaxdl.train._run_dir import RunFolder, to_json, write_lines
from jaxdl.types import Array

Order = Callable[[Array, dict[str, Any]], tuple[int, int, Array]]
"""``(key, hparams) -> (batch_size, num_examples, key)`` of a member's call of ``fit``."""


def prepare(workdir: Path) -> None:
    """Makes the folder of a sweep, and says before anything is trained if it cannot be used."""
    # a name that begins with a point is a member whose writing was cut short, or a desktop's file
    found = (workdir / "members").glob("[!.]*")
    if (workdir / "sweep.json").exists() or any(path.is_dir() for path in found):
        raise ValueError(f"{workdir} already holds a sweep. Choose another folder.")
    try:
        (workdir / "members").mkdir(parents=True, exist_ok=True)
        for cut_short in (workdir / "members").glob(".*.tmp"):
            shutil.rmtree(cut_short)
    except OSError as error:
        raise type(error)(
            f"the sweep folder {workdir} cannot be written ({error.strerror or error}). "
            "Choose another one or free some space."
        ) from error


def rehearse(
    setting: dict[str, Any],
    seed: int,
    history: Mapping[str, tuple[int, ...]],
    config: Callable[[dict[str, Any], int], Any],
) -> None:
    """Writes a member into a folder that is thrown away: what cannot be written is said now."""
    zeros = {name: np.zeros((1, *shape)) for name, shape in history.items()}
    with tempfile.TemporaryDirectory() as folder:
        _write_member(Path(folder), Ended(0, "0", setting, int(seed), zeros, 1, None), config, "")


def write(
    workdir: Path,
    result: Any,
    *,
    monitor: str,
    mode: str,
    config: Callable[[dict[str, Any], int], Any],
    order: Order | None,
    axes: Sequence[str] | None,
) -> None:
    """Writes what is known when a sweep has ended; see :func:`jaxdl.sweep.sweep`.

    Its members were written before, each by :func:`write_member`.
    """
    table = {
        "monitor": monitor,
        "mode": mode,
        "method": result.method,
        "chunk_size": result.chunk_size,
        "seconds": round(result.seconds, 3),
        "best": result.best,
        "members": [_row(ended(result, member), monitor) for member in range(len(result.hparams))],
    }
    write_lines(workdir / "sweep.json", [json.dumps(table, indent=1)])
    figure = draw(result, monitor=monitor, mode=mode, axes=axes)
    if figure is not None:
        plots.save(figure, workdir / "heat_map.png")
    if result.best is not None:
        write_best(workdir / "best", result, monitor=monitor, mode=mode, config=config, order=order)


def rows_of(member: Ended) -> list[dict[str, Any]]:
    """A member's history as the rows of ``metrics.jsonl``, without the columns of time."""
    number = len(next(iter(member.history.values())))
    rows = []
    for epoch in range(number):
        row: dict[str, Any] = {"epoch": epoch + 1, "step": member.num_steps * (epoch + 1) // number}
        for name, values in member.history.items():
            value = values[epoch]
            row[name] = float(value) if np.ndim(value) == 0 else value.tolist()
        rows.append(row)
    return rows


def write_member(
    workdir: Path,
    member: Ended,
    config: Callable[[dict[str, Any], int], Any],
    *,
    num_seeds: int,
) -> None:
    """Hyperparameters and curves; the seeds of one setting share a group, and so a row.

    The folder appears when it is whole, so that a sweep that is killed leaves whole ones.
    """
    several = num_seeds > 1 and member.hparams
    group = json.dumps(as_json(member.hparams)) if several else ""
    with replacing(workdir / "members" / member.name) as temporary:
        _write_member(temporary, member, config, group)


def _write_member(
    folder: Path, member: Ended, config: Callable[[dict[str, Any], int], Any], group: str
) -> None:
    rows = rows_of(member)
    curves = [name for name, values in member.history.items() if values.ndim == 1]
    hparams = as_json(member.hparams) or {"seed": member.seed}
    with tensorboard.open_writer(folder) as writer:
        tensorboard.write_hparams(writer, hparams, metrics=curves, group=group)
        for row in rows:
            tensorboard.write_scalars(writer, {name: row[name] for name in curves}, row["step"])
        tensorboard.write_hparams_end(writer, succeeded=member.diverged is None)
    write_lines(folder / "metrics.jsonl", map(to_json, rows))
    configs.save(config(member.hparams, member.seed), folder / "config.json")


def write_best(
    folder: Path,
    result: Any,
    *,
    monitor: str,
    mode: str,
    config: Callable[[dict[str, Any], int], Any],
    order: Order | None,
) -> None:
    """The best member as a run folder with which ``run`` goes on where the member stopped."""
    hparams, seed = result.hparams[result.best], int(result.seeds[result.best])
    fingerprint = _fingerprint(order and order(jax.random.key(seed), hparams))
    rows = rows_of(ended(result, result.best))
    made = config(hparams, seed)
    sign = -1.0 if mode == "max" else 1.0
    finite = [row for row in rows if math.isfinite(row[monitor])]
    best_row = min(finite, key=lambda row: sign * row[monitor])
    with RunFolder(
        folder, result.state, resume=False, fingerprint=fingerprint, config=made
    ) as record:
        for row in rows:
            record.add_row(row)
        if best_row is rows[-1]:  # of earlier epochs there is no state
            record.keep_best(result.state, best_row)
        record.save(result.state, None)
        record.finish()


def draw(result: Any, *, monitor: str, mode: str, axes: Sequence[str] | None = None) -> Any:
    """The monitored metric over two hyperparameters: mean over seeds, best over all others.

    Args:
        result: a :class:`jaxdl.sweep.SweepResult`.
        monitor: metric; its last value counts.
        mode: "min" or "max".
        axes: names of one or two hyperparameters; by default the first two that vary.

    Returns:
        a figure, or None where nothing varies.
    """
    hparams = [{n: _label(v) for n, v in setting.items()} for setting in result.hparams]
    values = {name: _different(setting[name] for setting in hparams) for name in hparams[0]}
    chosen = list(axes or [name for name in values if len(values[name]) > 1])[:2]
    if not chosen:
        return None
    number = len(set(result.seeds))
    ends = [result.history[monitor][m, n - 1] for m, n in enumerate(result.num_epochs)]
    ends = [math.nan if m in result.diverged else float(x) for m, x in enumerate(ends)]
    # a mean over seeds of which one diverged says so
    means = np.asarray(ends).reshape(-1, number).mean(axis=1)
    settings = hparams[::number]
    seeds = f", mean of {number} seeds" if number > 1 else ""
    stopped = ", at each one's last epoch" if len(set(result.num_epochs)) > 1 else ""
    title = f"{monitor}{seeds}{stopped}"
    across = chosen[0]
    up = chosen[1] if len(chosen) == 2 else None
    cells = len(values[across]) * (len(values[up]) if up else 1)
    numeric = all(_plan.is_number(x) for name in chosen for x in values[name])
    better: Any = mode
    if up and numeric and cells > 2 * len(settings):
        x, y = ([float(setting[name]) for setting in settings] for name in (across, up))
        return plots.scattered_values(x, y, means, labels=(across, up), title=title, mode=better)
    rows = values[up] if up else [""]
    table = np.full((len(rows), len(values[across])), np.nan)
    for setting, mean in zip(settings, means, strict=True):
        row = rows.index(setting[up]) if up else 0
        column = values[across].index(setting[across])
        pick = np.fmin if mode == "min" else np.fmax
        table[row, column] = pick(table[row, column], mean)
    return plots.heat_map(
        table,
        rows,
        values[across],
        labels=(up or "", across),
        title=title,
        mode=better,
    )


def _fingerprint(order: tuple[int, int, Array] | None) -> dict[str, Any]:
    """The values that ``run`` compares before it resumes."""
    if order is None:
        return dict.fromkeys(("batch size", "number of examples", "order key"), "unknown")
    batch_size, num_examples, key = order
    return {
        "batch size": batch_size,
        "number of examples": num_examples,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }


def made_config(hparams: Mapping[str, Any], seed: int) -> Any:
    """What stands in a member's ``config.json`` where nobody says: its setting and seed."""
    values = {**as_json(hparams), "seed": seed}
    # not made by make_dataclass, as a name may be no identifier: "optimizer/rate"
    cls: Any = type("Member", (), {"__annotations__": dict.fromkeys(values, Any)})
    member: Any = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)()
    vars(member).update(values)
    return member


def _row(member: Ended, monitor: str) -> dict[str, Any]:
    last = float(member.history[monitor][-1])
    return {
        "member": member.number,
        "folder": member.name,
        "hparams": as_json(member.hparams),
        "seed": member.seed,
        "num_epochs": len(member.history[monitor]),
        "diverged": member.diverged,
        monitor: last if math.isfinite(last) else None,
    }


def _label(value: Any) -> Any:
    """A hyperparameter as an axis shows it: a number, or a text."""
    value = as_json(value)
    return value if isinstance(value, int | float | str) else str(value)


def _different(values: Any) -> list[Any]:
    """The different values, numbers ascending, others in their order."""
    different = list(dict.fromkeys(values))
    return sorted(different) if all(_plan.is_number(value) for value in different) else different
