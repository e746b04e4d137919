"""Two or more run folders side by side: configurations, curves, last and best metrics."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl import metrics
from jaxdl._files import read_json
from jaxdl._text import align_table
from jaxdl.plots.curves import NOT_DRAWN

MISSING = "–"
"""What a run does not have."""


class RunFolder(NamedTuple):
    """What a run folder says.

    Attributes:
        name: of the folder, as short as tells it from the others.
        config: of ``config.json``, {} where there is none, flattened: ``optimizer/beta``.
        versions: of the packages and the machine.
        rows: of ``metrics.jsonl``; null, which stands for NaN and infinity there, is NaN here.
    """

    name: str
    config: dict[str, Any]
    versions: dict[str, Any]
    rows: list[dict[str, Any]]


def read_runs(paths: Sequence[Path | str]) -> list[RunFolder]:
    """Reads run folders.

    Args:
        paths: two or more folders that :func:`jaxdl.train.run` wrote.

    Raises:
        ValueError: fewer than two, one given twice, or folders that hold no run; all are named.
    """
    folders = [Path(path) for path in paths]
    if len(folders) < 2:
        raise ValueError(f"a comparison needs two runs or more, got {len(folders)}.")
    resolved = [folder.resolve() for folder in folders]
    for index, folder in enumerate(resolved):
        if folder in resolved[:index]:
            raise ValueError(f"{folders[index]} is given twice.")
    wrong = [
        f"{folder} ({_what_is(folder)})"
        for folder in folders
        if not (folder / "metrics.jsonl").is_file()
    ]
    if wrong:
        raise ValueError(
            "not a run folder, for want of a metrics.jsonl: " + ", ".join(wrong) + ". "
            "A run folder is what --workdir or train.run(workdir=...) names."
        )
    return [
        _read(folder, name) for folder, name in zip(folders, short_names(resolved), strict=True)
    ]


def short_names(folders: Sequence[Path]) -> list[str]:
    """The ends of paths, as long as is needed to tell them apart.

    >>> short_names([Path("/runs/a/best"), Path("/runs/b/best")])
    ['a/best', 'b/best']
    """
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def config_differences(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """The fields whose values are not the same in all runs.

    Args:
        runs: from :func:`read_runs`.

    Returns:
        field → its value in every run, as text; configuration first, then versions and machine.
    """
    different = {}
    for part in ("config", "versions"):
        fields = dict.fromkeys(field for run in runs for field in getattr(run, part))
        for field in fields:
            values = [_text(getattr(run, part).get(field, MISSING)) for run in runs]
            if len(set(values)) > 1:
                different[field] = values
    return different


def metric_table(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """The length of every run, and the last and the best value of every metric.

    Args:
        runs: from :func:`read_runs`.

    Returns:
        quantity → its value in every run, as text. ``"test/loss, best"`` names the epoch as well:
        the highest of an accuracy, the lowest of anything else. Seconds are those of the epochs
        and evaluations that ``metrics.jsonl`` tells of.
    """
    table = {
        "epochs": [str(_last(run.rows, "epoch")) for run in runs],
        "steps": [str(_last(run.rows, "step")) for run in runs],
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
        table[f"{name}, last"] = [_number(_last(run.rows, name)) for run in runs]
        if "learning_rate" not in name:
            table[f"{name}, best"] = [_best(run.rows, name) for run in runs]
    return table


def to_text(title: str, table: dict[str, list[str]], names: Sequence[str]) -> str:
    """A table in Markdown, one column per run."""
    rows = [[field, *values] for field, values in table.items()]
    return align_table([title, *names], rows, markdown=True)


def _read(folder: Path, name: str) -> RunFolder:
    rows = []
    path = folder / "metrics.jsonl"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is not valid JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}, must hold a JSON object, got {line[:40]!r}.")
        rows.append({key: math.nan if value is None else value for key, value in row.items()})
    content: dict[str, Any] = {}
    if (folder / "config.json").is_file():
        content = read_json(folder / "config.json")
    config = content.get("config", content)
    versions = dict(content.get("versions", {}))
    versions |= {key: content[key] for key in ("python", "platform") if key in content}
    return RunFolder(name, _flat(config), versions, rows)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _what_is(folder: Path) -> str:
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file"
    inside = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return f"it holds the runs {', '.join(inside[:5])}" if inside else "a folder of something else"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _last(rows: list[dict[str, Any]], name: str) -> Any:
    found = [row[name] for row in rows if name in row]
    return found[-1] if found else MISSING


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _best(rows: list[dict[str, Any]], name: str) -> str:
    sign = -1.0 if metrics.direction(name) == "max" else 1.0
    found = [
        (sign * float(row[name]), row.get("epoch", position))
        for position, row in enumerate(rows, start=1)
        if isinstance(row.get(name), int | float) and math.isfinite(row[name])
    ]
    if not found:
        return MISSING
    value, epoch = min(found)
    return f"{sign * value:.5g} (epoch {epoch})"


def _seconds(rows: list[dict[str, Any]]) -> str:
    times = [row[name] for row in rows for name in ("epoch_seconds", "eval_seconds") if name in row]
    return f"{sum(times):.1f}" if times else MISSING
