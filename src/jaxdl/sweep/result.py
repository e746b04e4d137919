"""Results of a sweep, one entry per member."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.sweep._execute import Group, Result
from jaxdl.types import PyTree


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What came of a sweep of M members; member ``i`` is setting ``i // S`` with seed ``i % S``.

    Attributes:
        hparams: settings by member, M dictionaries.
        seeds: (M,) int.
        history: (M, E, ...) by name, NaN after a member's last epoch.
        num_epochs: (M,) int, epochs that a member was trained for.
        num_steps: (M,) int, updates, by ``state.step``; epochs where a state has none.
        diverged: member → first epoch, from 1, whose metrics or weights are not finite.
        best: the member with the best last value of the monitored metric, among those trained to
            the end; None where all diverged.
        state: final state of the best member.
        states: final states of all members where they were kept, else None.
        method: "vmap" or "loop"; both, where outer hyperparameters make models that differ.
        chunk_size: members of one program.
        num_programs: how many of them ran at a time.
        program_bytes: memory of the largest, on a device, data included; None where XLA does not
            say.
        seconds: wall time, compilation included.
    """

    hparams: list[dict[str, Any]]
    seeds: np.ndarray
    history: dict[str, np.ndarray]
    num_epochs: np.ndarray
    num_steps: np.ndarray
    diverged: dict[int, int]
    best: int | None
    state: PyTree
    states: list[PyTree] | None
    method: str
    chunk_size: int
    num_programs: int
    program_bytes: int | None
    seconds: float


class Ended(NamedTuple):
    """A member that is trained to its end.

    Attributes:
        number: of the member.
        name: of its folder.
        hparams: its setting.
        seed: its seed.
        history: (E, ...) by name.
        num_steps: updates.
        diverged: first epoch, from 1, that is not finite, or None.
    """

    number: int
    name: str
    hparams: dict[str, Any]
    seed: int
    history: dict[str, np.ndarray]
    num_steps: int
    diverged: int | None


def ended(result: Any, member: int) -> Ended:
    """A member of a :class:`jaxdl.sweep.SweepResult`."""
    hparams, seed = result.hparams[member], int(result.seeds[member])
    several = len(set(result.seeds)) > 1
    return Ended(
        member,
        member_name(member, len(result.hparams), hparams, seed if several else None),
        hparams,
        seed,
        {
            name: values[member, : result.num_epochs[member]]
            for name, values in result.history.items()
        },
        int(result.num_steps[member]),
        result.diverged.get(member),
    )


def member_name(number: int, total: int, hparams: Mapping[str, Any], seed: int | None) -> str:
    """The folder of a member: its number, its hyperparameters, its seed where there are several.

    >>> member_name(7, 64, {"learning_rate": 0.001}, 3)
    '07_learning_rate=0.001_seed=3'
    """
    parts = [f"{name}={_short(value)}" for name, value in as_json(hparams).items()]
    parts += [] if seed is None else [f"seed={seed}"]
    name = "_".join([f"{number:0{len(str(total - 1))}d}", *parts])
    return re.sub(r"[^\w=.+-]+", "-", name)[:120]


def as_json(value: Any) -> Any:
    """A hyperparameter, or a setting, as JSON holds it: a function is its name.

    >>> as_json({"width": np.int64(3), "hidden": (8, 8), "activation": math.tanh})
    {'width': 3, 'hidden': [8, 8], 'activation': 'tanh'}
    """
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(getattr(value, "__name__", value))


class Store:
    """Histories and states of the members, on the host, as they come in."""

    def __init__(self, num_settings: int, seeds: list[int], all: bool, monitor: str, mode: str):
        self.num_settings, self.seeds, self.all = num_settings, seeds, all
        self.monitor, self.sign = monitor, -1.0 if mode == "max" else 1.0
        self.histories: list[list[dict[str, np.ndarray]]] = [[] for _ in range(self.size)]
        self.leaves: dict[int, list[np.ndarray]] = {}
        self.groups: dict[int, Group] = {}
        self.best: tuple[float, int] | None = None
        self.bad: dict[int, int] = {}
        self.steps: dict[int, int | None] = {}

    @property
    def size(self) -> int:
        return self.num_settings * len(self.seeds)

    def add(self, setting: int, one: Result, group: Group) -> int:
        """Takes in one member's part of a block; gives the member's number."""
        member = setting * len(self.seeds) + one.seed
        self.histories[member].append(one.history)
        self.groups[member] = group
        self.steps[member] = group.step(one.leaves)
        self.note_bad(member, one)
        value = self.value(member)
        better = math.isfinite(value) and (self.best is None or (value, member) < self.best)
        if self.all:
            self.leaves[member] = one.leaves
        elif better:
            self.leaves = {member: one.leaves}
        if better:
            self.best = (value, member)
        return member

    def ended(self, member: int, hparams: dict[str, Any]) -> Ended:
        """A member that goes on no more, with its setting."""
        history = _join(self.histories[member])
        seed = int(self.seeds[member % len(self.seeds)])
        several = len(self.seeds) > 1
        name = member_name(member, self.size, hparams, seed if several else None)
        steps = self.steps[member] or _length(history)
        return Ended(member, name, hparams, seed, history, steps, self.bad.get(member))

    def value(self, member: int) -> float:
        """The last value of the monitored metric, less being better; infinity once not finite."""
        value = self.sign * float(self.histories[member][-1][self.monitor][-1])
        return math.inf if member in self.bad or not math.isfinite(value) else value

    def note_bad(self, member: int, one: Result) -> None:
        """Notes the first epoch with a metric that is not finite; the last, for weights."""
        before = sum(map(_length, self.histories[member][:-1]))
        length = _length(one.history)
        finite = np.ones(length, bool)
        for values in one.history.values():
            if jnp.issubdtype(values.dtype, jnp.inexact):  # NumPy's kind of bfloat16 is "V"
                finite &= np.isfinite(values.reshape(length, -1)).all(axis=1)
        weights = [leaf for leaf in one.leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        finite[-1] &= all(np.isfinite(leaf).all() for leaf in weights)
        if not finite.all():
            self.bad.setdefault(member, before + int(finite.argmin()) + 1)

    def better_settings(self, alive: list[int], number: int) -> list[int]:
        """The settings whose mean over seeds is best, in their order."""
        count = len(self.seeds)
        means = {s: np.mean([self.value(s * count + i) for i in range(count)]) for s in alive}
        return sorted(sorted(alive, key=lambda setting: (means[setting], setting))[:number])

    def result(
        self, settings: list[dict[str, Any]], groups: list, keep: str, seconds: float
    ) -> SweepResult:
        histories = [_join(parts) for parts in self.histories]
        lengths = np.array([_length(history) for history in histories])
        candidates = [
            (self.value(member), member)
            for member in range(self.size)
            if lengths[member] == lengths.max() and math.isfinite(self.value(member))
        ]
        if not self.all:  # all were trained to their end
            candidates = [] if self.best is None else [self.best]
        best = min(candidates)[1] if candidates else None

        def state(member: int) -> PyTree:
            return self.groups[member].state(self.leaves[member])

        return SweepResult(
            hparams=[settings[member // len(self.seeds)] for member in range(self.size)],
            seeds=np.array([self.seeds[member % len(self.seeds)] for member in range(self.size)]),
            history=_stack(histories, int(lengths.max())),
            num_epochs=lengths,
            num_steps=np.array([self.steps[m] or epochs for m, epochs in enumerate(lengths)]),
            diverged=dict(sorted(self.bad.items())),
            best=best,
            state=None if best is None else state(best),
            states=[state(member) for member in range(self.size)] if keep == "all" else None,
            method=", ".join(dict.fromkeys(group.method for group, _ in groups)),
            chunk_size=max(math.prod(group.shape) for group, _ in groups),
            num_programs=max(group.workers for group, _ in groups),
            program_bytes=max((group.program_bytes() or 0 for group, _ in groups)) or None,
            seconds=seconds,
        )


def _length(history: dict[str, np.ndarray]) -> int:
    return len(next(iter(history.values())))


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stack(histories: list[dict[str, np.ndarray]], length: int) -> dict[str, np.ndarray]:
    """(M, E, ...) by name; where members differ in length, NaN fills the shorter ones."""
    stacked = {}
    for name in histories[0]:
        if all(len(history[name]) == length for history in histories):
            stacked[name] = np.stack([history[name] for history in histories])
            continue
        shape = (len(histories), length, *histories[0][name].shape[1:])
        stacked[name] = np.full(shape, np.nan, np.float32)
        for member, history in enumerate(histories):
            stacked[name][member, : len(history[name])] = history[name]
    return stacked


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
