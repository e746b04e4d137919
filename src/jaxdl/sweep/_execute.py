"""Compiled programs of a sweep: many members at once by ``vmap``, or one at a time."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl import tree
from jaxdl._machine import device_memory
from jaxdl.sweep._plan import CACHE_BYTES, GroupPlan
from jaxdl.sweep.result import Member, extend, first_not_finite, member_name
from jaxdl.sweep.space import Setting
from jaxdl.types import Array, PyTree

Job = list[list[tuple[int, int]]]
"""A block of members, each as positions of its seed and setting; a row shares a seed."""

Leaves = list[np.ndarray]
Arguments = tuple[Array, dict[str, Array], PyTree, list[Array]]
"""Keys, traced hyperparameters, data, and leaves of the states of a block."""


class Limits(NamedTuple):
    """Bounds on the size of a program.

    Attributes:
        max_bytes: memory per device of all programs that run concurrently.
        chunk_size: members per program, at least one per device; None chooses by memory (and
            by cache size on CPU).
    """

    max_bytes: float
    chunk_size: int | None = None


class Layout(NamedTuple):
    """Size of the programs of a group.

    Attributes:
        num_seeds, num_settings: rows and columns of a block of members.
        program_bytes: memory of a program on a device; None if XLA does not report it.
    """

    num_seeds: int
    num_settings: int
    program_bytes: int | None

    @property
    def num_members(self) -> int:
        return self.num_seeds * self.num_settings


class Group:
    """The members of a :class:`GroupPlan` and their lazily compiled programs.

    Args:
        plan: see :func:`jaxdl.sweep._plan.plan_groups`.
        space: all settings of the sweep.
        data: the same for all members, from :func:`put_data`.
        limits: bounds on the size of a program.
        layout: the layout of a resumed sweep; None searches for one.

    Attributes:
        blanks: the members by number, without history and state.

    Raises:
        ValueError: one member alone needs more than ``limits.max_bytes``.
    """

    def __init__(
        self,
        plan: GroupPlan,
        space: Sequence[Setting],
        data: PyTree,
        limits: Limits,
        layout: Layout | None = None,
    ):
        self.plan, self._data = plan, data
        leaves_with_path, self._treedef = jax.tree_util.tree_flatten_with_path(plan.traced.state)
        self._forms = [form for _, form in leaves_with_path]
        self._impls = _key_impls(self._forms)
        self._is_step = [tree.leaf_name(path) == "step" for path, _ in leaves_with_path]
        self._mesh = _mesh()
        self._num_devices = 1 if self._mesh is None else self._mesh.devices.size
        self._programs: dict[bool, jax.stages.Compiled] = {}
        self.blanks = self._make_blanks(space)
        self.layout = self._find_layout(limits) if layout is None else layout

    def run(
        self,
        numbers: Collection[int],
        before: Mapping[int, Member] | None = None,
    ) -> Iterator[Member]:
        """Trains members from scratch or from their states.

        Args:
            numbers: indices of the members to train.
            before: members with the states to continue from; None trains from scratch.

        Yields:
            members in order of completion.
        """
        program = self._program(before is not None)
        jobs = self._jobs(set(numbers), whole_blocks=before is None)
        with ThreadPoolExecutor(self.plan.num_workers) as pool:
            running: set[Future[list[Member]]] = set()
            while jobs or running:
                # one more than the number of threads, so that none waits for the caller
                while jobs and len(running) <= self.plan.num_workers:
                    job = jobs.pop(0)
                    arguments = self._arguments(job, before)
                    running.add(pool.submit(self._run_block, program, job, arguments))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for member in (member for future in done for member in future.result()):
                    if member.number in numbers:
                        yield extend(before[member.number], member) if before else member

    def state(self, leaves: Leaves) -> PyTree:
        """Restores a member's state on the default device."""
        arrays = [jnp.asarray(leaf) for leaf in leaves]
        return jax.tree.unflatten(self._treedef, _wrap(arrays, self._impls))

    def leaf_dtypes(self) -> list[np.dtype]:
        """Dtypes of a member's leaves on the host."""
        return [_raw_form(form).dtype for form in self._forms]

    def _number(self, seed: int, setting: int) -> int:
        return self.plan.settings[setting] * len(self.plan.seeds) + seed

    @property
    def _seeds(self) -> range:
        return range(len(self.plan.seeds))

    def _jobs(self, numbers: set[int], whole_blocks: bool) -> list[Job]:
        """Splits the members into blocks, adding others if ``whole_blocks`` are required."""
        height, width = self.layout.num_seeds, self.layout.num_settings
        every: Sequence[int] = range(len(self.plan.settings))
        if self.plan.method == "loop":  # nothing is shared: any members may run concurrently
            members = [(i, j) for i in self._seeds for j in every if self._number(i, j) in numbers]
            return [
                [[member] for member in members[first : first + height]]
                for first in range(0, len(members), height)
            ]
        if not whole_blocks:
            every = [j for j in every if any(self._number(i, j) in numbers for i in self._seeds)]
        blocks = [
            [[(i, j) for j in every[left : left + width]] for i in self._seeds[top : top + height]]
            for top in range(0, len(self._seeds), height)
            for left in range(0, len(every), width)
        ]
        return [
            job
            for job in blocks
            if any(self._number(i, j) in numbers for row in job for i, j in row)
        ]

    def _arguments(self, job: Job, before: Mapping[int, Member] | None) -> Arguments:
        """Builds the arguments of the program.

        Must run in the caller's thread; others do not inherit ``jax.default_prng_impl``.
        """
        height, width = self.layout.num_seeds, self.layout.num_settings
        # a block is always full, so that a member's bits do not depend on the other members
        job = [row + row[-1:] * (width - len(row)) for row in job]
        job += job[-1:] * (height - len(job))
        first = [row[0] for row in job] if self.plan.method == "loop" else job[0]
        places = [setting for _, setting in first]
        hparams = {name: jnp.asarray(x[places]) for name, x in self.plan.columns.items()}
        leaves: list[Array] = []
        if before is not None:
            states = [[before[self._number(i, j)].leaves or [] for i, j in row] for row in job]
            for index, is_step in enumerate(self._is_step):
                stacked = np.stack([np.stack([one[index] for one in row]) for row in states])
                leaves.append(jnp.asarray(stacked[0, 0] if is_step else stacked))
        keys = [jax.random.key(self.plan.seeds[row[0][0]]) for row in job]
        return jnp.stack(keys), hparams, self._data, leaves

    def _run_block(
        self, program: jax.stages.Compiled, job: Job, arguments: Arguments
    ) -> list[Member]:
        leaves, history = jax.device_get(program(*arguments))
        return [
            # copies: views would keep the whole block alive
            self._member(
                self._number(seed, setting),
                [leaf[i, j].copy() for leaf in leaves],
                {name: values[i, j].copy() for name, values in history.items()},
            )
            for i, row in enumerate(job)
            for j, (seed, setting) in enumerate(row)
        ]

    def _member(self, number: int, leaves: Leaves, history: dict[str, np.ndarray]) -> Member:
        pairs = zip(leaves, self._is_step, strict=True)
        steps = [int(leaf) for leaf, is_step in pairs if is_step and leaf.ndim == 0]
        return self.blanks[number]._replace(
            history=history,
            num_steps=steps[0] if steps else None,
            diverged=first_not_finite(history, leaves),
            leaves=leaves,
        )

    def _make_blanks(self, space: Sequence[Setting]) -> dict[int, Member]:
        seeds = self.plan.seeds
        total = len(space) * len(seeds)
        blanks = {}
        for setting in self.plan.settings:
            for index, seed in enumerate(seeds):
                number = setting * len(seeds) + index
                name = member_name(number, total, space[setting], seed if len(seeds) > 1 else None)
                blanks[number] = Member(number, name, space[setting], seed, {}, None, None, None)
        return blanks

    def _program(self, resumed: bool) -> jax.stages.Compiled:
        if resumed not in self._programs:
            shape = self.layout.num_seeds, self.layout.num_settings
            self._programs[resumed] = self._compile(resumed, shape)
        return self._programs[resumed]

    def _compile(self, resumed: bool, shape: tuple[int, int]) -> jax.stages.Compiled:
        loop, width = self.plan.method == "loop", shape[1]
        shards_settings = not loop and width % self._num_devices == 0
        one = self._train_member(resumed)
        # all members are at the same step: one order of the examples serves all settings of a seed
        axes = [None if is_step else 0 for is_step in self._is_step] if resumed else []
        if loop:
            block = _without_batch(one, axes)
        else:
            # given, because there may be no hyperparameter that has it
            size = width // self._num_devices if shards_settings else width
            row = jax.vmap(one, in_axes=(None, 0, None, axes), axis_size=size)
            block = jax.vmap(row, in_axes=(0, None, None, axes))
        if self._mesh is not None:
            # every device trains its share of the settings or of the seeds, or one member
            seeds = P() if shards_settings else P("member")
            settings = P("member") if shards_settings or loop else P()
            both = P(None, "member") if shards_settings else P("member")
            specs = (seeds, settings, P(), [P() if axis is None else both for axis in axes])
            block = jax.shard_map(
                block, mesh=self._mesh, in_specs=specs, out_specs=both, check_vma=False
            )
        return jax.jit(block).lower(*self._argument_forms(resumed, shape)).compile()

    def _train_member(self, resumed: bool) -> Callable[..., PyTree]:
        """``(key, hparams, data, leaves) -> (leaves, history)``."""
        options, train = self.plan.options, self.plan.train

        def one(key: Array, hparams: Setting, data: PyTree, leaves: list[Array]) -> PyTree:
            state = (
                jax.tree.unflatten(self._treedef, _wrap(leaves, self._impls)) if resumed else None
            )
            more = {"state": state} if resumed else {}
            state, history = train(key, hparams, data, **options, **more)
            return _unwrap(jax.tree.leaves(state)), dict(history)

        return one

    def _argument_forms(self, resumed: bool, shape: tuple[int, int]) -> tuple[PyTree, ...]:
        height, width = shape
        keys = jnp.stack([jax.random.key(0)] * height)
        num_columns = height if self.plan.method == "loop" else width
        hparams = {name: np.resize(x, num_columns) for name, x in self.plan.columns.items()}
        leaves = []
        for form, is_step in zip(self._forms if resumed else [], self._is_step, strict=False):
            raw = _raw_form(form)
            full = raw.shape if is_step else (height, width, *raw.shape)
            leaves.append(jax.ShapeDtypeStruct(full, raw.dtype))
        return keys, hparams, self._data, leaves

    def _find_layout(self, limits: Limits) -> Layout:
        """Finds the largest number of members per program that fits, by compiling."""
        data_bytes, num_devices = tree.num_bytes(self._data), self._num_devices
        workers = self.plan.num_workers
        share = limits.max_bytes / workers
        limit = self._first_limit(limits.chunk_size, share - data_bytes)
        while True:
            shape = _block_shape(
                limit, len(self.plan.seeds), len(self.plan.settings), num_devices, workers
            )
            if self.plan.method == "loop":
                shape = num_devices, 1
            self._programs = {False: self._compile(False, shape)}
            used = _program_bytes(self._programs[False])
            if used is None or used <= share:
                return Layout(*shape, used)
            size = shape[0] * shape[1]
            if size <= num_devices:
                raise ValueError(
                    f"one member needs {used / 1e6:,.1f} MB of memory, but max_bytes allows "
                    f"{share / 1e6:,.1f} MB for each of {workers} programs at a time. Raise "
                    "max_bytes, or train on a smaller batch or less data."
                )
            fitting = size * (share - data_bytes) / max(used - data_bytes, 1)
            limit = max(1, min(size - 1, int(fitting)))

    def _first_limit(self, chunk_size: int | None, free_bytes: float) -> int:
        """Estimates the number of members per program before compilation."""
        member_bytes = max(3 * tree.num_bytes(self._forms), 1)
        limit = self.plan.num_members if chunk_size is None else chunk_size
        if chunk_size is None and jax.default_backend() == "cpu":
            cached = max(1, int(CACHE_BYTES * 3 // member_bytes))
            workers = self.plan.num_workers
            limit = min(limit, self._num_devices * cached, -(-self.plan.num_members // workers))
        return min(limit, self._num_devices * max(1, int(free_bytes // member_bytes)))


def _without_batch(one: Callable[..., PyTree], axes: list[int | None]) -> Callable[..., PyTree]:
    """Applies a function to a block of one member without ``vmap``, for bitwise equality."""

    def block(keys: Array, hparams: Setting, data: PyTree, leaves: list[Array]) -> PyTree:
        own = {name: column[0] for name, column in hparams.items()}
        state = [x if axis is None else x[0, 0] for x, axis in zip(leaves, axes, strict=True)]
        return jax.tree.map(lambda x: x[None, None], one(keys[0], own, data, state))

    return block


def _block_shape(
    limit: int, num_seeds: int, num_settings: int, num_devices: int, num_workers: int
) -> tuple[int, int]:
    """Chooses the seeds and settings per block of at most ``limit`` members, evenly filled.

    Settings are batched first, since those with the same seed share weights and batches.
    """
    if num_devices > 1 and num_settings < min(num_seeds, num_devices):  # shards of seeds
        width = min(num_settings, max(1, limit // num_devices))
        height = max(num_devices, limit // width // num_devices * num_devices)
        return min(height, -(-num_seeds // num_devices) * num_devices), width
    padded = -(-num_settings // num_devices) * num_devices
    width = min(padded, max(1, limit // num_devices) * num_devices)
    blocks = -(-padded // width)
    if blocks > 1 and num_seeds % num_workers:
        blocks = min(-(-blocks // num_workers) * num_workers, padded // num_devices)
    width = -(-padded // blocks // num_devices) * num_devices
    height = 1 if width < padded else max(1, min(num_seeds, limit // width))
    return -(-num_seeds // -(-num_seeds // height)), width


def put_data(data: PyTree) -> PyTree:
    """Replicates the data on all devices, once for all groups of a sweep."""
    mesh = _mesh()
    return jax.device_put(data, None if mesh is None else NamedSharding(mesh, P()))


def _mesh() -> Mesh | None:
    devices = jax.local_devices()
    if len(devices) == 1:
        return None
    return Mesh(np.asarray(devices), ("member",), axis_types=(AxisType.Auto,))


def default_max_bytes() -> float:
    """Returns half of a device's free memory, or a quarter of the host's memory on CPU."""
    total, used = device_memory()
    return 0.25 * total if used is None else 0.5 * (total - used)


def _program_bytes(compiled: jax.stages.Compiled) -> int | None:
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def _unwrap(leaves: Sequence[Array]) -> list[Array]:
    """Replaces PRNG keys by their data, which NumPy can hold."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]


def _wrap(leaves: Sequence[Array], impls: Sequence[object]) -> list[Array]:
    return [
        leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
        for leaf, impl in zip(leaves, impls, strict=True)
    ]


def _raw_form(form: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda x: _unwrap([x])[0], form)


def _key_impls(forms: Sequence[jax.ShapeDtypeStruct]) -> list[object]:
    """Returns the PRNG implementation of each key leaf, None for arrays."""
    impls: list[object] = []

    def look(leaves: Sequence[Array]) -> None:
        impls.extend(jax.random.key_impl(leaf) if _is_key(leaf) else None for leaf in leaves)

    jax.eval_shape(look, forms)
    return impls


def _is_key(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
