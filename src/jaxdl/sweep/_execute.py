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
from jaxdl._machine import device_memory
from jaxdl.sweep._plan import CACHE_BYTES, Traced, TrainOne
from jaxdl.types import Array, PyTree


class Result(NamedTuple):
    """One member's part of a block: the leaves of its state and its history, on the host."""

    setting: int
    seed: int
    leaves: list[np.ndarray]
    history: dict[str, np.ndarray]


Job = list[list[tuple[int, int]]]
"""A block: seed and setting of each member, those of a line with their seed in common."""


class Group:
    """Members that share compiled programs, as they differ in traced values only.

    Args:
        function: ``(key, hparams, data, **options) -> (state, history)``.
        traced: from :func:`trace`.
        columns: traced hyperparameters, (H,) by name.
        seeds: S of them.
        data: passed on; the same for all; from :func:`put_data`.
        method: "vmap" or "loop", one member at a time on every device.
        chunk_size: members at a time at most, but one a device at least; None lets memory (and a
            CPU's cache) decide.
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
        self._columns, self._data = columns, data
        self._num_settings = len(next(iter(columns.values()))) if columns else 1
        self._treedef = jax.tree.structure(traced.state)
        self.form = traced.state
        self.history = {name: form.shape[1:] for name, form in traced.history.items()}
        self._forms = jax.tree.leaves(traced.state)
        self._impls = _key_impls(self._forms)
        names = [tree.leaf_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(traced.state)]
        self._is_step = [name == "step" for name in names]
        self.method, self.workers = method, workers
        self._mesh = _mesh()
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
                    job = jobs.pop(0)
                    given = self._arguments(job, states)
                    waiting.add(pool.submit(self._run_block, program, job, given))
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

    def _jobs(self, settings: Sequence[int]) -> Iterator[Job]:
        height, width = self.shape  # seeds, settings
        seeds = range(len(self._seeds))
        if self.method == "loop":  # nothing is shared: any member may stand beside any other
            members = [[(seed, setting)] for seed in seeds for setting in settings]
            for first in range(0, len(members), height):
                yield members[first : first + height]
            return
        for first_seed in range(0, len(seeds), height):
            rows = seeds[first_seed : first_seed + height]
            for first in range(0, len(settings), width):
                columns = settings[first : first + width]
                yield [[(row, column) for column in columns] for row in rows]

    def _arguments(
        self, job: Job, states: Callable[[int, int], list[np.ndarray]] | None
    ) -> tuple[Any, ...]:
        """What the program is called with.

        Made in the caller's thread: others do not inherit its ``jax.default_prng_impl``.
        """
        height, width = self.shape
        # a block is always full, so that a member's arithmetic does not depend on its company
        job = [line + line[-1:] * (width - len(line)) for line in job]
        job += job[-1:] * (height - len(job))
        first_line = [line[0] for line in job] if self.method == "loop" else job[0]
        places = [setting for _, setting in first_line]
        hparams = {name: jnp.asarray(column[places]) for name, column in self._columns.items()}
        leaves: list[Array] = []
        if states is not None:
            grid = [[states(setting, seed) for seed, setting in line] for line in job]
            for index, is_step in enumerate(self._is_step):
                stacked = np.stack([np.stack([one[index] for one in line]) for line in grid])
                leaves.append(jnp.asarray(stacked[0, 0] if is_step else stacked))
        keys = [jax.random.key(self._seeds[line[0][0]]) for line in job]
        return jnp.stack(keys), hparams, self._data, leaves

    def _run_block(self, program: Any, job: Job, given: tuple[Any, ...]) -> list[Result]:
        out, history = jax.device_get(program(*given))
        return [
            # copies: views would keep the whole block alive
            Result(
                setting,
                seed,
                [leaf[i, j].copy() for leaf in out],
                {name: values[i, j].copy() for name, values in history.items()},
            )
            for i, line in enumerate(job)
            for j, (seed, setting) in enumerate(line)
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
        devices = 1 if self._mesh is None else self._mesh.devices.size
        by_setting = not loop and width % devices == 0
        keys = jnp.stack([jax.random.key(0)] * height)
        columns = height if loop else width
        hparams = {name: np.resize(column, columns) for name, column in self._columns.items()}
        leaves = []
        for form, is_step in zip(self._forms, self._is_step, strict=True):
            raw = jax.eval_shape(lambda x: _unwrap([x])[0], form)
            full = raw.shape if is_step else (height, width, *raw.shape)
            leaves.append(jax.ShapeDtypeStruct(full, raw.dtype))
        leaves = leaves if goes_on else []
        # all members are at the same step: one order of the examples serves all settings of a seed
        axes = [None if is_step else 0 for is_step in self._is_step] if goes_on else []

        def alone(keys: Array, hparams: dict, data: PyTree, leaves: list[Array]) -> Any:
            """The one member of a block, without an operation more than it has by itself."""
            own = {name: column[0] for name, column in hparams.items()}
            state = [x if axis is None else x[0, 0] for x, axis in zip(leaves, axes, strict=True)]
            return jax.tree.map(lambda x: x[None, None], one(keys[0], own, data, state))

        block: Callable[..., Any] = alone
        if not loop:
            # said, as there may be no hyperparameter that shows it
            size = width // devices if by_setting else width
            many = jax.vmap(one, in_axes=(None, 0, None, axes), axis_size=size)
            block = jax.vmap(many, in_axes=(0, None, None, axes))
        if self._mesh is not None:
            # every device trains its own share of the settings, of the seeds, or a member, alone
            seeds = P() if by_setting else P("member")
            settings = P("member") if by_setting or loop else P()
            both = P(None, "member") if by_setting else P("member")
            specs = (seeds, settings, P(), [P() if axis is None else both for axis in axes])
            block = jax.shard_map(
                block, mesh=self._mesh, in_specs=specs, out_specs=both, check_vma=False
            )
        return jax.jit(block).lower(keys, hparams, self._data, leaves).compile()

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
        limit = min(limit, devices * max(1, int((share - data) // max(member, 1))))
        while True:
            shape = _block_shape(limit, len(self._seeds), self._num_settings, devices, self.workers)
            if self.method == "loop":
                shape = devices, 1
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


def put_data(data: PyTree) -> PyTree:
    """The data on every device, once for all groups of a sweep."""
    mesh = _mesh()
    return jax.device_put(data, None if mesh is None else NamedSharding(mesh, P()))


def _mesh() -> Mesh | None:
    devices = jax.local_devices()
    if len(devices) == 1:
        return None
    return Mesh(np.asarray(devices), ("member",), axis_types=(AxisType.Auto,))


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
