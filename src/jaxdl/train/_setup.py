"""The length, batches, evaluation sets and monitor of a run, checked before it starts."""

import functools
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, optim
from jaxdl._machine import device_memory
from jaxdl.data.collate import epoch_order, num_batches
from jaxdl.data.combine import compact_form, is_stored, size_in_bytes, source_to_arrays
from jaxdl.data.loader import Loader, given_names
from jaxdl.data.samplers import seed_of
from jaxdl.data.source import Gather
from jaxdl.train._batches import (
    Arrays,
    Batches,
    ResidentBatches,
    Say,
    agreed,
    check_mapping,
    length_of,
)
from jaxdl.train._progress import Monitor, check_monitor
from jaxdl.train._streaming import StreamedBatches
from jaxdl.train.evaluation import EVAL_BATCH_SIZE, evaluate_checked, scan_evaluation
from jaxdl.types import (
    IGNORE_LABEL,
    Array,
    EvalFn,
    EvalStep,
    Mean,
    Metrics,
    PyTree,
    Row,
    Step,
    as_eval_step,
    as_key,
)

RESIDENT_SHARE = 0.1
"""A loader's source stays on the device if it takes at most this share of the device's memory."""

Data = Arrays | Loader
EvalData = Data | Mapping[str, Data]


class Length(NamedTuple):
    """The length of a run.

    Attributes:
        total: updates.
        num_batches: updates of an epoch.
        every: updates between two rows of the history.
        in_epochs: rows are epochs.
    """

    total: int
    num_batches: int
    every: int
    in_epochs: bool

    @property
    def num_epochs(self) -> int:
        """Number of epochs, including a partial last one."""
        return -(-self.total // self.num_batches)

    def next_row(self, done: int) -> int:
        """Number of updates at the next row of the history."""
        return min(self.total, (done // self.every + 1) * self.every)

    def epoch(self, done: int) -> int | float:
        """The position in epochs."""
        whole, rest = divmod(done, self.num_batches)
        return round(done / self.num_batches, 4) if rest else whole

    def position(self, done: int) -> str:
        """Formats the position for messages."""
        if self.in_epochs:
            return f"epoch {self.epoch(done)}/{self.num_epochs}"
        return f"step {done:,}/{self.total:,}"

    def check_position(self, done: int) -> int:
        """Returns ``done``; raises ValueError if the state is past the end of the run."""
        if done > self.total:
            asked = (
                f"{self.num_epochs} epochs end at step {self.total}"
                if self.in_epochs
                else f"num_steps is {self.total}"
            )
            raise ValueError(f"the run is at step {done} already, {asked}; ask for more.")
        return done


def make_length(
    data: Data,
    batch_size: int | None,
    key: Array | int | None,
    num_epochs: int | None,
    num_steps: int | None,
    eval_every: int | None,
) -> Length:
    """Checks the sizes of a run."""
    counts = {"num_epochs": num_epochs, "num_steps": num_steps, "eval_every": eval_every}
    _checks.check_count(**{name: count for name, count in counts.items() if count is not None})
    if (num_epochs is None) == (num_steps is None):
        raise ValueError("pass either num_epochs or num_steps.")
    number = count_batches(data, batch_size, key)
    in_epochs = num_steps is None and eval_every is None
    total = (num_epochs or 0) * number if num_steps is None else num_steps
    return Length(total, number, eval_every or number, in_epochs)


def count_batches(data: Arrays | Loader, batch_size: int | None, key: Array | int | None) -> int:
    """Returns the number of batches per epoch, after checks that do not read values."""
    if isinstance(data, Loader):
        check_unsharded(data)
        agreed("batch_size", batch_size, data)
        if not (data.num_examples and len(data)):
            raise ValueError("the loader has no batches: are there fewer examples than batch_size?")
        return len(data)
    check_mapping("data", data)
    if batch_size is None or key is None:
        raise ValueError("training on arrays needs batch_size and key, the root of their order.")
    return num_batches(length_of(data), batch_size)


def check_unsharded(loader: Loader) -> None:
    """Raises ValueError if a loader is sharded."""
    if loader.share[1] != 1:
        raise ValueError(
            "train.run does not take a loader with shard=: every process would train on its shard "
            "alone. Omit shard."
        )


def make_batches(
    step: Step,
    state: PyTree,
    data: Arrays | Loader,
    batch_size: int | None,
    key: Array | int | None,
    *,
    num_epochs: int,
    say: Say,
) -> Batches:
    """Creates the batches of a run; the data must have passed :func:`count_batches`.

    Args:
        step: the training step.
        state: initial state.
        data: arrays, shuffled by ``epoch_order``; or a loader, whose source is kept on the
            device if :func:`resident_arrays` allows it.
        batch_size: batch size for arrays.
        key: root key of the order of arrays, or an integer seed.
        num_epochs: number of epochs of the whole run, including a partial last one.
        say: logs whether the data are resident or streamed.
    """
    if not isinstance(data, Loader):
        return _shuffled(step, state, data, cast(int, batch_size), as_key(cast(Array, key)))
    if key is not None and seed_of(key) != data.key:
        raise ValueError("the order is the loader's: omit key, or pass the loader's own.")
    fingerprint: dict[str, object] = {
        "batch size": data.size,
        "number of examples": data.num_examples,
        "order": data.fingerprint,
    }
    gather: Gather | None
    arrays, gather = compact_arrays(data, say) or (
        resident_arrays(data, say, step.ignore_label),
        None,
    )
    if arrays is None:
        return StreamedBatches(step, state, data, num_epochs, fingerprint)

    def order(epoch: int) -> Array:
        return jnp.asarray(data.order(epoch), jnp.int32)

    return ResidentBatches(
        step.update, state, arrays, order, data.num_examples, fingerprint, gather
    )


def _shuffled(step: Step, state: PyTree, data: Arrays, batch_size: int, key: Array) -> Batches:
    number = _checks.check_data(data, ignore_label=step.ignore_label)
    fingerprint: dict[str, object] = {
        "batch size": batch_size,
        "number of examples": number,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }

    def order(epoch: int) -> Array:
        indices: Array = _compiled_order(key, epoch, number, batch_size)
        return indices

    return ResidentBatches(step.update, state, data, order, number, fingerprint)


_compiled_order = jax.jit(epoch_order, static_argnums=(2, 3))


def compact_arrays(loader: Loader, say: Say) -> tuple[dict[str, np.ndarray], Gather] | None:
    """Returns a source's arrays and the function that slices batches from them on the device.

    None if the source has no such form (:func:`jaxdl.data.combine.compact_form`) or should not
    be resident; see :func:`resident_arrays`.
    """
    if not _takes_rows(loader):
        return None
    form = compact_form(loader.source)
    if form is None:
        return None
    size, (memory, _) = sum(array.nbytes for array in form[0].values()), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples are cut on the device from {size / 1e6:,.1f} MB; "
        "Loader(resident=False) reads them every epoch"
    )
    return form


def resident_arrays(
    loader: Loader, say: Say, ignore_label: int | None = IGNORE_LABEL
) -> dict[str, np.ndarray] | None:
    """Loads the whole source of a loader if it should be resident on the device; else None.

    If ``loader.resident`` is None, sources of stored data (arrays and files, but not sources
    mapped through a function, which may be random) are resident if they take at most
    :data:`RESIDENT_SHARE` of the device's memory.

    Args:
        loader: with ``resident`` True, False or None.
        say: logs the decision.
        ignore_label: class label that may be out of range.

    Raises:
        ValueError: ``resident`` is True, but batches are not rows of the source.
    """
    if not _takes_rows(loader) or (loader.resident is None and not is_stored(loader.source)):
        return None
    size, (memory, _) = size_in_bytes(loader.source), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples ({size / 1e6:,.1f} MB) are read once and stay on the "
        "device; Loader(resident=False) reads them every epoch"
    )
    arrays = source_to_arrays(loader.source, max_bytes=memory)
    _checks.check_data(arrays, ignore_label=ignore_label)
    return arrays


def _takes_rows(loader: Loader) -> bool:
    """Returns True if every batch consists of rows of an indexable source."""
    given = {
        "collate_fn": loader.collate_fn is not None,
        "batch_sampler": loader.batch_sampler is not None,
        "shard": loader.share[1] != 1,
    }
    names = given_names(given)
    if loader.resident and names:
        raise ValueError(f"resident=True and {names} are mutually exclusive.")
    return not (loader.resident is False or loader.is_iterable or names)


class Evaluation(NamedTuple):
    """Prepared evaluation sets: data on the device or a loader, each with a batch size.

    Attributes:
        fn: the evaluation step, or None without sets.
        sets: evaluated with every row of the history.
        final: evaluated once, when the run ends.
    """

    fn: EvalStep | None
    sets: dict[str, tuple[Data, int]]
    final: dict[str, tuple[Data, int]]

    @property
    def first(self) -> tuple[Data, int] | None:
        """The set that is logged by ``watch`` and whose loss is monitored by default."""
        return next(iter(self.sets.values()), None)

    def run(self, state: PyTree, sets: dict[str, tuple[Data, int]]) -> Row:
        """Evaluates a state on some of the sets."""
        row: Row = {}
        if self.fn is None:
            return row
        for name, (data, batch_size) in sets.items():
            values = evaluate_checked(self.fn, state, data, batch_size)
            row |= {f"{name}/{metric}": value for metric, value in values.items()}
        return row


def prepare_evaluation(
    eval_fn: EvalStep | EvalFn | None,
    eval_data: EvalData | None,
    eval_batch_size: int | None,
    say: Say,
) -> Evaluation:
    """Checks the evaluation data and transfers them to the device."""
    check_pair(eval_fn, eval_data)
    if eval_fn is None or eval_data is None:
        return Evaluation(None, {}, {})
    eval_step = as_eval_step(eval_fn)
    prepared: dict[str, tuple[Data, int]] = {}
    for name, data in _by_name(eval_data).items():
        if name in ("train", "step", "") or "/" in name:
            raise ValueError(f"an evaluation set cannot be named {name!r}.")
        prepared[name] = _prepare(data, eval_batch_size, say, eval_step.ignore_label)
    final = {"test": prepared.pop("test")} if len(prepared) > 1 and "test" in prepared else {}
    return Evaluation(eval_step, prepared, final)


def _prepare(
    data: Data, batch_size: int | None, say: Say, ignore_label: int | None
) -> tuple[Data, int]:
    """Checks a set and transfers it to the device unless it is streamed."""
    if not isinstance(data, Loader):
        batch_size = EVAL_BATCH_SIZE if batch_size is None else batch_size
        _checks.check_count(eval_batch_size=batch_size)
        check_mapping("eval_data", data)
        _checks.check_data(data, ignore_label=ignore_label)
        return jax.device_put(dict(data)), batch_size
    check_unsharded(data)
    batch_size = agreed("eval_batch_size", batch_size, data)
    arrays = resident_arrays(data, say, ignore_label)
    if arrays is None:
        return data, batch_size
    order = np.concatenate(data.indices(0))
    return {name: jax.device_put(array[order]) for name, array in arrays.items()}, batch_size


def _by_name(eval_data: EvalData) -> dict[str, Data]:
    """Maps names to evaluation sets; a single set is named ``"test"``."""
    if isinstance(eval_data, Mapping):
        inner = {name: x for name, x in eval_data.items() if isinstance(x, Mapping | Loader)}
        if inner and len(inner) == len(eval_data):
            return inner
        if inner:
            other = next(name for name in eval_data if name not in inner)
            raise ValueError(
                f"eval_data must hold arrays, or sets of them by name, but {other!r} and "
                f"{next(iter(inner))!r} differ."
            )
    return {"test": eval_data}


def make_monitor(
    name: str | None,
    mode: Literal["min", "max"],
    patience: int | None,
    restore_best: bool,
    *,
    state: PyTree,
    form: Metrics,
    evaluation: Evaluation,
) -> Monitor:
    """Checks before training that the monitored metric exists."""
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
    if patience is not None:
        _checks.check_count(patience=patience)
    options = {
        "patience": patience is not None,
        "restore_best": restore_best,
        "reduce_on_plateau": optim.plateau.has_plateau(state),
    }
    asked = [option for option, given in options.items() if given]
    if name is None and not evaluation.sets:
        if asked:
            raise ValueError(
                f"{' and '.join(asked)} needs a metric to monitor: pass eval_fn and eval_data, or "
                "monitor='train/loss'."
            )
        return Monitor("", mode)
    name = name or f"{next(iter(evaluation.sets))}/loss"
    names = {f"train/{metric}" for metric, leaf in form.items() if isinstance(leaf, Mean)}
    for prefix, (data, batch_size) in evaluation.sets.items():
        if isinstance(data, Loader) or evaluation.fn is None:
            return Monitor(name, mode, patience, restore_best)  # checked when the first epoch ends
        evaluate = functools.partial(scan_evaluation, evaluation.fn, batch_size=batch_size)
        values = jax.eval_shape(evaluate, state, data)
        names |= {f"{prefix}/{metric}" for metric, x in values.items() if isinstance(x, Mean)}
    check_monitor(names, name)
    return Monitor(name, mode, patience, restore_best)


def check_pair(eval_fn: object, eval_data: object) -> None:
    """Raises ValueError if only one of the two is given."""
    if (eval_fn is None) != (eval_data is None):
        raise ValueError("eval_fn and eval_data belong together: pass both or neither.")
