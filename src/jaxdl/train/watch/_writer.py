"""The host's side of watching: when to look, and a thread that draws and writes what was seen."""

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Self

import jax
import numpy as np

from jaxdl import metrics, optim, plots, tensorboard
from jaxdl.train._run_dir import RunFolder
from jaxdl.train.watch._probes import make_embedding, make_statistics, make_survey
from jaxdl.train.watch.options import Watch, params_of, resolve
from jaxdl.types import Batch, PyTree, Step

MIN_TSNE = 4  # vectors


MAX_WAITING = 4  # looks that wait to be written; the next one waits for the first of them


class Watcher:
    """Takes the looks of a run. Without a :class:`Watch` it logs metrics every so many steps.

    Args:
        watch: what to show, or None.
        step: the update.
        record: the run folder.
        batch: arrays or ``jax.ShapeDtypeStruct``, of which only the form counts.
        log_every: without a watch, steps between two points of the metrics.
        batch_size: examples a step, on average.
        eval_data: arrays by name on the device, or None.
        eval_batch_size: of them at a time.

    Raises:
        ValueError: see :func:`~jaxdl.train.watch.options.resolve`; a watch without a run folder.
    """

    def __init__(
        self,
        watch: Watch | None,
        step: Step,
        record: RunFolder,
        batch: PyTree,
        *,
        log_every: int,
        batch_size: float,
        eval_data: Any,
        eval_batch_size: int,
    ):
        self._watch: Any = watch
        self._record, self._log_every = record, log_every
        if watch is None:
            return
        if record.workdir is None:
            raise ValueError("watch writes to TensorBoard in the run folder: give run a workdir.")
        self._watch = watch = resolve(watch, step, record.state, batch, eval_data)
        network: Any = step.network
        self._network = network
        self._batch, self._batch_size = batch, batch_size
        self._eval_data: Any = eval_data
        self._programs = {
            "statistics": jax.jit(make_statistics(watch, step)),
            "embedding": jax.jit(make_embedding(watch, network, eval_batch_size)),
            "survey": jax.jit(make_survey(watch, network, eval_batch_size)),
        }
        self._compiling: dict[str, Future] = {}
        self._embedded: tuple[int, Any] | None = None
        self._seen: tuple[int, bool, Any] | None = None
        self._steps, self._seconds = 0, 0.0
        self._waiting: deque[Future] = deque()
        self._pool = ThreadPoolExecutor(1, "watch")
        self._compiler = ThreadPoolExecutor(1, "compile")

    def __enter__(self) -> Self:
        if self._watch is not None:
            try:
                self._compile(self._watch)
                with self._record.writing():
                    self._begin(self._watch)
            except BaseException:
                self._end_threads()
                raise
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if self._watch is None:
            return
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._end_threads()
        if self._watch.hparams is not None and (kind is None or issubclass(kind, Exception)):
            tensorboard.write_hparams_end(self._record.writer, succeeded=kind is None)

    def _compile(self, watch: Watch) -> None:
        """Begins to compile in a thread, while the training step is compiled and runs."""
        state = jax.eval_shape(lambda state: state, self._record.state)
        forms = {"statistics": (state, self._batch)}
        if watch.embeddings:
            forms["embedding"] = (state, self._eval_data)
        if watch.confusion or watch.worst:
            forms["survey"] = (state, self._eval_data)
        for name, arguments in forms.items():
            self._compiling[name] = self._compiler.submit(
                lambda program, arguments: program.lower(*arguments).compile(),
                self._programs[name],
                arguments,
            )

    def _call(self, name: str, state: PyTree, data: Batch) -> Any:
        if name in self._compiling:
            wait([self._compiling.pop(name)])  # if it failed, so does the call
        return self._programs[name](state, data)

    def _end_threads(self) -> None:
        self._pool.shutdown()
        self._compiler.shutdown(wait=False, cancel_futures=True)

    def due(self, index: int) -> bool:
        """Whether a look is taken before this batch of an epoch."""
        return self._watch is not None and index % self._watch.every == 0

    def postpones_save(self, done: int, rows: int) -> bool:
        """Whether a save after ``done`` updates has to wait for the next step.

        A look after the save would be taken, and written, again when the run is resumed. Where a
        look is taken at every step there is no better moment.
        """
        return self.due(done % rows) and min(self._watch.every, rows) > 1

    def limit(self, index: int, stop: int) -> int:
        """Where steps that begin at a batch of an epoch have to end, ``stop`` at the latest.

        A step that is looked at is taken alone, so that its metrics and rates are known.
        """
        if self._watch is None:
            return stop
        every = self._watch.every
        return min(stop, index + 1 if self.due(index) else index + every - index % every)

    def look(self, state: PyTree, batch: Batch, index: int) -> None:
        """Computes the statistics of a state and the batch that comes next, where a look is due."""
        if self.due(index):
            self._seen = (int(state.step), index == 0, self._call("statistics", state, batch))

    def settle(self) -> None:
        """Waits until all looks are with the writer, so that it can be flushed before a save."""
        if self._watch is not None:
            self._wait(0)

    def log(self, state: PyTree, stacked: Any, done: int, seconds: float) -> None:
        """Writes what the last look saw, and the metrics of the step after it.

        Args:
            state: after the steps.
            stacked: their metrics, with a leading step axis.
            done: updates before them.
            seconds: how long they took.
        """
        if self._watch is None:
            self._record.write_steps(stacked, done, self._log_every)
            return
        if self._seen is not None:
            step, is_first, found = self._seen
            self._seen = None
            first = jax.tree.map(lambda leaf: leaf[0], dict(stacked))
            scalars = metrics.result(first, "step/") | self._measure(state)
            jax.block_until_ready(found)
            self._submit(lambda: self._write_look(step, is_first, jax.device_get(found), scalars))
        self._steps += len(jax.tree.leaves(stacked)[0])
        self._seconds += seconds

    def end_epoch(self, state: PyTree, step: int) -> None:
        """Embeds the evaluation data and writes the vectors."""
        if self._watch is not None and self._watch.embeddings:
            vectors = np.asarray(self._call("embedding", state, self._eval_data))
            self._embedded = step, vectors
            self._submit(lambda: self._write_embeddings(step, vectors))

    def finish(self, state: PyTree, step: int) -> None:
        """Writes what is wanted when a run ends, and waits until all is written."""
        if self._watch is None:
            return
        # what fails on the device fails in this thread: in the other one the disk would be blamed
        if self._watch.confusion or self._watch.worst:
            found = jax.device_get(self._call("survey", state, self._eval_data))
            self._submit(lambda: self._write_survey(step, found))
        if self._watch.embeddings:
            if self._embedded is None or self._embedded[0] != step:  # no epoch came before
                self._embedded = step, np.asarray(self._call("embedding", state, self._eval_data))
            vectors = self._embedded[1]
            self._submit(lambda: self._draw_maps(step, vectors))
        self._wait(0)

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

    # What follows, but for _submit and _wait, runs in the thread.

    def _submit(self, write: Callable[[], None]) -> None:
        self._wait(MAX_WAITING)
        self._waiting.append(self._pool.submit(write))

    def _wait(self, number: int) -> None:
        """Waits until at most so many are waiting; raises what one of them raised."""
        while len(self._waiting) > number:
            with self._record.writing():
                self._waiting.popleft().result()

    def _begin(self, watch: Watch) -> None:
        writer, network = self._record.writer, self._network
        params = params_of(self._record.state)
        if watch.hparams is not None:
            tensorboard.write_hparams(writer, watch.hparams, metrics=watch.hparams_metrics)
        if watch.graph:
            state = self._record.state
            form = jax.eval_shape(network.inputs, self._batch)
            variables = {"params": state.params, **state.model_state}
            tensorboard.write_graph(writer, network.model, variables, form, **network.options)
            tensorboard.write_parameter_table(writer, "parameters", params)

    def _write_look(
        self, step: int, is_first: bool, found: dict[str, Any], scalars: dict[str, float]
    ) -> None:
        with tensorboard.writer.one_event(self._record.writer) as writer:
            for kind, values in found.items():
                if kind == "inputs":
                    if is_first:
                        tensorboard.write_image(
                            writer, kind, tensorboard.media.input_grid(values), step
                        )
                    continue
                for name, value in values.items():
                    tag = f"{kind}/{name}"
                    if isinstance(value, tensorboard.histograms.Buckets):
                        tensorboard.histograms.write_buckets(writer, tag, value, step)
                    elif kind == "feature_maps":
                        tensorboard.write_image(writer, tag, tensorboard.feature_grid(value), step)
                    elif kind == "filters":
                        if is_first:
                            grid = tensorboard.filter_grid(value)
                            tensorboard.write_image(writer, tag, grid, step)
                    elif kind != "update_ratio" or not np.isnan(value):
                        scalars[tag] = value
            tensorboard.write_scalars(writer, scalars, step)

    def _write_survey(self, step: int, found: dict[str, Any]) -> None:
        writer = self._record.writer
        if "confusion" in found:
            figure = plots.confusion_matrix(found["confusion"], self._names(found["confusion"]))
            tensorboard.write_figure(writer, "confusion_matrix", figure, step)
        if "worst" in found:
            losses, indices, probabilities = found["worst"]
            counted = losses > -np.inf
            indices, probabilities = indices[counted], probabilities[counted]
            images, labels = (
                np.asarray(self._eval_data[name][indices])
                for name in (self._network.image, self._network.label)
            )
            figure = plots.predictions(
                _viewable(images), labels, probabilities, self._names(probabilities)
            )
            tensorboard.write_figure(writer, "worst_classified", figure, step)

    def _write_embeddings(self, step: int, vectors: np.ndarray) -> None:
        network, data, images = self._network, self._eval_data, None
        labels = self._labels(len(vectors))
        if network.image in data and data[network.image].ndim == 4:
            images = _viewable(np.asarray(data[network.image][: len(vectors)]))
            images = images if tensorboard.embeddings.makes_sprite(images.shape) else None
        tensorboard.write_embedding(
            self._record.writer,
            self._watch.embeddings,
            vectors,
            step,
            metadata=None if labels is None else self._named(labels),
            images=images,
        )

    def _draw_maps(self, step: int, vectors: np.ndarray) -> None:
        labels = self._labels(len(vectors))
        classes = np.zeros(len(vectors), np.int32) if labels is None else labels
        names = [""] if labels is None else self._named(range(classes.max() + 1))
        few = min(vectors.shape) < 2
        for method in () if few else self._watch.projections:
            if method == "tsne" and len(vectors) < MIN_TSNE:
                continue
            plane = tensorboard.pca(vectors) if method == "pca" else tensorboard.tsne(vectors)
            title = f"{self._watch.embeddings}, {method}"
            figure = plots.class_map(plane, classes, names, title=title)
            tensorboard.write_figure(self._record.writer, f"embeddings/{method}", figure, step)

    def _labels(self, number: int) -> np.ndarray | None:
        """Classes of the first examples, where there are any."""
        labels = self._eval_data.get(self._network.label)
        is_class = labels is not None and labels.ndim == 1
        if not is_class or not np.issubdtype(labels.dtype, np.integer):
            return None
        return np.asarray(labels[:number])

    def _names(self, table: np.ndarray) -> list[str]:
        number = table.shape[-1]
        names = self._watch.class_names
        return list(names) if names is not None else [str(index) for index in range(number)]

    def _named(self, labels: Any) -> list[str]:
        names = self._watch.class_names
        return [str(label) if names is None else names[label] for label in labels]


def memory() -> dict[str, float]:
    """Bytes in use on the first device, and the most so far; of the process on CPU."""
    found = jax.local_devices()[0].memory_stats()
    if found:
        keys = {"bytes_in_use": "memory/device", "peak_bytes_in_use": "memory/device_peak"}
        return {tag: float(found[key]) for key, tag in keys.items() if key in found}
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory/process_peak": float(peak * (1 if sys.platform == "darwin" else 1024))}


def _viewable(images: np.ndarray) -> np.ndarray:
    """uint8 as it is, floating point scaled together to 0 to 1."""
    if images.dtype == np.uint8:
        return images
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    return (images - low) / max(high - low, 1e-12)
