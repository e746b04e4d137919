"""The training loop: :func:`fit`, pure, and :func:`run`, the one that people use.

Both call the same step on the same batches and give the same weights.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, optim, tree
from jaxdl.data.collate import epoch_order, num_batches, take
from jaxdl.data.loader import Loader
from jaxdl.data.samplers import seed_of
from jaxdl.train._batches import MAX_CHUNK, Feed, agreed, from_arrays, from_loader
from jaxdl.train._progress import Bar, Epoch, Row, catch_signals, check_monitor, is_best, is_stale
from jaxdl.train._run_dir import EpochEnd, Interrupted, RunFolder
from jaxdl.train.debug import find_non_finite
from jaxdl.train.evaluation import EVAL_BATCH_SIZE, evaluate_checked, prepare, scan_evaluation
from jaxdl.train.watch._profile import Trace
from jaxdl.train.watch._writer import Watcher
from jaxdl.train.watch.options import Watch
from jaxdl.types import Array, EvalFn, EvalStep, Mean, PyTree, Step, UpdateFn, as_step

CHUNK_SECONDS = 0.4
"""How long the device works between two looks: time enough to hide them, short for a person."""

Data = Mapping[str, Any]


def fit(
    step: Step | UpdateFn,
    state: PyTree,
    data: Data,
    *,
    num_epochs: int,
    batch_size: int,
    key: Array,
    eval_fn: EvalStep | EvalFn | None = None,
    eval_data: Data | None = None,
    eval_batch_size: int = EVAL_BATCH_SIZE,
    monitor: str = "test/loss",
) -> tuple[PyTree, dict[str, Array]]:
    """Trains, as a pure function: ``jit`` it, ``vmap`` it over seeds or learning rates.

    Args:
        step: see :func:`jaxdl.train.make_step`.
        state: initial state; its ``step`` says which epoch comes next.
        data: training arrays (N, ...).
        num_epochs: E, passes over the data.
        batch_size: B; a ragged last batch is padded and masked.
        key: root key of the order; epoch e is shuffled by ``fold_in(key, e)``.
        eval_fn: evaluated after each epoch on ``eval_data``; see :func:`jaxdl.train.make_eval`.
        eval_data: arrays (M, ...).
        eval_batch_size: examples at a time in the evaluation; the result does not depend on it.
        monitor: the metric that :func:`jaxdl.optim.reduce_on_plateau` is told.

    Returns:
        the final state, and the history: ``"train/loss"``, ``"test/accuracy"``, … → (E,).

    Raises:
        ValueError: sizes that do not fit, or ``eval_fn`` without ``eval_data``.
    """
    rows = _check_sizes(data, num_epochs, batch_size, eval_fn, eval_data)
    num_examples = _length(data)
    arrays = {name: jnp.asarray(array) for name, array in data.items()}
    eval_arrays = {name: jnp.asarray(array) for name, array in (eval_data or {}).items()}
    first_epoch = state.step // rows

    def one_epoch(state: PyTree, epoch: Array) -> tuple[PyTree, dict[str, Array]]:
        state = optim.accumulation.begin_epoch(state, rows)
        order = epoch_order(key, first_epoch + epoch, num_examples, batch_size)
        state, stacked = jax.lax.scan(
            lambda state, index: step(state, take(arrays, order, index)), state, jnp.arange(rows)
        )
        row = _divide(stacked, "train/")
        if eval_fn is not None:
            stacked = scan_evaluation(eval_fn, state, eval_arrays, eval_batch_size)
            row |= _divide(stacked, "test/")
        if optim.plateau.has_plateau(state):
            check_monitor(row, monitor)
            state = optim.plateau.observe(state, row[monitor])
        return state, row

    return jax.lax.scan(one_epoch, state, jnp.arange(num_epochs))


def _divide(stacked: Any, prefix: str) -> dict[str, Array]:
    """:func:`jaxdl.metrics.result` of stacked metrics, on the device."""

    def divide(metric: Mean | Array) -> Array:
        if isinstance(metric, Mean):
            return metric.total.sum() / metric.count.sum()
        return metric.sum(axis=0)

    return {prefix + name: divide(metric) for name, metric in stacked.items()}


def run(
    step: Step | UpdateFn,
    state: PyTree,
    data: Data | Loader,
    *,
    num_epochs: int,
    batch_size: int | None = None,
    key: Array | None = None,
    eval_fn: EvalStep | EvalFn | None = None,
    eval_data: Data | Loader | None = None,
    eval_batch_size: int | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    config: Any = None,
    monitor: str = "test/loss",
    mode: Literal["min", "max"] = "min",
    patience: int | None = None,
    hooks: Sequence[Callable[[EpochEnd], bool | None]] = (),
    log_every: int = 50,
    watch: Watch | None = None,
    profile: tuple[int, int] | None = None,
    save_every_seconds: float = 30.0,
    progress: bool = True,
) -> tuple[PyTree, list[Row]]:
    """Trains with all that a person wants around it: see, keep, stop, resume.

    The loop runs on the device; twice a second or so the host looks at it, moves the progress bar,
    checks that metrics and state are finite and saves if it is time. One compilation serves the
    whole run. Same seed, same machine: same weights, however often it was killed and resumed.

    Args:
        step, num_epochs, eval_fn: as in :func:`fit`.
        data: training arrays (N, ...); or a :class:`~jaxdl.data.Loader`, which brings its own
            batch size and order. A loader streams, its batches read ahead and transferred while
            the device works; a small source stays on the device instead
            (:func:`jaxdl.train._batches.resident_arrays`), with the same batches.
        batch_size, key: as in :func:`fit`, for arrays.
        eval_data: arrays (M, ...) or a loader.
        eval_batch_size: examples at a time in the evaluation of arrays; 250 by default.
        state: initial state; the caller's stays valid.
        workdir: the run folder; gets ``metrics.jsonl`` (one row an epoch), TensorBoard events and
            ``checkpoints/{last,best}``. None writes nothing.
        resume: go on with what ``workdir`` holds; where it holds nothing, start.
        config: instance of a dataclass, written to ``config.json``; see :mod:`jaxdl.config`.
        monitor: name in the row that says which epoch is best, and that
            :func:`jaxdl.optim.reduce_on_plateau` is told.
        mode: whether less or more of it is better.
        patience: stop after so many epochs without a better one.
        hooks: called after each epoch with an :class:`EpochEnd`; one that returns True stops.
        log_every: steps between two TensorBoard points of the training metrics (tags ``step/…``);
            a ``watch`` has its own cadence instead.
        watch: what else TensorBoard shows: norms, histograms, maps, embeddings, …; see
            :class:`Watch`. It changes no bit of the weights.
        profile: (first, last): steps first to last - 1 are traced into ``workdir`` for TensorBoard
            and Perfetto, see :class:`~jaxdl.train.watch._profile.Trace`.
        save_every_seconds: a checkpoint is saved when the last one is older; and at the end.
        progress: show a bar and print a line an epoch.

    Returns:
        the final state, and the history: the rows of ``metrics.jsonl``.

    Raises:
        ValueError: bad sizes or data, a step that changes the form of the state, a folder that
            holds another run.
        OSError: a folder that cannot be written.
        FloatingPointError: a metric or weight stopped being finite; step, batch, first layer and
            largest gradient are named, and the last good state is saved.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    _checks.check_positive(num_epochs=num_epochs, log_every=log_every)
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
    step = as_step(step)
    say = print if progress else _say_nothing
    feed = _make_feed(step, data, num_epochs, batch_size, key, eval_fn, eval_data, say)
    rows, num_examples = feed.rows, feed.num_examples
    eval_data, eval_batch_size = prepare(eval_data, eval_batch_size, say)
    has_plateau = optim.plateau.has_plateau(state)
    monitor_required = eval_fn is not None or patience is not None or has_plateau
    state = jax.tree.map(jnp.array, state)  # strongly typed
    new_state, metrics_form = jax.eval_shape(step, state, feed.form())
    tree.check_same_structure(
        state, new_state, what="step must return a state of the form that it was given, but:"
    )
    total = num_epochs * rows
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(
            RunFolder(workdir, state, resume=resume, fingerprint=feed.fingerprint, config=config)
        )
        state, history, epoch = record.state, record.history, Epoch(metrics_form, record.progress)
        done = int(state.step)
        if done > total:
            raise ValueError(
                f"the run is at step {done} already, {num_epochs} epochs end at step {total}; "
                "ask for more epochs."
            )
        bar = stack.enter_context(Bar(total, done, num_examples / rows, enabled=progress))
        if done == total:
            return state, history
        watcher = Watcher(
            watch,
            step,
            record,
            feed.form(),
            log_every=log_every,
            batch_size=num_examples / rows,
            eval_data=eval_data,
            eval_batch_size=eval_batch_size,
        )
        stack.enter_context(watcher)
        trace = stack.enter_context(Trace(profile, record.workdir, total))
        interrupted = stack.enter_context(catch_signals())
        stack.callback(feed.close)
        began = time.perf_counter()
        feed.compile(state)
        record.state = None  # frees the first state's memory after the first steps
        bar.line(f"compiled in {time.perf_counter() - began:.1f} s")
        size, saved_at = 1, time.monotonic()
        stopped = is_stale(history, monitor, mode, patience)
        while done < total and not stopped:
            number, start = divmod(done, rows)
            if start == 0:
                state = optim.accumulation.begin_epoch(state, rows)
            stop = watcher.limit(start, min(start + trace.limit(done, size), rows))
            if watcher.due(start):
                watcher.look(state, feed.peek(number, start), start)
            good = state
            began = time.perf_counter()
            with trace.around(done, state):
                state, stacked, finite = feed.advance(state, number, start, stop)
            elapsed = time.perf_counter() - began
            if not finite:
                again = feed.again(number, start, stop)
                good, stacked, why = find_non_finite(step, good, again, start)
                epoch.add(stacked, elapsed)
                watcher.settle()
                raise FloatingPointError(record.rescue(good, epoch.progress(), why))
            epoch.add(stacked, elapsed)
            watcher.log(state, stacked, done, elapsed)
            bar.advance(stop - start, stacked)
            done += stop - start
            size = _next_size(size, elapsed * size / (stop - start))
            if stop == rows:
                row = {"epoch": done // rows, "step": done, **epoch.finish(num_examples)}
                if eval_fn is not None and eval_data is not None:
                    began = time.perf_counter()
                    values = evaluate_checked(eval_fn, state, eval_data, eval_batch_size)
                    row |= {f"test/{name}": value for name, value in values.items()}
                    row["eval_seconds"] = round(time.perf_counter() - began, 3)
                row |= optim.learning_rates(state)
                if is_best(row, history, monitor, mode, required=monitor_required):
                    record.keep_best(state, row)
                if has_plateau:
                    state = _observe(state, np.float32(row[monitor]))
                record.add_row(row)
                bar.epoch(row, num_epochs)
                watcher.end_epoch(state, done)
                event = EpochEnd(state, row, history, record.workdir, record.writer)
                answers = [hook(event) for hook in hooks]  # every hook is called
                stopped = any(answers)
                stopped |= is_stale(history, monitor, mode, patience)
            overdue = time.monotonic() - saved_at > save_every_seconds
            if interrupted or (overdue and not watcher.postpones_save(done, rows)):
                watcher.settle()
                record.save(state, epoch.progress())
                saved_at = time.monotonic()
                stopped |= bool(interrupted)
        watcher.settle()
        record.save(state, epoch.progress())
        if not interrupted or done == total:
            watcher.finish(state, done)
        record.finish()
        if interrupted and done < total:
            kept = f"; resume it from {record.workdir}" if record.workdir else ""
            raise Interrupted(f"stopped at step {done} of {total}{kept}", interrupted[0])
    return state, history


_observe = jax.jit(optim.plateau.observe)


def _say_nothing(_: str) -> None:
    pass


def _make_feed(
    step: Step,
    data: Data | Loader,
    num_epochs: int,
    batch_size: int | None,
    key: Array | None,
    eval_fn: EvalStep | EvalFn | None,
    eval_data: Data | Loader | None,
    say: Callable[[str], None],
) -> Feed:
    if isinstance(data, Loader):
        _check_pair(eval_fn, eval_data)
        agreed("batch_size", batch_size, data)
        if key is not None and seed_of(key) != data.key:
            raise ValueError("the order is the loader's: leave key out, or pass the loader's own.")
        return from_loader(step, data, num_epochs, say)
    if batch_size is None or key is None:
        raise ValueError("training on arrays needs batch_size and key, the root of their order.")
    _check_sizes(data, num_epochs, batch_size, eval_fn, eval_data)
    return from_arrays(step, data, batch_size, key)


def _next_size(size: int, seconds: float) -> int:
    """The number of steps that take about CHUNK_SECONDS, approached without leaps."""
    wanted = size * CHUNK_SECONDS / max(seconds, 1e-6)
    return int(min(max(wanted, 1), 8 * size, MAX_CHUNK))


def _check_sizes(
    data: Data,
    num_epochs: int,
    batch_size: int,
    eval_fn: EvalStep | EvalFn | None,
    eval_data: Data | Loader | None,
) -> int:
    """Checks what is known before any value is looked at; returns the batches of an epoch."""
    _checks.check_positive(num_epochs=num_epochs)
    _checks.check_batch_size(batch_size, _length(data))
    _check_pair(eval_fn, eval_data)
    return num_batches(_length(data), batch_size)


def _check_pair(eval_fn: EvalStep | EvalFn | None, eval_data: Data | Loader | None) -> None:
    if (eval_fn is None) != (eval_data is None):
        raise ValueError("eval_fn and eval_data belong together: give both or neither.")


def _length(data: Data) -> int:
    if not data:
        raise ValueError("data holds no arrays; expected a mapping such as {'image': …}.")
    return next(iter(data.values())).shape[0]
