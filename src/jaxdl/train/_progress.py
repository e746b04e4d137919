"""Progress bar, best epoch, early stopping and signals."""

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np

from jaxdl import metrics

Row = dict[str, Any]
"""A row of the history: floats and counts by name."""

Unfinished = dict[str, Any] | None
"""JSON values of an unfinished epoch, see :meth:`Epoch.progress`; None between two epochs."""


class Epoch:
    """The sums of an unfinished epoch; they travel in the checkpoint as JSON.

    Args:
        form: the metrics of one step, as ``jax.eval_shape`` gives them.
        progress: what :meth:`progress` gave, or None.
    """

    def __init__(self, form: Any, progress: Unfinished = None):
        self._structure = jax.tree.structure(dict(form))
        self._sums, self._seconds = None, 0.0
        if progress is not None:
            leaves = [np.asarray(leaf) for leaf in progress["sums"]]
            self._sums = jax.tree.unflatten(self._structure, leaves)
            self._seconds = progress["seconds"]

    def add(self, stacked: Any, seconds: float) -> None:
        """Adds the metrics of some steps and the time they took."""
        self._sums = metrics.sum_over_steps(stacked, self._sums)
        self._seconds += seconds

    def progress(self) -> Unfinished:
        """JSON values from which an epoch goes on; None between two epochs."""
        if self._sums is None:
            return None
        sums = [leaf.tolist() for leaf in jax.tree.leaves(self._sums)]
        return {"sums": sums, "seconds": self._seconds}

    def finish(self, num_examples: int) -> Row:
        """The part of the row that training gives; begins the next epoch."""
        row = metrics.result(self._sums or {}, "train/")
        row["epoch_seconds"] = round(self._seconds, 3)
        row["examples_per_second"] = round(num_examples / self._seconds, 1)
        self._sums, self._seconds = None, 0.0
        return row


def is_best(row: Row, history: list[Row], monitor: str, mode: str, *, required: bool) -> bool:
    """Whether a row beats all earlier ones; NaN and infinity beat nothing.

    Raises:
        ValueError: the row lacks the monitored metric though it is required.
    """
    if required:
        check_monitor(row, monitor)
    elif monitor not in row:
        return False
    return _best_index([*history, row], monitor, mode) == len(history)


def check_monitor(row: Row, monitor: str) -> None:
    """Raises ValueError unless a row has the monitored metric."""
    if monitor not in row:
        raise ValueError(f"monitor {monitor!r} is not a metric of this run: {sorted(row)}.")


def is_stale(history: list[Row], monitor: str, mode: str, patience: int | None) -> bool:
    """Whether the last ``patience`` epochs brought nothing better; never, where it is None."""
    if patience is None or not history:
        return False
    return len(history) - 1 - _best_index(history, monitor, mode) >= patience


def _best_index(history: list[Row], monitor: str, mode: str) -> int:
    """The first row with the best value; -1 where none has one."""
    best, best_value = -1, math.inf
    for index, row in enumerate(history):
        value = row.get(monitor)
        if value is None or not math.isfinite(value):
            continue
        value = -float(value) if mode == "max" else float(value)
        if value < best_value:
            best, best_value = index, value
    return best


class Bar:
    """A progress bar over all steps, with the loss and the speed, and a line an epoch.

    Args:
        total: steps of the whole run.
        done: steps of it that are done.
        examples_per_step: how many examples a step stands for, on average.
        enabled: show anything at all. The bar itself shows on terminals and in notebooks only.
    """

    def __init__(self, total: int, done: int, examples_per_step: float, *, enabled: bool):
        from tqdm.auto import tqdm

        self._examples_per_step, self._enabled = examples_per_step, enabled
        disable = not (enabled and (sys.stderr.isatty() or "ipykernel" in sys.modules))
        self._bar = tqdm(
            total=round(total * examples_per_step),
            initial=round(done * examples_per_step),
            unit=" examples",
            unit_scale=True,
            disable=disable,
            leave=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, num_steps: int, stacked: Any) -> None:
        """Moves on, and shows the mean loss of these steps."""
        if self._bar.disable:
            return
        shown = metrics.result(metrics.sum_over_steps(stacked))
        scalars = {name: f"{x:.4g}" for name, x in shown.items() if isinstance(x, float)}
        self._bar.set_postfix(scalars, refresh=False)
        self._bar.update(num_steps * self._examples_per_step)

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._enabled:
            self._bar.write(text)

    def epoch(self, row: Row, num_epochs: int) -> None:
        """Prints the row of an epoch."""
        hidden = ("epoch", "step", "epoch_seconds", "eval_seconds", "examples_per_second")
        values = "  ".join(
            f"{name} {value:.4g}" if name.startswith("learning_rate") else f"{name} {value:.4f}"
            for name, value in row.items()
            if name not in hidden and isinstance(value, float)
        )
        self.line(
            f"epoch {row['epoch']}/{num_epochs}  {values}  {row['epoch_seconds']:.1f} s  "
            f"{row['examples_per_second']:,.0f} examples/s"
        )


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list instead of raising at any moment.

    A second one acts at once, as if nobody had caught the first. Outside the main thread, where
    Python delivers no signals, nothing is caught.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def catch(number: int, _: Any) -> None:
        caught.append(number)
        restore()

    for number in before:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        restore()
