"""The host's side of watching: when to compute statistics, and a thread that writes them."""

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from jaxdl import metrics, optim, plots, tensorboard
from jaxdl.data.loader import Loader
from jaxdl.tensorboard.grids import feature_grid, filter_grid, input_grid
from jaxdl.tensorboard.hparams import write_hparams_end
from jaxdl.tensorboard.markdown import write_parameter_table
from jaxdl.tensorboard.projections import pca, tsne
from jaxdl.train._batches import Arrays, Batches
from jaxdl.train.evaluation import EVAL_BATCH_SIZE
from jaxdl.train.run_dir import RunFolder
from jaxdl.train.watch._probes import Statistics, make_embedding, make_statistics, make_survey
from jaxdl.train.watch._profile import Trace
from jaxdl.train.watch.options import Watch, params_of, resolve
from jaxdl.types import Batch, Metrics, PyTree, Step, call_options

MIN_TSNE = 4
"""Least number of vectors for t-SNE."""

MAX_WAITING = 4
"""Most writes that may wait for the thread; a further one waits for the first of them."""


class Watcher:
    """Logs statistics and metrics of a run to TensorBoard every ``watch.every`` steps.

    Args:
        watch: the options; None is ``Watch()``, also without a run folder.
        step: the update.
        state: the state before the first step.
        folder: the run folder.
        batches: the training data.
        total: steps of the run.
        eval_set: arrays by name on the device, or a loader, and their batch size; or None.

    Raises:
        ValueError: see :func:`~jaxdl.train.watch.options.resolve`; a watch without a run folder.
    """

    def __init__(
        self,
        watch: Watch | None,
        step: Step,
        state: PyTree,
        folder: RunFolder,
        batches: Batches,
        *,
        total: int,
        eval_set: tuple[Arrays | Loader, int] | None,
    ):
        if watch is not None and folder.workdir is None:
            raise ValueError("watch writes to TensorBoard in the run folder: pass workdir to run.")
        watch = watch or Watch()
        self._folder, self._num_batches = folder, batches.num_batches
        self._batch_size = batches.num_examples / batches.num_batches
        eval_data, eval_batch_size = eval_set or (None, EVAL_BATCH_SIZE)
        self._form = batches.form()
        self._watch = resolve(watch, step, state, self._form, eval_data)
        self._eval_data: Arrays = eval_data if isinstance(eval_data, Mapping) else {}
        self._trace = Trace(watch.profile, folder.workdir, total)
        self._state_form = jax.eval_shape(lambda state: state, state)
        self._network: Any = step.network  # checked by resolve
        self._programs: dict[str, Any] = {
            "statistics": jax.jit(make_statistics(self._watch, step)),
        }
        if step.network is not None:
            self._programs |= {
                "embedding": jax.jit(make_embedding(watch, step.network, eval_batch_size)),
                "survey": jax.jit(make_survey(watch, step.network, eval_batch_size)),
            }
        self._embedded: tuple[int, np.ndarray] | None = None
        self._pending: tuple[int, bool, Statistics] | None = None
        self._steps, self._seconds = 0, 0.0
        self._compiling: dict[str, Future[Any]] = {}
        self._waiting: deque[Future[None]] = deque()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(self._trace)
            self._pool = ThreadPoolExecutor(1, "watch")
            self._stack.callback(self._pool.shutdown)
            self._compile()
            with self._folder.writing():
                self._begin()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | object) -> None:
        with self._stack:
            if kind is None:
                self.flush()
        if self._watch.hparams is not None and (kind is None or issubclass(kind, Exception)):
            write_hparams_end(self._folder.writer, succeeded=kind is None)

    def _compile(self) -> None:
        """Starts compilation in a thread, concurrently with the training step."""
        forms: dict[str, tuple[PyTree, Arrays]] = {}
        if self._watch.has_statistics:
            forms["statistics"] = (self._state_form, self._form)
        if self._watch.embeddings:
            forms["embedding"] = (self._state_form, self._eval_data)
        if self._watch.confusion or self._watch.worst:
            forms["survey"] = (self._state_form, self._eval_data)
        compiler = ThreadPoolExecutor(1, "compile")
        self._stack.callback(compiler.shutdown, wait=False, cancel_futures=True)
        for name, arguments in forms.items():
            self._compiling[name] = compiler.submit(
                lambda program, arguments: program.lower(*arguments).compile(),
                self._programs[name],
                arguments,
            )

    def _call(self, name: str, state: PyTree, data: Arrays) -> Any:
        if name in self._compiling:
            wait([self._compiling.pop(name)])  # if it failed, so does the call
        return self._programs[name](state, data)

    # Around the steps

    def _is_due(self, index: int) -> bool:
        """Returns True if statistics are due before this batch of an epoch."""
        return self._watch.has_statistics and index % self._watch.every == 0

    def limit(self, done: int, index: int, stop: int) -> int:
        """Returns the end of the next run of steps from a batch of an epoch, at most ``stop``.

        A step with statistics, or in a trace, runs alone, so that its metrics are available.
        """
        stop = index + self._trace.limit(done, stop - index)
        if not self._watch.has_statistics:
            return stop
        every = self._watch.every
        return min(stop, index + 1 if self._is_due(index) else index + every - index % every)

    def observe(self, state: PyTree, index: int, peek: Callable[[], Batch]) -> None:
        """Computes the statistics of a state and its next batch, if they are due.

        Args:
            state: before the update.
            index: number of the batch in its epoch.
            peek: returns the batch.
        """
        if self._is_due(index):
            found = self._call("statistics", state, peek())
            self._pending = int(state.step), index == 0, found

    def traced(self, done: int, wait_for: PyTree) -> contextlib.AbstractContextManager[None]:
        """Context manager for the steps after ``done`` updates, which may be traced."""
        return self._trace.around(done, wait_for)

    def log(self, state: PyTree, stacked: Metrics, done: int, seconds: float) -> None:
        """Writes pending statistics and the metrics of the following step.

        Args:
            state: after the steps.
            stacked: their metrics, with a leading step axis.
            done: updates before them.
            seconds: their duration.
        """
        if not self._watch.has_statistics:
            self._folder.write_steps(stacked, done, self._watch.every)
            return
        if self._pending is not None:
            step, is_first, found = self._pending
            self._pending = None
            first = jax.tree.map(lambda leaf: leaf[0], dict(stacked))
            scalars = metrics.result(first, "step/") | self._measure(state)
            jax.block_until_ready(found)
            self._submit(
                lambda: write_statistics(
                    self._folder.writer, step, is_first, jax.device_get(found), scalars
                )
            )
        self._steps += len(jax.tree.leaves(stacked)[0])
        self._seconds += seconds

    def _measure(self, state: PyTree) -> dict[str, float]:
        watch = self._watch
        scalars: dict[str, float] = {}
        if watch.learning_rates:
            rates = optim.learning_rates(state)
            scalars |= {f"step/{name}": rate for name, rate in rates.items()}
        if watch.speed and self._steps:
            seconds = self._seconds / self._steps
            scalars["speed/step_seconds"] = seconds
            scalars["speed/examples_per_second"] = self._batch_size / seconds
        self._steps, self._seconds = 0, 0.0
        return scalars | (memory() if watch.memory else {})

    def postpones_save(self, done: int) -> bool:
        """Returns True if a save after ``done`` updates must be postponed by a step.

        Statistics computed after the save would be written again when the run is resumed. If
        every step has statistics, postponing does not help.
        """
        is_due = self._is_due(done % self._num_batches)
        return is_due and min(self._watch.every, self._num_batches) > 1

    def flush(self) -> None:
        """Waits for pending writes, so that the writer can be flushed before a save."""
        self._wait(0)

    # At the end of an epoch and of the run

    def end_epoch(self, state: PyTree, step: int) -> None:
        """Embeds the evaluation data and writes the vectors."""
        if self._watch.embeddings:
            vectors = self._embed(state, step)
            self._submit(lambda: self._write_embeddings(step, vectors))

    def _embed(self, state: PyTree, step: int) -> np.ndarray:
        """Computes the embedding vectors at a step and keeps the newest."""
        if self._embedded is None or self._embedded[0] != step:
            self._embedded = step, np.asarray(self._call("embedding", state, self._eval_data))
        return self._embedded[1]

    def finish(self, state: PyTree, step: int) -> None:
        """Writes the final entries of a run and waits for pending writes."""
        # device errors are raised in this thread; the other thread would report a disk error
        if self._watch.confusion or self._watch.worst:
            found = jax.device_get(self._call("survey", state, self._eval_data))
            self._submit(lambda: self._write_survey(step, found))
        if self._watch.embeddings:
            vectors = self._embed(state, step)
            self._submit(lambda: self._draw_projections(step, vectors))
        self.flush()

    # Writing; all but _submit and _wait runs in the thread

    def _submit(self, write: Callable[[], None]) -> None:
        self._wait(MAX_WAITING)
        self._waiting.append(self._pool.submit(write))

    def _wait(self, number: int) -> None:
        """Waits until at most ``number`` writes are pending; raises their errors."""
        while len(self._waiting) > number:
            with self._folder.writing():
                self._waiting.popleft().result()

    def _begin(self) -> None:
        writer, watch, network = self._folder.writer, self._watch, self._network
        if watch.hparams is not None:
            tensorboard.write_hparams(writer, watch.hparams, metrics=watch.hparams_metrics)
        if watch.graph and network is not None:
            state = self._state_form
            inputs = jax.eval_shape(network.arguments, self._form)
            options = call_options(network.model, train=False)
            variables = {"params": state.params, **state.model_state}
            tensorboard.write_graph(writer, network.model, variables, *inputs, **options)
            write_parameter_table(writer, "parameters", params_of(state))

    def _write_survey(self, step: int, found: Statistics) -> None:
        writer = self._folder.writer
        if "confusion" in found:
            matrix = found["confusion"]
            figure = plots.confusion_matrix(matrix, self._class_names(len(matrix)))
            tensorboard.write_figure(writer, "confusion_matrix", figure, step)
        if "worst" in found:
            losses, indices, probabilities = found["worst"]
            counted = losses > -np.inf
            indices, probabilities = indices[counted], probabilities[counted]
            images, labels = (
                np.asarray(self._eval_data[name][indices])
                for name in (self._network.image, self._network.label)
            )
            names = self._class_names(probabilities.shape[-1])
            figure = plots.predictions(_viewable(images), labels, probabilities, names)
            tensorboard.write_figure(writer, "worst_classified", figure, step)

    def _write_embeddings(self, step: int, vectors: np.ndarray) -> None:
        data, name, images = self._eval_data, self._network.image, None
        labels = self._labels(len(vectors))
        if name in data and data[name].ndim == 4:
            images = _viewable(np.asarray(data[name][: len(vectors)]))
            images = images if tensorboard.embeddings.makes_sprite(images.shape) else None
        tensorboard.write_embedding(
            self._folder.writer,
            str(self._watch.embeddings),
            vectors,
            step,
            metadata=None if labels is None else self._names_of(labels),
            images=images,
        )

    def _draw_projections(self, step: int, vectors: np.ndarray) -> None:
        labels = self._labels(len(vectors))
        classes = np.zeros(len(vectors), np.int32) if labels is None else labels
        names = [""] if labels is None else self._names_of(range(classes.max() + 1))
        few = min(vectors.shape) < 2
        for method in () if few else self._watch.projections:
            if method == "tsne" and len(vectors) < MIN_TSNE:
                continue
            plane = pca(vectors) if method == "pca" else tsne(vectors)
            title = f"{self._watch.embeddings}, {method}"
            figure = plots.class_map(plane, classes, names, title=title)
            tensorboard.write_figure(self._folder.writer, f"embeddings/{method}", figure, step)

    def _labels(self, number: int) -> np.ndarray | None:
        """Returns the labels of the first examples, or None."""
        labels = self._eval_data.get(self._network.label)
        if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            return None
        return np.asarray(labels[:number])

    def _class_names(self, number: int) -> list[str]:
        names = self._watch.class_names
        return list(map(str, range(number))) if names is None else list(names)

    def _names_of(self, labels: Sequence[int] | np.ndarray | range) -> list[str]:
        names = self._watch.class_names
        return [str(label) if names is None else names[label] for label in labels]


def write_statistics(
    writer: Any, step: int, is_first: bool, found: Statistics, scalars: dict[str, float]
) -> None:
    """Writes statistics and scalars as one event.

    Args:
        writer: TensorBoard writer.
        step: updates before them.
        is_first: they are the first of their epoch.
        found: from :func:`make_statistics`, on the host.
        scalars: further ones by tag.
    """
    with tensorboard.writer.one_event(writer) as event:
        for kind, values in found.items():
            if kind == "inputs":
                if is_first:
                    grid = input_grid(values)
                    tensorboard.write_image(event, kind, grid, step)
                continue
            for name, value in values.items():
                tag = f"{kind}/{name}"
                if isinstance(value, tensorboard.histograms.Buckets):
                    tensorboard.histograms.write_buckets(event, tag, value, step)
                elif kind == "feature_maps":
                    tensorboard.write_image(event, tag, feature_grid(value), step)
                elif kind == "filters":
                    if is_first:
                        grid = filter_grid(value)
                        tensorboard.write_image(event, tag, grid, step)
                elif kind != "update_ratio" or not np.isnan(value):
                    scalars[tag] = value
        tensorboard.write_scalars(event, scalars, step)


def memory() -> dict[str, float]:
    """Returns current and peak bytes in use on the first device, or of the process on CPU."""
    found = jax.local_devices()[0].memory_stats()
    if found:
        keys = {"bytes_in_use": "memory/device", "peak_bytes_in_use": "memory/device_peak"}
        return {tag: float(found[key]) for key, tag in keys.items() if key in found}
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory/process_peak": float(peak * (1 if sys.platform == "darwin" else 1024))}


def _viewable(images: np.ndarray) -> np.ndarray:
    """Scales floating-point images jointly to [0, 1]; uint8 images are unchanged."""
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    scaled: np.ndarray = (images.astype(np.float32) - low) / max(high - low, 1e-12)
    return scaled
