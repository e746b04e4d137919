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

from jaxdl import checks, metrics, optim, tree
from jaxdl.data.batches import epoch_order, num_batches, sequential_order, take
from jaxdl.train.diagnose import find_non_finite
from jaxdl.train.progress import (
    Bar,
    Epoch,
    Row,
    catch_signals,
    check_monitor,
    is_best,
    is_stale,
)
from jaxdl.train.record import EpochEnd, Interrupted, Record, copy
from jaxdl.types import Array, Batch, EvalFn, Mean, PyTree, StepFn

MAX_CHUNK = 1024
"""Most steps between two looks of the host at the device; the size of the metrics buffer."""

CHUNK_SECONDS = 0.4
"""How long the device works between two looks: time enough to hide them, short for a person."""

Data = Mapping[str, Any]


def fit(
    step: StepFn,
    state: PyTree,
    data: Data,
    *,
    num_epochs: int,
    batch_size: int,
    key: Array,
    eval_fn: EvalFn | None = None,
    eval_data: Data | None = None,
    eval_batch_size: int = 250,
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
        order = epoch_order(key, first_epoch + epoch, num_examples, batch_size)
        state, stacked = jax.lax.scan(
            lambda state, index: step(state, take(arrays, order, index)), state, jnp.arange(rows)
        )
        row = _divide(stacked, "train/")
        if eval_fn is not None:
            size = min(eval_batch_size, _length(eval_arrays))
            row |= _divide(_scan_evaluation(eval_fn, state, eval_arrays, size), "test/")
        if optim.has_plateau(state):
            check_monitor(row, monitor)
            state = optim.observe(state, row[monitor])
        return state, row

    return jax.lax.scan(one_epoch, state, jnp.arange(num_epochs))


def evaluate(
    eval_fn: EvalFn, state: PyTree, data: Data, *, batch_size: int = 250
) -> dict[str, Any]:
    """The metrics of a whole data set: every example counts once, whatever the batch size.

    Args:
        eval_fn: see :func:`jaxdl.train.make_eval`; compiled once for each function and shape.
        state: what it evaluates.
        data: arrays (M, ...).
        batch_size: examples at a time; a larger one costs memory.

    Returns:
        floats by name, and nested lists for counts such as a confusion matrix.
    """
    checks.check_data(data)
    checks.check_positive(batch_size=batch_size)
    return _evaluate(eval_fn, state, data, batch_size)


def _evaluate(eval_fn: EvalFn, state: PyTree, data: Data, batch_size: int) -> dict[str, Any]:
    stacked = _compiled_evaluation(eval_fn, state, dict(data), min(batch_size, _length(data)))
    return metrics.result(metrics.sum_over_steps(stacked))


def _scan_evaluation(eval_fn: EvalFn, state: PyTree, data: Batch, batch_size: int) -> Any:
    order = sequential_order(_length(data), batch_size)

    def one_batch(_: None, index: Array) -> tuple[None, Any]:
        return None, eval_fn(state, take(data, order, index))

    return jax.lax.scan(one_batch, None, jnp.arange(order.shape[0]))[1]


_compiled_evaluation = jax.jit(_scan_evaluation, static_argnums=(0, 3))


def predict(
    apply: Callable[[PyTree, Array], Any], state: PyTree, inputs: Any, *, batch_size: int = 250
) -> Array:
    """The outputs of a model for any number of inputs, a batch at a time.

    Args:
        apply: ``(state, inputs (B, ...)) -> outputs (B, ...)``, compiled here.
        state: its first argument.
        inputs: (N, ...).
        batch_size: inputs at a time.

    Returns:
        (N, ...) outputs.
    """
    checks.check_positive(batch_size=batch_size)
    number = len(inputs)

    @jax.jit
    def scan(state: PyTree, inputs: Array) -> Array:
        order = sequential_order(number, min(batch_size, number))
        _, outputs = jax.lax.scan(lambda _, rows: (None, apply(state, inputs[rows])), None, order)
        return outputs.reshape(-1, *outputs.shape[2:])[:number]

    return scan(state, inputs)


def _divide(stacked: Any, prefix: str) -> dict[str, Array]:
    """:func:`jaxdl.metrics.result` of stacked metrics, on the device."""

    def divide(metric: Mean | Array) -> Array:
        if isinstance(metric, Mean):
            return metric.total.sum() / metric.count.sum()
        return metric.sum(axis=0)

    return {prefix + name: divide(metric) for name, metric in stacked.items()}


def run(
    step: StepFn,
    state: PyTree,
    data: Data,
    *,
    num_epochs: int,
    batch_size: int,
    key: Array,
    eval_fn: EvalFn | None = None,
    eval_data: Data | None = None,
    eval_batch_size: int = 250,
    workdir: Path | str | None = None,
    resume: bool = False,
    config: Any = None,
    monitor: str = "test/loss",
    mode: Literal["min", "max"] = "min",
    patience: int | None = None,
    hooks: Sequence[Callable[[EpochEnd], bool | None]] = (),
    log_every: int = 50,
    save_every_seconds: float = 30.0,
    progress: bool = True,
) -> tuple[PyTree, list[Row]]:
    """Trains with all that a person wants around it: see, keep, stop, resume.

    The loop runs on the device; twice a second or so the host looks at it, moves the progress bar,
    checks that metrics and state are finite and saves if it is time. One compilation serves the
    whole run. Same seed, same machine: same weights, however often it was killed and resumed.

    Args:
        step, data, num_epochs, batch_size, key, eval_fn, eval_data, eval_batch_size: as in
            :func:`fit`.
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
        log_every: steps between two TensorBoard points of the training metrics (tags ``step/…``).
        save_every_seconds: a checkpoint is saved when the last one is older; and at the end.
        progress: show a bar and print a line an epoch.

    Returns:
        the final state, and the history: the rows of ``metrics.jsonl``.

    Raises:
        ValueError: bad sizes or data, a step that changes the form of the state, a folder that
            holds another run.
        OSError: a folder that cannot be written.
        FloatingPointError: a metric or weight stopped being finite; step, batch and largest
            gradient are named, and the last good state is saved.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    rows = _check_sizes(data, num_epochs, batch_size, eval_fn, eval_data)
    num_examples = checks.check_data(data)
    checks.check_positive(log_every=log_every, eval_batch_size=eval_batch_size)
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
    device_data = jax.device_put(dict(data))
    if eval_data is not None:
        checks.check_data(eval_data)
        eval_data = jax.device_put(dict(eval_data))
    has_plateau = optim.has_plateau(state)
    monitor_required = eval_fn is not None or patience is not None or has_plateau
    state = jax.tree.map(jnp.array, state)  # a copy of our own to donate, strongly typed
    order = _compiled_order(key, 0, num_examples, batch_size)
    batch = jax.eval_shape(take, device_data, order, 0)
    new_state, metrics_form = jax.eval_shape(step, state, batch)
    tree.check_same_structure(
        state, new_state, what="step must return a state of the form that it was given, but:"
    )
    fingerprint = {
        "batch size": batch_size,
        "number of examples": num_examples,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }
    total = num_epochs * rows
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(
            Record(workdir, state, resume=resume, fingerprint=fingerprint, config=config)
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
        interrupted = stack.enter_context(catch_signals())
        advance = _compile(step, state, device_data, order, bar)
        size, order_epoch, saved_at = 1, 0, time.monotonic()
        stopped = is_stale(history, monitor, mode, patience)
        while done < total and not stopped:
            number, start = divmod(done, rows)
            if number != order_epoch:
                order = _compiled_order(key, number, num_examples, batch_size)
                order_epoch = number
            stop = min(start + size, rows)
            good = copy(state)
            began = time.perf_counter()
            state, stacked, finite = advance(state, device_data, order, start, stop)
            elapsed = time.perf_counter() - began
            if not finite:
                good, stacked, why = find_non_finite(step, good, device_data, order, start, stop)
                epoch.add(stacked, elapsed)
                raise FloatingPointError(record.rescue(good, epoch.progress(), why))
            epoch.add(stacked, elapsed)
            record.log_steps(stacked, done, log_every)
            bar.advance(stop - start, stacked)
            done += stop - start
            size = _next_size(size, elapsed)
            if stop == rows:
                row = {"epoch": done // rows, "step": done, **epoch.finish(num_examples)}
                if eval_fn is not None and eval_data is not None:
                    began = time.perf_counter()
                    values = _evaluate(eval_fn, state, eval_data, eval_batch_size)
                    row |= {f"test/{name}": value for name, value in values.items()}
                    row["eval_seconds"] = round(time.perf_counter() - began, 3)
                row |= optim.learning_rates(state)
                if is_best(row, history, monitor, mode, required=monitor_required):
                    record.keep_best(state, row)
                if has_plateau:
                    state = _observe(state, np.float32(row[monitor]))
                record.add_row(row)
                bar.epoch(row, num_epochs)
                event = EpochEnd(state, row, history, record.workdir, record.writer)
                answers = [hook(event) for hook in hooks]  # every hook is called
                stopped = any(answers)
                stopped |= is_stale(history, monitor, mode, patience)
            if interrupted or time.monotonic() - saved_at > save_every_seconds:
                record.save(state, epoch.progress())
                saved_at = time.monotonic()
                stopped |= bool(interrupted)
        record.save(state, epoch.progress())
        record.finish()
        if interrupted and done < total:
            kept = f"; resume it from {record.workdir}" if record.workdir else ""
            raise Interrupted(f"stopped at step {done} of {total}{kept}")
    return state, history


_compiled_order = jax.jit(epoch_order, static_argnums=(2, 3))
_observe = jax.jit(optim.observe)


Advance = Callable[[PyTree, Batch, Array, int, int], tuple[PyTree, Any, bool]]


def _compile(step: StepFn, state: PyTree, data: Batch, order: Array, bar: Bar) -> Advance:
    """Compiles the step once, in the form that is quickest on this device.

    That is a loop on the device; but on CPU the gradients of XLA's own convolution are 10 to 18
    times slower inside a loop (jax-ml/jax#12868), so a step that has one is called from Python.

    Returns:
        ``advance(state, data, order, start, stop) -> (state, stacked metrics, finite)``.
    """
    began = time.perf_counter()
    zero = np.int32(0)
    traced = _compiled_steps.trace(step, state, data, order, zero, zero)
    if jax.default_backend() == "cpu" and _has_convolution(traced.jaxpr.jaxpr):
        advance = _step_by_step(step, state, data, order)
    else:
        _compiled_steps(step, copy(state), data, order, zero, zero)  # no step, but it compiles

        def advance(
            state: PyTree, data: Batch, order: Array, start: int, stop: int
        ) -> tuple[PyTree, Any, bool]:
            state, buffer, finite = _compiled_steps(
                step, state, data, order, np.int32(start), np.int32(stop)
            )
            stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[: stop - start], buffer)
            return state, stacked, bool(finite)

    bar.line(f"compiled in {time.perf_counter() - began:.1f} s")
    return advance


def _steps(
    step: StepFn, state: PyTree, data: Batch, order: Array, start: Array, stop: Array
) -> tuple[PyTree, Any, Array]:
    """Steps ``start`` to ``stop`` in one loop, which ends early where a metric is not finite."""
    form = jax.eval_shape(lambda state, data: step(state, take(data, order, 0))[1], state, data)
    buffer = jax.tree.map(lambda leaf: jnp.zeros((MAX_CHUNK, *leaf.shape), leaf.dtype), form)

    def unfinished(carry: tuple) -> Array:
        index, _, _, finite = carry
        return (index < stop) & finite

    def one_step(carry: tuple) -> tuple:
        index, state, buffer, _ = carry
        state, metrics = step(state, take(data, order, index))
        buffer = jax.tree.map(lambda all, one: all.at[index - start].set(one), buffer, metrics)
        return index + 1, state, buffer, tree.all_finite(metrics)

    initial = (start, state, buffer, jnp.array(True))
    _, state, buffer, finite = jax.lax.while_loop(unfinished, one_step, initial)
    # weights can break while the loss is still finite: a good state is finite as a whole
    return state, buffer, finite & tree.all_finite(state)


_compiled_steps = jax.jit(_steps, static_argnums=0, donate_argnums=1)


def _step_by_step(step: StepFn, state: PyTree, data: Batch, order: Array) -> Advance:
    def one_step(state: PyTree, data: Batch, order: Array, index: Array) -> tuple[PyTree, Any]:
        return step(state, take(data, order, index))

    compiled = jax.jit(one_step, donate_argnums=0).lower(state, data, order, np.int32(0)).compile()
    check = jax.jit(tree.all_finite)

    def advance(
        state: PyTree, data: Batch, order: Array, start: int, stop: int
    ) -> tuple[PyTree, Any, bool]:
        results = []
        for index in range(start, stop):
            state, metrics = compiled(state, data, order, np.int32(index))
            results.append(metrics)
        stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *results)
        return state, stacked, bool(check((state, stacked)))

    return advance


def _has_convolution(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _has_convolution(inner):
                return True
    return False


def _next_size(size: int, seconds: float) -> int:
    """The number of steps that take about CHUNK_SECONDS, approached without leaps."""
    wanted = size * CHUNK_SECONDS / max(seconds, 1e-6)
    return int(min(max(wanted, 1), 8 * size, MAX_CHUNK))


def _check_sizes(
    data: Data,
    num_epochs: int,
    batch_size: int,
    eval_fn: EvalFn | None,
    eval_data: Data | None,
) -> int:
    """Checks what is known before any value is looked at; returns the batches of an epoch."""
    checks.check_positive(num_epochs=num_epochs)
    checks.check_batch_size(batch_size, _length(data))
    if (eval_fn is None) != (eval_data is None):
        raise ValueError("eval_fn and eval_data belong together: give both or neither.")
    return num_batches(_length(data), batch_size)


def _length(data: Data) -> int:
    if not data:
        raise ValueError("data holds no arrays; expected a mapping such as {'image': …}.")
    return next(iter(data.values())).shape[0]
