"""Members of a sweep as compiled programs: many at once by ``vmap``, or one after another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import tree
from jaxdl.data.device import device_memory
from jaxdl.train.members import CACHE_BYTES, Traced, TrainOne
from jaxdl.types import Array, PyTree


class Result(NamedTuple):
    """One member's part of a block: the leaves of its state and its history, on the host."""

    setting: int
    seed: int
    leaves: list[np.ndarray]
    history: dict[str, np.ndarray]


class Group:
    """Members that share compiled programs, as they differ in traced values only.

    Args:
        function: ``(key, hparams, data, **options) -> (state, history)``.
        traced: from :func:`trace`.
        columns: traced hyperparameters, (H,) by name.
        seeds: S of them.
        data: passed on; the same for all.
        method: "vmap" or "loop".
        chunk_size: members at a time at most; None lets memory (and a CPU's cache) decide.
        max_bytes: most memory, a device, of all programs that run at a time.
        workers: programs at a time, each called from a thread of its own.
        options: more arguments of the first program.

    Raises:
        ValueError: one member alone needs more than ``max_bytes``.
    """

    def __init__(
        self,
        function: TrainOne,
        traced: Traced,
        columns: dict[str, np.ndarray],
        seeds: Sequence[int],
        data: PyTree,
        *,
        method: str,
        chunk_size: int | None,
        max_bytes: float,
        workers: int,
        options: dict[str, Any],
    ):
        self._function, self._options, self._seeds = function, options, list(seeds)
        self._columns = columns
        self._num_settings = len(next(iter(columns.values()))) if columns else 1
        self._treedef = jax.tree.structure(traced.state)
        self.form = traced.state
        self._forms = jax.tree.leaves(traced.state)
        self._impls = _key_impls(self._forms)
        names = [tree.leaf_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(traced.state)]
        self._is_step = [name == "step" for name in names]
        self.method, self.workers = method, workers
        devices = jax.local_devices()
        self._mesh: Mesh | None = None
        if method == "vmap" and len(devices) > 1:
            self._mesh = Mesh(np.asarray(devices), ("member",), axis_types=(AxisType.Auto,))
            data = jax.device_put(data, NamedSharding(self._mesh, P()))
        self._data = jax.device_put(data) if self._mesh is None else data
        self._programs: dict[bool, Any] = {}
        self.shape = self._find_shape(chunk_size, max_bytes)

    def run(
        self,
        settings: Sequence[int],
        states: Callable[[int, int], list[np.ndarray]] | None,
    ) -> Iterator[Result]:
        """Trains some of the settings with every seed, from the start or from their states.

        Args:
            settings: positions in the columns.
            states: ``(setting, position of the seed) -> leaves``, or None to start.

        Yields:
            results as they come.
        """
        program = self._program(states is not None, self.shape)
        jobs = list(self._jobs(settings))
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: set[Future] = set()
            while jobs or waiting:
                # one more than there are threads: none of them waits for who takes the results
                while jobs and len(waiting) <= self.workers:
                    waiting.add(pool.submit(self._run_block, program, *jobs.pop(0), states))
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()

    def state(self, leaves: Sequence[np.ndarray]) -> PyTree:
        """A member's state as its training function returned it, on the default device."""
        return jax.tree.unflatten(
            self._treedef, _wrap([jnp.asarray(x) for x in leaves], self._impls)
        )

    def step(self, leaves: Sequence[np.ndarray]) -> int | None:
        """The number of updates that a member's state speaks of."""
        found = [x for x, is_step in zip(leaves, self._is_step, strict=True) if is_step]
        return int(found[0]) if found and found[0].ndim == 0 else None

    def program_bytes(self) -> int | None:
        """What the compiled first program needs on a device; None where XLA does not say."""
        return _program_bytes(self._program(False, self.shape))

    def _jobs(self, settings: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
        height, width = self.shape  # seeds, settings
        for first_seed in range(0, len(self._seeds), height):
            seeds = list(range(len(self._seeds)))[first_seed : first_seed + height]
            for first in range(0, len(settings), width):
                yield seeds, list(settings[first : first + width])

    def _run_block(
        self,
        program: Any,
        seeds: list[int],
        settings: list[int],
        states: Callable[[int, int], list[np.ndarray]] | None,
    ) -> list[Result]:
        height, width = self.shape
        # a block is always full, so that a member's arithmetic does not depend on its company
        rows = seeds + seeds[-1:] * (height - len(seeds))
        places = settings + settings[-1:] * (width - len(settings))
        keys = [jax.random.key(self._seeds[row]) for row in rows]
        hparams = {name: column[places] for name, column in self._columns.items()}
        leaves: list[Any] = []
        if states is not None:
            grid = [[states(place, row) for place in places] for row in rows]
            for index, is_step in enumerate(self._is_step):
                stacked = np.stack([np.stack([one[index] for one in line]) for line in grid])
                leaves.append(stacked[0, 0] if is_step or self.method == "loop" else stacked)
        if self.method == "loop":
            one = {name: column[0] for name, column in hparams.items()}
            out, history = jax.device_get(program(keys[0], one, self._data, leaves))
            return [Result(places[0], rows[0], out, history)]
        out, history = jax.device_get(program(jnp.stack(keys), hparams, self._data, leaves))
        return [
            # copies: views would keep the whole block alive
            Result(
                place,
                row,
                [leaf[i, j].copy() for leaf in out],
                {name: values[i, j].copy() for name, values in history.items()},
            )
            for i, row in enumerate(seeds)
            for j, place in enumerate(settings)
        ]

    def _program(self, goes_on: bool, shape: tuple[int, int]) -> Any:
        if goes_on not in self._programs:
            self._programs[goes_on] = self._compile(goes_on, shape)
        return self._programs[goes_on]

    def _compile(self, goes_on: bool, shape: tuple[int, int]) -> Any:
        def one(key: Array, hparams: dict, data: PyTree, leaves: list[Array]) -> Any:
            options = self._options
            if goes_on:
                options = options | {
                    "state": jax.tree.unflatten(self._treedef, _wrap(leaves, self._impls))
                }
            state, history = self._function(key, hparams, data, **options)
            return _unwrap(jax.tree.leaves(state)), dict(history)

        height, width = shape
        loop = self.method == "loop"
        key = jax.random.key(0)
        keys = key if loop else jnp.stack([key] * height)
        hparams = {
            name: column[0] if loop else np.resize(column, width)
            for name, column in self._columns.items()
        }
        leaves = []
        for form, is_step in zip(self._forms, self._is_step, strict=True):
            raw = jax.eval_shape(lambda x: _unwrap([x])[0], form)
            full = raw.shape if is_step or loop else (height, width, *raw.shape)
            leaves.append(jax.ShapeDtypeStruct(full, raw.dtype))
        leaves = leaves if goes_on else []
        if loop:
            return jax.jit(one).lower(keys, hparams, self._data, leaves).compile()
        # all members are at the same step: one order of the examples serves all settings of a seed
        axes = [None if is_step else 0 for is_step in self._is_step] if goes_on else []
        many = jax.vmap(one, in_axes=(None, 0, None, axes))
        block = jax.vmap(many, in_axes=(0, None, None, axes))
        if self._mesh is not None:
            block = self._shard(block, goes_on, width % len(self._mesh.devices) == 0)
        return jax.jit(block).lower(keys, hparams, self._data, leaves).compile()

    def _shard(self, block: Callable, goes_on: bool, by_setting: bool) -> Callable:
        """Every device trains its own share of the settings, or of the seeds, alone."""
        seeds, settings = (P(), P("member")) if by_setting else (P("member"), P())
        both = P(None, "member") if by_setting else P("member")
        leaves = [P() if is_step else both for is_step in self._is_step] if goes_on else []
        in_specs = (seeds, settings, P(), leaves)
        return jax.shard_map(
            block, mesh=self._mesh, in_specs=in_specs, out_specs=both, check_vma=False
        )

    def _find_shape(self, chunk_size: int | None, max_bytes: float) -> tuple[int, int]:
        """Seeds and settings of a block: as many as fit, checked on the compiled program."""
        member = 3 * tree.num_bytes(self._forms)
        devices = 1 if self._mesh is None else self._mesh.devices.size
        data = tree.num_bytes(self._data)
        share = max_bytes / self.workers
        members = self._num_settings * len(self._seeds)
        limit = members if chunk_size is None else chunk_size
        if chunk_size is None and jax.default_backend() == "cpu":
            cached = max(1, int(CACHE_BYTES * 3 // max(member, 1)))
            limit = min(limit, devices * cached, -(-members // self.workers))
        if self.method == "loop":
            limit = 1
        limit = min(limit, devices * max(1, int((share - data) // max(member, 1))))
        while True:
            shape = _block_shape(limit, len(self._seeds), self._num_settings, devices, self.workers)
            self._programs = {False: self._compile(False, shape)}
            used = _program_bytes(self._programs[False])
            if used is None or used <= share:
                return shape
            size = shape[0] * shape[1]
            if size <= devices:
                raise ValueError(
                    f"one member needs {used / 1e6:,.1f} MB of memory, max_bytes allows "
                    f"{share / 1e6:,.1f} MB for each of {self.workers} programs at a time. Raise "
                    "max_bytes, or train on a smaller batch or less data."
                )
            fitting = size * (share - data) / max(used - data, 1)
            limit = max(1, min(size - 1, int(fitting)))


def _block_shape(
    limit: int, num_seeds: int, num_settings: int, devices: int, workers: int
) -> tuple[int, int]:
    """Seeds and settings of a block of at most ``limit`` members, all blocks about equally full.

    Settings come first: those with a seed in common share its initial weights and its batches.
    """
    if devices > 1 and num_settings < min(num_seeds, devices):  # shards of seeds
        width = min(num_settings, max(1, limit // devices))
        height = max(devices, limit // width // devices * devices)
        return min(height, -(-num_seeds // devices) * devices), width
    padded = -(-num_settings // devices) * devices
    width = min(padded, max(1, limit // devices) * devices)
    blocks = -(-padded // width)
    if blocks > 1 and num_seeds % workers:
        blocks = min(-(-blocks // workers) * workers, padded // devices)
    width = -(-padded // blocks // devices) * devices
    height = 1 if width < padded else max(1, min(num_seeds, limit // width))
    return -(-num_seeds // -(-num_seeds // height)), width


def default_max_bytes() -> float:
    """Half of what a device has free; a quarter of the machine's memory on a CPU."""
    total, used = device_memory()
    return 0.25 * total if used is None else 0.5 * (total - used)


def _program_bytes(compiled: Any) -> int | None:
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def _unwrap(leaves: Sequence[Any]) -> list[Any]:
    """PRNG keys as their numbers, which NumPy can hold."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]


def _wrap(leaves: Sequence[Any], impls: Sequence[Any]) -> list[Any]:
    return [
        leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
        for leaf, impl in zip(leaves, impls, strict=True)
    ]


def _key_impls(forms: Sequence[Any]) -> list[Any]:
    """What kind of PRNG key each leaf is; None for an array."""
    impls: list[Any] = []

    def look(leaves: Sequence[Array]) -> None:
        impls.extend(jax.random.key_impl(leaf) if _is_key(leaf) else None for leaf in leaves)

    jax.eval_shape(look, forms)
    return impls


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
