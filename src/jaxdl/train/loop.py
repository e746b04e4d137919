"""The training loop: :func:`run`, and :func:`fit`, which is pure.

Both call the same step on the same batches and give the same weights.
"""

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, optim, tree
from jaxdl import config as configs
from jaxdl._machine import is_interactive
from jaxdl.data.collate import epoch_order, num_batches, take
from jaxdl.models.description import write_description
from jaxdl.train._batches import (
    MAX_CHUNK,
    Arrays,
    Batches,
    check_mapping,
    length_of,
    ragged_batch,
)
from jaxdl.train._progress import (
    Monitor,
    Progress,
    catch_signals,
    check_monitor,
    write_line,
)
from jaxdl.train._setup import (
    Data,
    EvalData,
    Evaluation,
    Length,
    check_pair,
    make_batches,
    make_length,
    make_monitor,
    prepare_evaluation,
)
from jaxdl.train.debug import find_non_finite
from jaxdl.train.evaluation import (
    EVAL_BATCH_SIZE,
    append_row,
    scan_evaluation,
)
from jaxdl.train.run_dir import EpochEnd, Interrupted, RunFolder
from jaxdl.train.step import check_metrics
from jaxdl.train.watch._writer import Watcher
from jaxdl.train.watch.options import Watch
from jaxdl.types import (
    Array,
    Batch,
    EvalFn,
    EvalStep,
    Mean,
    Metrics,
    PyTree,
    Row,
    Step,
    UpdateFn,
    as_key,
    as_step,
)

CHUNK_SECONDS = 0.4
"""How long the device works between two looks of the host: long enough to hide them."""


def run(
    step: Step | UpdateFn,
    state: PyTree,
    data: Data,
    *,
    num_epochs: int | None = None,
    num_steps: int | None = None,
    batch_size: int | None = None,
    key: Array | int | None = None,
    eval_fn: EvalStep | EvalFn | None = None,
    eval_data: EvalData | None = None,
    eval_batch_size: int | None = None,
    eval_every: int | None = None,
    monitor: str | None = None,
    mode: Literal["min", "max"] = "min",
    patience: int | None = None,
    restore_best: bool = False,
    workdir: Path | str | None = None,
    resume: bool = False,
    config: configs.Dataclass | None = None,
    description: Mapping[str, object] | None = None,
    save_every_seconds: float = 30.0,
    hooks: Sequence[Callable[[EpochEnd], bool | None]] = (),
    watch: Watch | None = None,
    progress: bool = True,
) -> tuple[PyTree, list[Row]]:
    """Trains a model; start here.

    The loop runs on the device. About twice a second, the host shows the progress, checks that
    losses and state are finite, and saves a checkpoint if one is due. The step is compiled once.
    The same seed on the same machine gives the same weights, however often a run was interrupted
    and resumed.

    Args:
        step: see :func:`jaxdl.train.make_step`, or any ``(state, batch) -> (state, metrics)``.
        state: initial state; not donated.
        data: training arrays (N, ...) by name, or a :class:`~jaxdl.data.Loader`, which defines the
            batch size and order and streams its batches unless its source is small or
            ``resident``.
        num_epochs: number of passes over the data.
        num_steps: number of updates, as an alternative to ``num_epochs``.
        batch_size: B, for arrays. A partial last batch is padded and masked, or left unpadded if
            the step does not respect ``mask``.
        key: root PRNG key of the order of arrays, or an integer seed; epoch e is shuffled with
            ``fold_in(key, e)``.

        eval_fn: see :func:`jaxdl.train.make_eval`; evaluated on ``eval_data`` after each epoch.
        eval_data: arrays (M, ...) or a loader, with metrics named ``test/loss``, …; or several by
            name, ``{"val": …, "test": …}``. Of several, ``"test"`` is evaluated only once, at the
            end of the run, on the returned state.
        eval_batch_size: batch size of the evaluation of arrays; 250 by default.
        eval_every: number of updates between two rows of the history; by default one epoch.
        monitor: metric that selects the best epoch and is passed to
            :func:`jaxdl.optim.reduce_on_plateau`; by default the loss of the first evaluation set.
        mode: "min" or "max", the direction of ``monitor``.
        patience: number of epochs with no improvement after which training stops.
        restore_best: return the state of the best epoch instead of the last.

        workdir: run folder for ``metrics.jsonl`` (one row per epoch), TensorBoard events,
            ``checkpoints/{last,best}``, and the model for ``python -m jaxdl predict`` and
            ``export``. It is locked during the run. None writes nothing.
        resume: continue the run in ``workdir``, if there is one. Constant hyperparameters of the
            optimizer may differ from those of the saved run; changes are reported.
        config: dataclass instance for ``config.json``; see :mod:`jaxdl.config`.
        description: additional JSON values for ``model.json``, from
            :func:`jaxdl.export.describe_run`.
        save_every_seconds: interval between checkpoints.

        hooks: functions called after each epoch with an :class:`EpochEnd`; if one returns True,
            training stops.
        watch: metrics, norms, histograms, images, and profiles to log to TensorBoard; see
            :class:`Watch`. It does not affect the weights.
        progress: show a progress bar, and a line per epoch.

    Returns:
        The final state, and the history, i.e. the rows of ``metrics.jsonl``. In a notebook, Ctrl-C
        returns the current state.

    Raises:
        ValueError: invalid sizes or data, a step that changes the structure of the state, or a
            folder of another run.
        OSError: the folder cannot be written or is in use by another process.
        FloatingPointError: a loss or weight is not finite. The message names the step, batch, first
            layer, and largest gradient; the last finite state is saved.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.

    >>> from jaxdl import losses, metrics, models, optim, train
    >>> examples = {"image": np.eye(4, dtype=np.float32), "label": np.arange(4) % 2}
    >>> model, tx = models.MLP((2,)), optim.sgd(0.1)
    >>> state = train.init_state(model, tx, jax.random.key(0), examples["image"])
    >>> step = train.make_step(train.supervised(model, losses.cross_entropy), tx)
    >>> state, history = train.run(
    ...     step, state, examples, num_epochs=3, batch_size=2, key=1, progress=False
    ... )
    >>> [row["step"] for row in history], int(state.step)
    ([2, 4, 6], 6)
    """
    step, say = as_step(step), print if progress else _say_nothing
    length = make_length(data, batch_size, key, num_epochs, num_steps, eval_every)
    evaluation = prepare_evaluation(eval_fn, eval_data, eval_batch_size, say)
    state = _typed(state)
    batches = make_batches(
        step, state, data, batch_size, key, num_epochs=length.num_epochs, say=say
    )
    form = _check_step(step, state, batches)
    rule = make_monitor(
        monitor, mode, patience, restore_best, state=state, form=form, evaluation=evaluation
    )
    describe = _make_describe(description, step, state, data, batches)
    folder = RunFolder(
        workdir,
        state,
        resume=resume,
        fingerprint=batches.fingerprint,
        config=config,
        describe=describe,
        say=say,
    )
    del state  # frees its memory after the first steps
    with folder, contextlib.ExitStack() as stack:
        loop = _Loop(step, batches, evaluation, rule, folder, length, hooks, save_every_seconds)
        if loop.is_over():  # a finished run that was resumed
            return _select_state(loop)[0], folder.history
        _start(loop, stack, form, watch, progress)
        while not loop.is_over():
            if _advance(loop):
                _record(loop, _evaluate(loop))
            _save_if_due(loop)
        return _finish(loop)


class _Loop:
    """A run in progress.

    Attributes:
        state: the newest state.
        done: number of updates so far.
        row_start: number of updates before the current row of the history.
        chunk: number of steps per call.
        saved_at: time of the last save.
        stopped: True after a hook or early stopping ended the run.
        interrupted: signals received.
    """

    progress: Progress
    watcher: Watcher

    def __init__(
        self,
        step: Step,
        batches: Batches,
        evaluation: Evaluation,
        monitor: Monitor,
        folder: RunFolder,
        length: Length,
        hooks: Sequence[Callable[[EpochEnd], bool | None]],
        save_every_seconds: float,
    ):
        self.step, self.batches, self.evaluation = step, batches, evaluation
        self.monitor, self.folder, self.length = monitor, folder, length
        self.hooks, self.save_every_seconds = hooks, save_every_seconds
        self.state, folder.state = folder.state, None  # frees its memory after the first steps
        self.done = length.check_position(int(self.state.step))
        history = folder.history
        self.row_start = history[-1]["step"] if history else 0 if folder.progress else self.done
        self.chunk, self.saved_at = 1, time.monotonic()
        self.stopped = monitor.is_stale(history)
        self.interrupted: list[int] = []

    def is_over(self) -> bool:
        """Returns True if the run has ended, was stopped or was interrupted."""
        return self.done >= self.length.total or self.stopped or bool(self.interrupted)


def _start(
    loop: _Loop,
    stack: contextlib.ExitStack,
    form: Metrics,
    watch: Watch | None,
    show_progress: bool,
) -> None:
    """Opens the display and the watcher, and compiles the step."""
    folder, batches = loop.folder, loop.batches
    examples_per_step = batches.num_examples / batches.num_batches
    loop.progress = stack.enter_context(
        Progress(
            form,
            loop.length.total,
            loop.done,
            examples_per_step,
            enabled=show_progress,
            unfinished=folder.progress,
        )
    )
    loop.watcher = stack.enter_context(
        Watcher(
            watch,
            loop.step,
            loop.state,
            folder,
            batches,
            total=loop.length.total,
            eval_set=loop.evaluation.first,
        )
    )
    loop.interrupted = stack.enter_context(catch_signals())
    stack.callback(batches.close)
    began = time.perf_counter()
    batches.compile(loop.state)
    loop.progress.line(f"compiled in {time.perf_counter() - began:.1f} s")


def _advance(loop: _Loop) -> bool:
    """Trains up to the next row of the history; returns False if interrupted before it."""
    row_end = loop.length.next_row(loop.done)
    while loop.done < row_end:
        _take_steps(loop, row_end)
        if loop.interrupted and loop.done < row_end:
            return False
        if loop.done < row_end:
            _save_if_due(loop)
    return True


def _take_steps(loop: _Loop, row_end: int) -> None:
    """Trains for about CHUNK_SECONDS, within one epoch."""
    batches, watcher = loop.batches, loop.watcher
    epoch, start = divmod(loop.done, batches.num_batches)
    if start == 0:
        loop.state = optim.accumulation.begin_epoch(loop.state, batches.num_batches)
    stop = min(start + loop.chunk, batches.num_batches, start + row_end - loop.done)
    stop = watcher.limit(loop.done, start, stop)
    watcher.observe(loop.state, start, functools.partial(batches.peek, epoch, start))
    good, began = loop.state, time.perf_counter()
    with watcher.traced(loop.done, good):
        loop.state, stacked, finite = batches.advance(good, epoch, start, stop)
    seconds = time.perf_counter() - began
    if not finite:
        good, stacked, why = find_non_finite(
            loop.step, good, batches.again(epoch, start, stop), start
        )
        loop.progress.add(stacked, seconds)
        watcher.flush()
        raise FloatingPointError(loop.folder.rescue(good, loop.progress.unfinished(), why))
    loop.progress.add(stacked, seconds)
    watcher.log(loop.state, stacked, loop.done, seconds)
    loop.done += stop - start
    loop.chunk = _next_chunk(loop.chunk, seconds * loop.chunk / (stop - start))


def _next_chunk(chunk: int, seconds: float) -> int:
    """Estimates the number of steps per CHUNK_SECONDS, changing it gradually."""
    wanted = chunk * CHUNK_SECONDS / max(seconds, 1e-6)
    return int(min(max(wanted, 1), 8 * chunk, MAX_CHUNK))


def _evaluate(loop: _Loop) -> Row:
    """Evaluates the state and returns the current row of the history."""
    row: Row = {"epoch": loop.length.epoch(loop.done), "step": loop.done}
    row |= loop.progress.finish(loop.done - loop.row_start)
    if loop.evaluation.sets:
        began = time.perf_counter()
        row |= loop.evaluation.run(loop.state, loop.evaluation.sets)
        row["eval_seconds"] = round(time.perf_counter() - began, 3)
    return row | optim.learning_rates(loop.state)


def _record(loop: _Loop, row: Row) -> None:
    """Adds a row to the history, keeps the best state, and decides whether to stop."""
    folder, monitor = loop.folder, loop.monitor
    if monitor.is_best(row, folder.history) and (folder.workdir or monitor.restore_best):
        folder.keep_best(loop.state, row)
    if optim.plateau.has_plateau(loop.state):
        loop.state = _observe(loop.state, np.float32(row[monitor.name]))
    folder.add_row(row)
    loop.row_start = loop.done
    loop.progress.row(row, loop.length.position(loop.done))
    loop.watcher.end_epoch(loop.state, loop.done)
    event = EpochEnd(loop.state, row, folder.history, folder.workdir, folder.writer)
    answers = [hook(event) for hook in loop.hooks]  # every hook is called
    loop.stopped = any(answers) or monitor.is_stale(folder.history)


_observe = jax.jit(optim.plateau.observe)


def _save_if_due(loop: _Loop) -> None:
    """Saves a checkpoint if ``save_every_seconds`` have passed, except at the end of the run."""
    overdue = time.monotonic() - loop.saved_at > loop.save_every_seconds
    if overdue and not loop.is_over() and not loop.watcher.postpones_save(loop.done):
        loop.watcher.flush()
        loop.folder.save(loop.state, loop.progress.unfinished())
        loop.saved_at = time.monotonic()


def _finish(loop: _Loop) -> tuple[PyTree, list[Row]]:
    """Saves; returns the state and the history, or raises Interrupted."""
    folder, early = loop.folder, bool(loop.interrupted) and loop.done < loop.length.total
    loop.watcher.flush()
    state = loop.state
    if not early:
        state, values = _select_state(loop)
        if values:
            loop.progress.line("  ".join(f"{name} {x:.4f}" for name, x in values.items()))
    folder.save(loop.state, loop.progress.unfinished())
    if not early:
        loop.watcher.finish(loop.state, loop.done)
    folder.finish()
    if early:
        _interrupt(loop)
    return state, folder.history


def _select_state(loop: _Loop) -> tuple[PyTree, dict[str, float]]:
    """Selects the best or last state and evaluates it on the final sets."""
    folder, state, history = loop.folder, loop.state, loop.folder.history
    best = loop.monitor.best_index(history)
    if loop.monitor.restore_best and best >= 0:
        state = folder.load_best(history[best]["step"], state)
    sets = {
        name: data
        for name, data in loop.evaluation.final.items()
        if not any(metric.startswith(f"{name}/") for metric in history[-1])
    }
    values = loop.evaluation.run(state, sets)
    if values:
        folder.extend_row(values)
    return state, {name: x for name, x in values.items() if isinstance(x, float)}


def _interrupt(loop: _Loop) -> None:
    """Raises Interrupted, or prints a line after Ctrl-C in a notebook."""
    workdir, number = loop.folder.workdir, loop.interrupted[0]
    message = f"stopped at step {loop.done} of {loop.length.total}"
    if number != signal.SIGINT or not is_interactive():
        raise Interrupted(f"{message}; resume it from {workdir}" if workdir else message, number)
    advice = f"resume=True continues {workdir}" if workdir else "pass it to run to continue"
    write_line(f"{message}: this is the state so far; {advice}.")


def _typed(state: PyTree) -> PyTree:
    """Converts the state to strongly typed arrays; raises ValueError if it has no step."""
    if not hasattr(state, "step"):
        raise ValueError(
            f"state must have a field `step`, got {type(state).__name__}; train.init_state makes "
            "one."
        )
    return jax.tree.map(jnp.array, state)


def _check_step(step: Step, state: PyTree, batches: Batches) -> Metrics:
    """Checks that a step preserves the structure of the state; returns its metrics' shapes."""
    form: Metrics
    new_state, form = jax.eval_shape(step.update, state, batches.form())
    tree.check_same_structure(
        state, new_state, what="step must return a state of the form that it was given, but:"
    )
    check_metrics(form)
    return form


def _make_describe(
    description: Mapping[str, object] | None,
    step: Step,
    state: PyTree,
    data: Data,
    batches: Batches,
) -> Callable[[Path], None]:
    """Creates a function that writes the model description into the run folder."""
    return functools.partial(
        write_description,
        given=description,
        network=step.network,
        state=jax.eval_shape(lambda state: state, state),
        batch=batches.form(),
        class_names=getattr(getattr(data, "source", None), "class_names", None) or (),
    )


def _say_nothing(_: str) -> None:
    pass


def fit(
    step: Step | UpdateFn,
    state: PyTree,
    data: Arrays,
    *,
    num_epochs: int,
    batch_size: int,
    key: Array | int,
    eval_fn: EvalStep | EvalFn | None = None,
    eval_data: Arrays | None = None,
    eval_batch_size: int = EVAL_BATCH_SIZE,
    monitor: str = "test/loss",
) -> tuple[PyTree, dict[str, Array]]:
    """:func:`run` reduced to a pure function, for ``jit`` and ``vmap``.

    Args:
        step: see :func:`jaxdl.train.make_step`.
        state: initial state; its ``step`` determines the next epoch.
        data: training arrays (N, ...) by name.
        num_epochs: E, passes over the data.
        batch_size: B; a ragged last batch is padded and masked, or left unpadded if the step
            does not respect ``mask``.
        key: root key of the order, or an integer seed; epoch e is shuffled by ``fold_in(key, e)``.
        eval_fn: evaluated after each epoch on ``eval_data``; see :func:`jaxdl.train.make_eval`.
        eval_data: arrays (M, ...) by name.
        eval_batch_size: examples at a time in the evaluation; the result does not depend on it.
        monitor: the metric that :func:`jaxdl.optim.reduce_on_plateau` observes.

    Returns:
        the final state, and the history: ``"train/loss"``, ``"test/accuracy"``, … → (E,).

    Raises:
        ValueError: sizes that do not fit, or ``eval_fn`` without ``eval_data``.

    >>> from jaxdl import losses, models, optim, train
    >>> examples = {"image": jnp.eye(4), "label": jnp.arange(4) % 2}
    >>> model, tx = models.MLP((2,)), optim.sgd(0.1)
    >>> step = train.make_step(train.supervised(model, losses.cross_entropy), tx)
    >>> def one(seed):
    ...     state = train.init_state(model, tx, jax.random.key(seed), examples["image"])
    ...     return fit(step, state, examples, num_epochs=3, batch_size=2, key=seed)
    >>> _, history = jax.jit(jax.vmap(one))(jnp.arange(5))
    >>> history["train/loss"].shape
    (5, 3)
    """
    _checks.check_count(num_epochs=num_epochs, eval_batch_size=eval_batch_size)
    check_mapping("data", data)
    num_examples = length_of(data)
    rows = num_batches(num_examples, batch_size)
    check_pair(eval_fn, eval_data)
    if eval_data is not None:
        check_mapping("eval_data", eval_data)
        length_of(eval_data)
    arrays = {name: jnp.asarray(array) for name, array in data.items()}
    eval_arrays = {name: jnp.asarray(array) for name, array in (eval_data or {}).items()}
    order_key, first_epoch = as_key(key), state.step // rows

    def one_epoch(state: PyTree, epoch: Array) -> tuple[PyTree, dict[str, Array]]:
        state = optim.accumulation.begin_epoch(state, rows)
        order = epoch_order(order_key, first_epoch + epoch, num_examples, batch_size)
        state, stacked = _scan_steps(as_step(step), state, arrays, order, num_examples)
        row = _divide(stacked, "train/")
        if eval_fn is not None:
            stacked = scan_evaluation(eval_fn, state, eval_arrays, eval_batch_size)
            row |= _divide(stacked, "test/")
        if optim.plateau.has_plateau(state):
            check_monitor(row, monitor)
            state = optim.plateau.observe(state, row[monitor])
        return state, row

    return jax.lax.scan(one_epoch, state, jnp.arange(num_epochs))


def _scan_steps(
    step: Step, state: PyTree, arrays: Batch, order: Array, num_examples: int
) -> tuple[PyTree, Metrics]:
    """Scans the step over an order; the last batch is unpadded if it does not respect ``mask``."""

    def one_step(state: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        state, values = step.update(state, batch)
        check_metrics(values)
        return state, values

    last = ragged_batch(one_step, state, arrays, order, num_examples)
    counted = num_examples if last is None else order.size  # masks nothing
    state, stacked = jax.lax.scan(
        lambda state, index: one_step(state, take(arrays, order, index, counted)),
        state,
        jnp.arange(order.shape[0] - (last is not None)),
    )
    if last is None:
        return state, stacked
    state, values = one_step(state, last)
    return state, append_row(stacked, values)


def _divide(stacked: Metrics, prefix: str) -> dict[str, Array]:
    """:func:`jaxdl.metrics.result` of stacked metrics, on the device."""

    def divide(metric: Mean | Array) -> Array:
        if isinstance(metric, Mean):
            return metric.total.sum() / metric.count.sum()
        return metric.sum(axis=0)

    return {prefix + name: divide(metric) for name, metric in stacked.items()}
