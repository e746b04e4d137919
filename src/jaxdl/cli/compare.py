"""``python -m jaxdl compare``: configurations, curves and metrics of runs side by side."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxdl._files import read_json, read_json_lines
from jaxdl._text import align_table

MISSING = "–"
"""Shown for a field or metric that a run does not have."""

CONFIG = {
    "config?": dict,
    "versions?": {"*": object},
    "python?": str,
    "platform?": str,
}
"""Form of ``config.json``."""


class RunFolder(NamedTuple):
    """The files of a run folder.

    Attributes:
        name: end of the path that no other run shares.
        config: fields of ``config.json``, nested ones as ``optimizer/beta``; {} without the file.
        versions: versions of packages, Python and platform.
        rows: rows of ``metrics.jsonl``; null, which stands for NaN and infinity, is NaN.
    """

    name: str
    config: dict[str, object]
    versions: dict[str, object]
    rows: list[dict[str, object]]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "compare",
        help="compare runs: configurations, curves in one picture, last and best metrics",
        description="Prints the fields in which configurations differ, the last and best metrics, "
        "lengths and durations of runs, and draws their curves into one picture. Members of a "
        "sweep are run folders too. Exit status: 0, or 1 if a path is not a run folder.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more run folders")
    parser.add_argument(
        "--out", default="compare.png", metavar="PNG", help="picture; default: compare.png"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the comparison, draws the curves, and returns the exit status."""
    from jaxdl import plots
    from jaxdl.plots.curves import run_curves

    runs = read_runs(options.runs)
    names = [each.name for each in runs]
    figure = run_curves({each.name: each.rows for each in runs})
    different = config_differences(runs)
    if different:
        rows = [[field, *values] for field, values in different.items()]
        print(align_table(["configuration", *names], rows, markdown=True))
    else:
        print("same configuration")
    print()
    rows = [[quantity, *values] for quantity, values in metric_table(runs).items()]
    print(align_table(["metric", *names], rows, markdown=True))
    print(f"\ncurves: {plots.save(figure, options.out)}")
    return 0


def read_runs(paths: Sequence[Path | str]) -> list[RunFolder]:
    """Reads run folders.

    Args:
        paths: two or more folders that :func:`jaxdl.train.run` wrote.

    Raises:
        ValueError: fewer than two, a repeated one, or folders that are not runs; all are named.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise ValueError(f"expected two or more runs, got {len(folders)}.")
    resolved = [folder.resolve() for folder in folders]
    for index, folder in enumerate(resolved):
        if folder in resolved[:index]:
            raise ValueError(f"{folders[index]} is given twice.")
    wrong = [
        f"{folder} ({_describe(folder)})"
        for folder in folders
        if not (folder / "metrics.jsonl").is_file()
    ]
    if wrong:
        raise ValueError(
            f"not a run folder, no metrics.jsonl: {', '.join(wrong)}. A run folder is the "
            "--workdir of an experiment or the workdir of train.run."
        )
    names = short_names(resolved)
    return [_read(folder, name) for folder, name in zip(folders, names, strict=True)]


def _describe(folder: Path) -> str:
    if not folder.exists():
        return "folder not found"
    if not folder.is_dir():
        return "a file"
    inside = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return f"it holds the runs {', '.join(inside[:5])}" if inside else "another kind of folder"


def _read(folder: Path, name: str) -> RunFolder:
    path = folder / "config.json"
    content = read_json(path, CONFIG) if path.is_file() else {}
    versions = dict(content.get("versions", {}))
    versions |= {key: content[key] for key in ("python", "platform") if key in content}
    rows = [
        {key: math.nan if value is None else value for key, value in row.items()}
        for row in read_json_lines(folder / "metrics.jsonl", {"epoch?": int, "step?": int})
    ]
    return RunFolder(name, _flat(content.get("config", content)), versions, rows)


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that differ from each other.

    >>> short_names([Path("/runs/a/best"), Path("/runs/b/best")])
    ['a/best', 'b/best']
    """
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def config_differences(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """The fields whose values differ between runs.

    Returns:
        values of all runs as text by field; configurations first, then versions and platform.
    """
    different = {}
    for parts in ([each.config for each in runs], [each.versions for each in runs]):
        for field in dict.fromkeys(field for part in parts for field in part):
            found = [part.get(field, MISSING) for part in parts]
            values = [each if isinstance(each, str) else json.dumps(each) for each in found]
            if len(set(values)) > 1:
                different[field] = values
    return different


def metric_table(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """Length and duration of each run, and the last and best value of each metric.

    Returns:
        values of all runs as text by quantity. ``"test/loss, best"`` names the epoch too: the
        highest accuracy, the lowest value of any other metric. Seconds are the sum over epochs and
        evaluations in ``metrics.jsonl``.
    """
    from jaxdl.plots.curves import NOT_DRAWN

    table = {
        "epochs": [_last(run.rows, "epoch") for run in runs],
        "steps": [_last(run.rows, "step") for run in runs],
        "seconds": [_seconds(run.rows) for run in runs],
    }
    names = dict.fromkeys(
        name
        for run in runs
        for row in run.rows
        for name, value in row.items()
        if isinstance(value, float) and not NOT_DRAWN.search(name)
    )
    for name in sorted(names, key=lambda name: (name.startswith("train/"), "/" not in name)):
        table[f"{name}, last"] = [_last(run.rows, name) for run in runs]
        if "learning_rate" not in name:
            table[f"{name}, best"] = [_best(run.rows, name) for run in runs]
    return table


def _numbers(rows: Sequence[Mapping[str, object]], name: str) -> list[tuple[int, int | float]]:
    """Epoch and value of each row with a number of that name."""
    found = []
    for position, row in enumerate(rows, start=1):
        value, epoch = row.get(name), row.get("epoch", position)
        if isinstance(value, int | float) and isinstance(epoch, int):
            found.append((epoch, value))
    return found


def _last(rows: Sequence[Mapping[str, object]], name: str) -> str:
    found = _numbers(rows, name)
    if not found:
        return MISSING
    value = found[-1][1]
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _best(rows: Sequence[Mapping[str, object]], name: str) -> str:
    from jaxdl.metrics import direction

    sign = -1.0 if direction(name) == "max" else 1.0
    found = [(sign * value, epoch) for epoch, value in _numbers(rows, name) if math.isfinite(value)]
    if not found:
        return MISSING
    value, epoch = min(found)
    return f"{sign * value:.5g} (epoch {epoch})"


def _seconds(rows: Sequence[Mapping[str, object]]) -> str:
    times = [
        value for name in ("epoch_seconds", "eval_seconds") for _, value in _numbers(rows, name)
    ]
    return f"{sum(times):.1f}" if times else MISSING
