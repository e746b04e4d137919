"""A profiler trace of some steps, for TensorBoard's PROFILE tab and for Perfetto."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import jax

from jaxdl.types import PyTree


class Trace:
    """Traces steps ``first`` to ``last - 1`` of a run into its folder, each named.

    The files are ``plugins/profile/TIME/*.xplane.pb``, for TensorBoard's profile plugin
    (``pip install tensorboard-plugin-profile``), and ``*.trace.json.gz``, which
    https://ui.perfetto.dev opens. Traced steps run one by one, as events ``train`` with their
    number.

    Args:
        steps: (first, last), counted in updates of the whole run from 0; None traces nothing.
        workdir: the run folder.
        total: steps of the run.

    Raises:
        ValueError: the range is empty or outside the run.
    """

    def __init__(self, steps: tuple[int, int] | None, workdir: Path | None, total: int):
        self._first, self._last = steps or (0, 0)
        self._workdir, self._active = workdir, False
        if steps is None:
            return
        if not 0 <= self._first < self._last:
            raise ValueError(
                "profile must be (first, last) with 0 <= first < last, the steps first to "
                f"last - 1, got {steps}."
            )
        if self._first >= total:
            raise ValueError(
                f"profile={steps} begins after the end of the run: it has {total} steps, the last "
                f"of which is {total - 1}."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def limit(self, done: int, num_steps: int) -> int:
        """Returns the number of steps per call after ``done`` updates, at most ``num_steps``."""
        if done < self._first:
            return min(num_steps, self._first - done)
        return 1 if done < self._last else num_steps

    @contextlib.contextmanager
    def around(self, done: int, wait_for: PyTree) -> Iterator[None]:
        """Context manager for the steps after ``done`` updates; starts and stops the trace."""
        if not self._first <= done < self._last:
            yield
            return
        if not self._active:
            jax.block_until_ready(wait_for)
            jax.profiler.start_trace(str(self._workdir))
            self._active = True
        with jax.profiler.StepTraceAnnotation("train", step_num=done):
            yield
        if done + 1 == self._last:
            self._stop()

    def _stop(self) -> None:
        if self._active:
            self._active = False
            jax.profiler.stop_trace()
