"""The unfinished epoch, the display of a run, the best epoch, early stopping and signals."""

import contextlib
import html
import math
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Self

import jax
import numpy as np

from jaxdl import metrics
from jaxdl._machine import output_kind
from jaxdl.types import Metrics, Row

Unfinished = dict[str, Any] | None
"""JSON values of an unfinished epoch, see :meth:`Progress.unfinished`; None between two epochs."""

HEARTBEAT_SECONDS = 60.0
"""Longest silence of a run whose output is neither a terminal nor a notebook."""

NOTEBOOK_SECONDS = 0.25
"""Least time between two updates of the display in a notebook."""


class Progress:
    """Accumulates the metrics of an epoch and shows the progress of a run.

    A terminal gets a bar and a line per epoch; a notebook one display that is updated; a log file
    a line per epoch, and one a minute if epochs take longer.

    Args:
        form: metrics of one step, from ``jax.eval_shape``.
        total: steps of the whole run.
        done: steps made so far.
        examples_per_step: examples of a step, on average.
        enabled: show anything at all.
        unfinished: see :meth:`unfinished`; the epoch to continue, or None.
    """

    def __init__(
        self,
        form: Metrics,
        total: int,
        done: int,
        examples_per_step: float,
        *,
        enabled: bool,
        unfinished: Unfinished = None,
    ):
        self._examples_per_step = examples_per_step
        self._sums: Metrics | None = None
        self._seconds = 0.0
        if unfinished is not None:
            leaves = [np.asarray(leaf) for leaf in unfinished["sums"]]
            self._sums = jax.tree.unflatten(jax.tree.structure(dict(form)), leaves)
            self._seconds = unfinished["seconds"]
        self._display = make_display(total, done, examples_per_step) if enabled else Display()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()

    def add(self, stacked: Metrics, seconds: float) -> None:
        """Adds the metrics of some steps, stacked, and the time they took."""
        self._sums = metrics.sum_over_steps(stacked, self._sums)
        self._seconds += seconds
        self._display.advance(stacked)

    def unfinished(self) -> Unfinished:
        """Returns JSON values to resume the epoch from; None between two epochs."""
        if self._sums is None:
            return None
        sums = [leaf.tolist() for leaf in jax.tree.leaves(self._sums)]
        return {"sums": sums, "seconds": self._seconds}

    def finish(self, num_steps: int) -> Row:
        """Returns the training metrics of the epoch."""
        row: Row = metrics.result(self._sums or {}, "train/")
        row["epoch_seconds"] = round(self._seconds, 3)
        num_examples = num_steps * self._examples_per_step
        row["examples_per_second"] = round(num_examples / max(self._seconds, 1e-9), 1)
        self._sums, self._seconds = None, 0.0
        return row

    def line(self, text: str) -> None:
        """Shows a line of text."""
        self._display.line(text)

    def row(self, row: Row, position: str) -> None:
        """Shows the row of an epoch, which begins with its position, e.g. ``epoch 2/10``."""
        self._display.row(format_row(row, position))


def format_row(row: Row, position: str) -> str:
    """Formats position, metrics, seconds and examples per second as a line."""
    hidden = ("epoch", "step", "epoch_seconds", "eval_seconds", "examples_per_second")
    values = "  ".join(
        f"{name} {value:.4g}" if name.startswith("learning_rate") else f"{name} {value:.4f}"
        for name, value in row.items()
        if name not in hidden and isinstance(value, float)
    )
    return (
        f"{position}  {values}  {row['epoch_seconds']:.1f} s  "
        f"{row['examples_per_second']:,.0f} examples/s"
    )


def write_line(text: str) -> None:
    """Writes a line to the standard output at once, above any bar."""
    from tqdm import tqdm

    tqdm.write(text)
    sys.stdout.flush()


# Displays


class Display:
    """A display that shows nothing; base class of the others."""

    def advance(self, stacked: Metrics) -> None:
        """Advances by some steps and shows their mean metrics."""

    def line(self, text: str) -> None:
        """Shows a line of text."""

    def row(self, text: str) -> None:
        """Shows the line of an epoch."""
        self.line(text)

    def close(self) -> None:
        """Ends the display."""


def make_display(total: int, done: int, examples_per_step: float) -> Display:
    """Returns the display for a notebook, a terminal or a file."""
    match output_kind():
        case "notebook":
            return NotebookDisplay(total, done)
        case "terminal":
            return TerminalDisplay(total, done, examples_per_step)
        case "file":
            return FileDisplay(total, done)


def _means(stacked: Metrics) -> dict[str, str]:
    means = metrics.result(metrics.sum_over_steps(stacked))
    return {name: f"{x:.4g}" for name, x in means.items() if isinstance(x, float)}


def _num_steps(stacked: Metrics) -> int:
    return len(jax.tree.leaves(stacked)[0])


class TerminalDisplay(Display):
    """A progress bar, with lines above it."""

    def __init__(self, total: int, done: int, examples_per_step: float):
        from tqdm import tqdm

        self._examples_per_step = examples_per_step
        self._bar = tqdm(
            total=round(total * examples_per_step),
            initial=round(done * examples_per_step),
            unit=" examples",
            unit_scale=True,
            leave=False,
        )

    def advance(self, stacked: Metrics) -> None:
        self._bar.set_postfix(_means(stacked), refresh=False)
        self._bar.update(_num_steps(stacked) * self._examples_per_step)

    def line(self, text: str) -> None:
        self._bar.write(text)

    def close(self) -> None:
        self._bar.close()


class _Clock:
    """Position of a run and remaining time as text."""

    def __init__(self, total: int, done: int):
        self._total, self._done, self._first = total, done, done
        self._began = time.monotonic()
        self._values = ""

    def advance(self, stacked: Metrics) -> None:
        self._done += _num_steps(stacked)
        self._values = "".join(f"  {name} {value}" for name, value in _means(stacked).items())

    def __str__(self) -> str:
        text = f"step {self._done:,} of {self._total:,}{self._values}"
        if self._done == self._first:
            return text
        seconds = time.monotonic() - self._began
        left = seconds / (self._done - self._first) * (self._total - self._done)
        return f"{text}  {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class FileDisplay(Display):
    """Lines, including the position after every minute without output."""

    def __init__(self, total: int, done: int):
        self._clock = _Clock(total, done)
        self._ended = threading.Event()
        self._printed = time.monotonic()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(self._printed + HEARTBEAT_SECONDS - time.monotonic()):
            if time.monotonic() >= self._printed + HEARTBEAT_SECONDS:
                self.line(str(self._clock))

    def advance(self, stacked: Metrics) -> None:
        self._clock.advance(stacked)

    def line(self, text: str) -> None:
        write_line(text)
        self._printed = time.monotonic()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


class NotebookDisplay(Display):
    """One line that is updated: the last epoch and the position."""

    def __init__(self, total: int, done: int):
        from IPython.display import display

        self._clock = _Clock(total, done)
        self._text, self._updated = "", 0.0
        self._handle = display(self._shown(), raw=True, display_id=True)

    def _shown(self, last: bool = False) -> dict[str, str]:
        text = "\n".join(filter(None, (self._text, "" if last else str(self._clock))))
        return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}

    def _update(self) -> None:
        if time.monotonic() > self._updated + NOTEBOOK_SECONDS:
            self._handle.update(self._shown(), raw=True)
            self._updated = time.monotonic()

    def advance(self, stacked: Metrics) -> None:
        self._clock.advance(stacked)
        self._update()

    def line(self, text: str) -> None:
        self._text = text
        self._update()

    def close(self) -> None:
        self._handle.update(self._shown(last=True), raw=True)


# The best epoch


class Monitor(NamedTuple):
    """The metric that selects the best epoch, and early stopping.

    Attributes:
        name: name in the row, e.g. ``"test/loss"``; "" monitors nothing.
        mode: "min" or "max".
        patience: epochs without improvement after which to stop; None never stops.
        restore_best: return the state of the best epoch.
    """

    name: str
    mode: Literal["min", "max"] = "min"
    patience: int | None = None
    restore_best: bool = False

    def is_best(self, row: Row, history: list[Row]) -> bool:
        """Returns True if a row is better than all earlier ones; NaN and infinity never are.

        Raises:
            ValueError: the row lacks the metric.
        """
        if self.name:
            check_monitor(row, self.name)
        return self.best_index([*history, row]) == len(history)

    def is_stale(self, history: list[Row]) -> bool:
        """Returns True if there was no improvement in the last ``patience`` rows."""
        if self.patience is None or not history:
            return False
        return len(history) - 1 - self.best_index(history) >= self.patience

    def best_index(self, history: list[Row]) -> int:
        """Returns the index of the first row with the best value, -1 without finite values."""
        sign = -1.0 if self.mode == "max" else 1.0
        best, best_value = -1, math.inf
        for index, row in enumerate(history):
            value = row.get(self.name)
            if value is not None and math.isfinite(value) and sign * value < best_value:
                best, best_value = index, sign * value
        return best


def check_monitor(names: Iterable[str], monitor: str) -> None:
    """Raises ValueError unless a metric is among the names of a row."""
    if not (known := sorted(names)):
        raise ValueError(
            f"monitor {monitor!r} is not a metric of this run: neither the step nor the evaluation "
            "returns one."
        )
    if monitor not in known:
        raise ValueError(
            f"monitor {monitor!r} is not a metric of this run; expected one of {known}."
        )


# Signals


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of raising at an arbitrary moment.

    A second signal acts at once, as if the first had not been caught. Outside the main thread,
    where Python delivers no signals, nothing is caught.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def catch(number: int, _: object) -> None:
        caught.append(number)
        restore()

    for number in before:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        restore()
