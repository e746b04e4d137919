"""A profiler trace of some steps, for TensorBoard's tab PROFILE and for Perfetto."""

import contextlib
from pathlib import Path
from typing import Any, Self

import jax


class Trace:
    """Traces steps ``first`` to ``last - 1`` of a run into its folder, each named.

    The files are ``plugins/profile/TIME/*.xplane.pb``, which TensorBoard's profile plugin
    (``pip install tensorboard-plugin-profile``) shows, and ``*.trace.json.gz``, which
    https://ui.perfetto.dev opens. The steps of a trace are called one by one, as events
    ``train`` with their number.

    Args:
        steps: (first, last), counted in updates of the whole run from 0; None traces nothing.
        workdir: the run folder.
        total: steps of the run.

    Raises:
        ValueError: no such range, none of it in this run, or no run folder.
    """

    def __init__(self, steps: tuple[int, int] | None, workdir: Path | None, total: int):
        self._steps, self._workdir, self._active = steps or (0, 0), workdir, False
        if steps is None:
            return
        first, last = steps
        if not 0 <= first < last:
            raise ValueError(
                f"profile must be (first, last) with 0 <= first < last, the steps first to "
                f"last - 1, got {steps}."
            )
        if first >= total:
            raise ValueError(
                f"profile={steps} begins after the run's end: it has {total} steps, the last of "
                f"which is {total - 1}."
            )
        if workdir is None:
            raise ValueError("profile writes its trace to the run folder: give run a workdir.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def limit(self, done: int, steps: int) -> int:
        """How many steps may be taken together after ``done`` updates, ``steps`` at most."""
        first, last = self._steps
        if done < first:
            return min(steps, first - done)
        return 1 if done < last else steps

    @contextlib.contextmanager
    def around(self, done: int, wait_for: Any) -> Any:
        """Around the steps that begin after ``done`` updates; the trace begins and ends here."""
        first, last = self._steps
        if not first <= done < last:
            yield
            return
        if not self._active:
            jax.block_until_ready(wait_for)
            jax.profiler.start_trace(str(self._workdir))
            self._active = True
        with jax.profiler.StepTraceAnnotation("train", step_num=done):
            yield
        if done + 1 == last:
            self._stop()

    def _stop(self) -> None:
        if self._active:
            self._active = False
            jax.profiler.stop_trace()
