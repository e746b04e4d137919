"""Results of a sweep, one entry per member."""

import dataclasses
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl import plots
from jaxdl._text import align_table, plural
from jaxdl.plots.matrices import scattered_values
from jaxdl.sweep._plan import is_number
from jaxdl.sweep.space import Setting
from jaxdl.types import PyTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


class Member(NamedTuple):
    """One training of a sweep: a setting with a seed.

    Attributes:
        number: position in the sweep.
        name: name of its folder.
        hparams: the setting.
        seed: the seed.
        history: (E, ...) by name.
        num_steps: updates by ``state.step``; None if the state has none.
        diverged: first epoch, from 1, with metrics or weights that are not finite, or None.
        leaves: leaves of the state after the last epoch, or None if they are not kept.
    """

    number: int
    name: str
    hparams: Setting
    seed: int
    history: dict[str, np.ndarray]
    num_steps: int | None
    diverged: int | None
    leaves: list[np.ndarray] | None

    @property
    def num_epochs(self) -> int:
        return len(next(iter(self.history.values())))


def member_name(number: int, total: int, hparams: Setting, seed: int | None) -> str:
    """The folder of a member: its number, its hyperparameters, and its seed unless it is None.

    >>> member_name(7, 64, {"learning_rate": 0.001}, 3)
    '07_learning_rate=0.001_seed=3'
    """
    parts = [f"{name}={short(value)}" for name, value in hparams.items()]
    parts += [] if seed is None else [f"seed={seed}"]
    name = "_".join([f"{number:0{len(str(total - 1))}d}", *parts])
    return re.sub(r"[^\w=.+-]+", "-", name)[:120]


def extend(before: Member, after: Member) -> Member:
    """A member with the epochs of both; ``after`` continued from the state of ``before``."""
    history = {name: np.concatenate([x, after.history[name]]) for name, x in before.history.items()}
    diverged = before.diverged
    if diverged is None and after.diverged is not None:
        diverged = before.num_epochs + after.diverged
    return after._replace(history=history, diverged=diverged)


def first_not_finite(history: dict[str, np.ndarray], leaves: list[np.ndarray]) -> int | None:
    """First epoch, from 1, with a metric that is not finite; the last one for weights."""
    length = len(next(iter(history.values())))
    finite = np.ones(length, bool)
    for values in history.values():
        if jnp.issubdtype(values.dtype, jnp.inexact):  # bfloat16 has NumPy's kind "V"
            finite &= np.isfinite(values.reshape(length, -1)).all(axis=1)
    weights = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite[-1] &= all(np.isfinite(leaf).all() for leaf in weights)
    return None if finite.all() else int(finite.argmin()) + 1


class Criterion(NamedTuple):
    """The metric that ranks members.

    Attributes:
        monitor: name in the history.
        mode: "min" or "max".
    """

    monitor: str
    mode: Literal["min", "max"]

    def loss(self, member: Member) -> float:
        """Last value of the metric, less is better; infinity if the member diverged."""
        value = float(member.history[self.monitor][-1])
        if member.diverged is not None or not math.isfinite(value):
            return math.inf
        return -value if self.mode == "max" else value

    def best(self, members: Iterable[Member]) -> Member | None:
        """The best member; the first of equal ones; None if all diverged."""
        ranked = [(self.loss(member), member.number, member) for member in members]
        finite = [entry for entry in ranked if math.isfinite(entry[0])]
        return min(finite)[2] if finite else None


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """Result of a sweep of M members; member ``i`` is setting ``i // S`` with seed ``i % S``.

    ``print(result)`` summarizes it, ``print(result.table())`` lists the settings.

    Attributes:
        hparams: settings by member, M dictionaries.
        seeds: (M,) int.
        history: (M, E, ...) by name, NaN after a member's last epoch.
        num_epochs: (M,) int, epochs of each member.
        num_steps: (M,) int, updates by ``state.step``; epochs if the state has none.
        diverged: member → first epoch, from 1, with metrics or weights that are not finite.
        best: the member with the best last value of the monitored metric, among those trained to
            the end; None if all diverged.
        state: final state of the best member.
        states: final states of all members if they were kept, else None.
        monitor: the metric that ranks members.
        mode: "min" or "max".
        method: "vmap" or "loop"; both if groups differ.
        chunk_size: largest number of members in a program.
        num_programs: number of programs that ran at a time.
        program_bytes: memory of the largest program on a device, data included; None if XLA does
            not report it.
        seconds: wall time, compilation included.

    >>> from jaxdl import sweep
    >>> def descend(key, hparams, data):
    ...     return {"w": data}, {"test/loss": jnp.square(hparams["learning_rate"] - data)[None]}
    >>> space = sweep.grid(learning_rate=[0.1, 0.5, 1.0])
    >>> result = sweep.sweep(descend, space, jnp.array(0.5), progress=False)
    >>> result.best, result.hparams[result.best], result.history["test/loss"].shape
    (1, {'learning_rate': 0.5}, (3, 1))
    """

    hparams: list[Setting]
    seeds: np.ndarray
    history: dict[str, np.ndarray]
    num_epochs: np.ndarray
    num_steps: np.ndarray
    diverged: dict[int, int]
    best: int | None
    state: PyTree
    states: list[PyTree] | None
    monitor: str
    mode: Literal["min", "max"]
    method: str
    chunk_size: int
    num_programs: int
    program_bytes: int | None
    seconds: float

    @property
    def num_seeds(self) -> int:
        """Number of seeds, S."""
        return len(set(self.seeds.tolist()))

    def __repr__(self) -> str:
        settings = plural(len(self.hparams) // self.num_seeds, "setting")
        names = ", ".join(self.hparams[0])
        lines = [
            f"SweepResult: {plural(len(self.hparams), 'member')} = {settings}"
            f"{f' of {names}' if names else ''} × {plural(self.num_seeds, 'seed')}, "
            f"{plural(int(self.num_epochs.max()), 'epoch')}",
            "best: none, all members diverged" if self.best is None else f"best: {self._best()}",
            f"trained by {self.method}, up to {plural(self.chunk_size, 'member')} per program, in "
            f"{self.seconds:.1f} s",
        ]
        if self.diverged:
            lines.insert(2, f"diverged: {plural(len(self.diverged), 'member')}")
        return "\n".join(lines)

    def _best(self) -> str:
        if self.best is None:
            return "none"
        hparams = [f"{name}={short(value)}" for name, value in self.hparams[self.best].items()]
        value = self._last(self.monitor)[self.best]
        parts = [*hparams, f"seed={self.seeds[self.best]}", f"{self.monitor}={value:.4g}"]
        return f"member {self.best}, {', '.join(parts)}"

    def _last(self, name: str) -> np.ndarray:
        """(M,) values of a metric at each member's last epoch; NaN for those that diverged."""
        last = self.history[name][np.arange(len(self.hparams)), self.num_epochs - 1]
        last = np.array(last, np.float64)
        last[list(self.diverged)] = np.nan
        return last

    def _rows(self, num_rows: int | None) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table."""
        shape = (-1, self.num_seeds)
        epochs = self.num_epochs.reshape(shape)[:, 0]
        others = [
            name
            for name, values in self.history.items()
            if name != self.monitor and values.ndim == 2 and not name.startswith("train/")
        ]
        metrics = {name: self._last(name).reshape(shape) for name in [self.monitor, *others]}
        means = metrics[self.monitor].mean(axis=1)
        ranks = np.where(np.isnan(means), np.inf, -means if self.mode == "max" else means)
        header, rows = [*self.hparams[0], "epochs", *metrics], []
        for index in np.lexsort((ranks, -epochs))[:num_rows]:
            hparams = [short(x) for x in self.hparams[index * self.num_seeds].values()]
            cells = [_mean_and_std(values[index]) for values in metrics.values()]
            rows.append([*hparams, str(epochs[index]), *cells])
        return header, rows

    def table(self, num_rows: int | None = None) -> str:
        """The settings as text, best first: mean and standard deviation over the seeds.

        Args:
            num_rows: number of settings to list; None lists all.

        Returns:
            A table with the last values of the metrics, those of training excepted. NaN marks a
            setting with a member that diverged.
        """
        header, rows = self._rows(num_rows)
        return align_table(header, rows, align=">" * len(header))

    def _repr_html_(self) -> str:
        """The summary and the ten best settings, for notebooks."""
        header, rows = self._rows(10)
        lines = [("th", header), *(("td", row) for row in rows)]
        cells = [
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) for tag, line in lines
        ]
        body = "".join(f"<tr>{line}</tr>" for line in cells)
        return f"<pre>{html.escape(repr(self))}</pre><table>{body}</table>"

    def heat_map(self, *names: str) -> "Figure | None":
        """Draws the monitored metric over two hyperparameters.

        Each value is a mean over seeds, and the best over all other hyperparameters.

        Args:
            *names: one or two hyperparameters; by default the first two that vary.

        Returns:
            A figure, or None if no hyperparameter varies.

        Raises:
            ValueError: a name that is not a hyperparameter.
        """
        settings = [
            {name: _label(value) for name, value in setting.items()}
            for setting in self.hparams[:: self.num_seeds]
        ]
        values = {name: _distinct(setting[name] for setting in settings) for name in settings[0]}
        for name in names:
            if name not in values:
                raise ValueError(f"{name!r} is not a hyperparameter; there are {list(values)}.")
        chosen = list(names or [name for name in values if len(values[name]) > 1])[:2]
        if not chosen:
            return None
        # a mean over seeds is NaN if one of them diverged
        means = self._last(self.monitor).reshape(-1, self.num_seeds).mean(axis=1)
        seeds = f", mean of {self.num_seeds} seeds" if self.num_seeds > 1 else ""
        stopped = ", at the last epoch of each" if len(set(self.num_epochs.tolist())) > 1 else ""
        title = f"{self.monitor}{seeds}{stopped}"
        across, up = chosen[0], chosen[1] if len(chosen) == 2 else None
        cells = len(values[across]) * (len(values[up]) if up else 1)
        numeric = all(is_number(x) for name in chosen for x in values[name])
        if up and numeric and cells > 2 * len(settings):
            x, y = ([float(setting[name]) for setting in settings] for name in (across, up))
            return scattered_values(x, y, means, labels=(across, up), title=title, mode=self.mode)
        rows: list[int | float | str] = values[up] if up else [""]
        table = np.full((len(rows), len(values[across])), np.nan)
        pick = np.fmin if self.mode == "min" else np.fmax
        for setting, mean in zip(settings, means, strict=True):
            cell = rows.index(setting[up]) if up else 0, values[across].index(setting[across])
            table[cell] = pick(table[cell], mean)
        return plots.heat_map(
            table, rows, values[across], labels=(up or "", across), title=title, mode=self.mode
        )


def stack(histories: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """(M, E, ...) by name; shorter histories are filled with NaN."""
    length = max(len(next(iter(history.values()))) for history in histories)
    stacked = {}
    for name in histories[0]:
        columns = [history[name] for history in histories]
        if all(len(column) == length for column in columns):
            stacked[name] = np.stack(columns)
            continue
        stacked[name] = np.full((len(columns), length, *columns[0].shape[1:]), np.nan, np.float32)
        for index, column in enumerate(columns):
            stacked[name][index, : len(column)] = column
    return stacked


def as_json(value: object) -> JSON:
    """A hyperparameter or a setting as JSON values; a function becomes its name.

    >>> as_json({"width": np.int64(3), "hidden": (8, 8), "activation": math.tanh})
    {'width': 3, 'hidden': [8, 8], 'activation': 'tanh'}
    """
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if getattr(value, "shape", None) == ():
        value = np.asarray(value).item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(getattr(value, "__name__", value))


def short(value: object) -> str:
    """A hyperparameter in few characters.

    >>> short(0.1 + 0.2), short(math.tanh), short([8, 8])
    ('0.3', 'tanh', '[8, 8]')
    """
    value = as_json(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean_and_std(values: np.ndarray) -> str:
    mean = f"{values.mean():.4g}"
    return mean if len(values) == 1 or math.isnan(values.mean()) else f"{mean} ± {values.std():.2g}"


def _label(value: object) -> int | float | str:
    """A hyperparameter as a label of an axis."""
    value = as_json(value)
    return value if isinstance(value, int | float | str) else str(value)


def _distinct(values: Iterable[int | float | str]) -> list[int | float | str]:
    """The distinct values, numbers ascending, others in their order."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(is_number(value) for value in distinct) else distinct
