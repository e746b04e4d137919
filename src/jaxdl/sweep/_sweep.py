"""Sweeps: seeds × any scalar hyperparameters in one compiled program."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np

from jaxdl import _checks
from jaxdl._machine import output_kind
from jaxdl._text import plural
from jaxdl.sweep._execute import Group, Limits, default_max_bytes, put_data
from jaxdl.sweep._members_dir import (
    Config,
    Contents,
    Order,
    SweepDir,
    default_config,
    open_sweep_dir,
    plan_json,
)
from jaxdl.sweep._plan import GroupPlan, TrainOne, accepts_state, check_history, plan_groups
from jaxdl.sweep.result import JSON, Criterion, Member, SweepResult, stack
from jaxdl.sweep.space import Setting, check_settings
from jaxdl.train import Interrupted
from jaxdl.types import PyTree

SAVE_SECONDS = 30.0
"""With successive halving the members that continue are saved when the last save is older."""

HEARTBEAT_SECONDS = 60.0
"""Without a terminal a line says how far the sweep is when the last line is older."""


def sweep(
    train_one: TrainOne,
    space: Sequence[Mapping[str, object]],
    data: PyTree = None,
    *,
    seeds: Sequence[int] = (0,),
    outer: Sequence[str] | Literal["auto"] = "auto",
    halving: Sequence[int] | None = None,
    halving_factor: int = 2,
    monitor: str = "test/loss",
    mode: Literal["min", "max"] = "min",
    keep: Literal["best", "all"] = "best",
    method: Literal["auto", "vmap", "loop"] = "auto",
    chunk_size: int | None = None,
    max_bytes: float | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    config: Config | None = None,
    order: Order | None = None,
    progress: bool = True,
) -> SweepResult:
    """Trains every setting with every seed, many at a time.

    Members with a common seed share the order of the examples, so a batch is gathered and
    normalized once for all of them and the first layers become one large product. Every member
    equals its solo run up to rounding, and one that diverges does not affect the others.

    Args:
        train_one: ``(key, hparams, data) -> (state, history)``, pure; it calls
            :func:`jaxdl.train.fit`. ``hparams`` are traced scalars by name. For ``halving`` it
            also takes ``state`` (None at first) and ``num_epochs`` by name.
        space: settings; see :func:`grid` and :func:`random_search`.
        data: any pytree of arrays; the third argument, the same for all.
        seeds: S seeds; ``key`` is ``jax.random.key(seed)``.
        outer: names of hyperparameters that determine shapes or branches (width, batch size): each
            combination of their values is compiled separately, and ``train_one`` gets the values
            themselves. "auto" finds them; () refuses them.
        halving: epochs at which rungs end, ascending, the last for members trained to the end:
            after each rung the better settings (by the mean over seeds) continue from their
            states. One program trains one epoch of a block that is always full, so a member that
            is never stopped has the same bits as with ``halving=(E,)``, where none is stopped.
        halving_factor: one of this many settings continues.
        monitor: metric in the history that ranks the members.
        mode: "min" if less is better, "max" if more is better.
        keep: states to return, of the best member or of all.
        method: "vmap" trains members in one program, "loop" one after another with one
            compilation, one on every device; "auto" chooses by model and device, and prints the
            reason. On a CPU several programs run at a time, each in a thread.
        chunk_size: most members per program, but at least one per device; by default what memory,
            or a CPU's cache, holds.
        max_bytes: most memory on a device that the running programs may use, data included; by
            default half of the free memory, on a CPU a quarter of the memory.
        workdir: folder that gets ``members/*`` (hyperparameters and curves for TensorBoard), each
            when the member has ended; then ``heat_map.png``, ``best/``, the run folder of the best
            member, and ``sweep.json``. None writes nothing.
        resume: continue the sweep in ``workdir``, if there is one: members that ended are not
            trained again, and on the same devices all results have the same bits.
        config: ``(hparams, seed) -> dataclass`` for a member's ``config.json``.
        order: ``(key, hparams) -> (batch_size, num_examples, key)``, the values with which
            ``train_one`` calls :func:`jaxdl.train.fit`. :func:`jaxdl.train.run` needs them to
            resume ``best/``; without them it refuses.
        progress: print what is done, and show a bar.

    Returns:
        A :class:`SweepResult`; print it, or its ``table()``.

    Raises:
        ValueError: settings that do not fit, a hyperparameter that determines a shape and is not
            in ``outer``, an unknown metric, one member that needs more than ``max_bytes``, or a
            folder that holds another sweep.
        OSError: another process uses the folder, or it cannot be written.
        Interrupted: Ctrl-C; with a ``workdir`` the sweep can be resumed.

    Source: successive halving: Jamieson & Talwalkar 2016.

    >>> import jax.numpy as jnp
    >>> from jaxdl.sweep.space import grid
    >>> def descend(key, hparams, data):
    ...     # three steps on (w - data)²/2 from 0
    ...     w = data - data * (1 - hparams["learning_rate"]) ** 3
    ...     return {"w": w}, {"test/loss": jnp.square(w - data)[None] / 2}
    >>> result = sweep(descend, grid(learning_rate=[0.1, 0.9, 3.0]), jnp.array(2.0), progress=False)
    >>> print(result.table())
    learning_rate  epochs  test/loss
              0.9       1      2e-06
              0.1       1      1.063
                3       1        128
    """
    began = time.perf_counter()
    settings, criterion = check_settings(space), Criterion(monitor, mode)
    _check_choices(method=method, keep=keep, mode=mode)
    _check_numbers(seeds, chunk_size)
    _check_halving(train_one, halving, halving_factor)
    say = print if progress else _say_nothing
    contents = Contents(criterion, config or default_config, order)
    with open_sweep_dir(workdir, contents, resume=resume) as folder:
        plans = plan_groups(
            train_one, settings, seeds, data,
            outer=outer, method=method, options={} if halving is None else {"num_epochs": 1},
        )  # fmt: skip
        for plan in plans:
            check_history(plan.traced.history, monitor)
        shared = plan_json(
            settings, seeds, data, monitor=monitor, mode=mode, keep=keep,
            halving=None if halving is None else list(halving), halving_factor=halving_factor,
        )  # fmt: skip
        if folder is not None:
            _check_folder(folder, plans, shared, settings, seeds)
        limits = Limits(default_max_bytes() if max_bytes is None else max_bytes, chunk_size)
        groups = _make_groups(plans, settings, put_data(data), limits, folder, say)
        if folder is not None and not folder.begun:
            folder.begin(shared, groups)
        job = Job(groups, criterion, folder, keep, len(seeds), progress, say)
        members = _train(job, halving, halving_factor)
        result = _make_result(
            job, members, halving=halving is not None, seconds=time.perf_counter() - began
        )
        _report(result, say)
        if folder is not None and not folder.complete:
            folder.finish(result, members)
            say(f"sweep folder: {workdir}")
    return result


class Job(NamedTuple):
    """A sweep in progress.

    Attributes:
        groups: members that share programs.
        criterion: the metric that ranks members.
        folder: the folder of the sweep, or None.
        keep: "best" or "all".
        num_seeds: S.
        progress: show a progress bar.
        say: prints a line.
    """

    groups: list[Group]
    criterion: Criterion
    folder: SweepDir | None
    keep: str
    num_seeds: int
    progress: bool
    say: Callable[[str], None]

    def end(self, member: Member, *, keep_state: bool) -> None:
        """Writes a member that has ended."""
        if self.folder is not None:
            self.folder.add(member, num_seeds=self.num_seeds, keep_state=keep_state)


def _make_groups(
    plans: Sequence[GroupPlan],
    settings: Sequence[Setting],
    data: PyTree,
    limits: Limits,
    folder: SweepDir | None,
    say: Callable[[str], None],
) -> list[Group]:
    """Compiles the programs of all groups, unless the folder has their layouts already."""
    methods = [plan.method for plan in plans]
    layouts = [None] * len(plans) if folder is None else folder.layouts(methods)
    groups = []
    for plan, layout in zip(plans, layouts, strict=True):
        group = Group(plan, settings, data, limits, layout)
        label = "".join(f"{name}={value}: " for name, value in plan.fixed.items())
        height, width, _ = group.layout
        shape = f" ({width} settings × {height} seeds)" if plan.method == "vmap" else ""
        programs = f", {plan.num_workers} programs at a time" if plan.num_workers > 1 else ""
        say(
            f"{label}{plural(plan.num_members, 'member')} by {plan.method} ({plan.reason}); "
            f"{height * width} per program{shape}{programs}"
        )
        groups.append(group)
    return groups


def _train(job: Job, halving: Sequence[int] | None, factor: int) -> list[Member]:
    """All members in the order of their numbers, those of the folder among them."""
    members = {} if job.folder is None else job.folder.restore(job.groups)
    total = sum(group.plan.num_members for group in job.groups)
    if members:
        job.say(f"{len(members)} of {total} members ended before")
    try:
        if halving is None:
            with _Progress(total, len(members), "members", job) as progress:
                _train_whole(job, members, progress)
        elif len(members) < total:
            _train_in_rungs(job, members, halving, factor)
    except KeyboardInterrupt as interrupt:
        kept = f"; resume it from {job.folder.path}" if job.folder is not None else ""
        raise Interrupted(f"stopped with {len(members)} of {total} members{kept}") from interrupt
    return [members[number] for number in range(total)]


def _train_whole(job: Job, members: dict[int, Member], progress: "_Progress") -> None:
    """Trains the members that are missing; keeps the states of all, or of the best."""
    best = _drop_states(job, members)
    for group in job.groups:
        missing = [number for number in group.blanks if number not in members]
        for member in group.run(missing) if missing else ():
            winner = job.criterion.best(one for one in (best, member) if one is not None)
            job.end(member, keep_state=job.keep == "all" or winner is member)
            members[member.number] = member
            if job.keep == "best":
                loser = best if winner is member else member
                if loser is not None:
                    _drop_state(job, members, loser)
                best = winner
            progress.advance(1)


def _drop_states(job: Job, members: dict[int, Member]) -> Member | None:
    """The best member that was restored; members without a state that is needed are dropped."""
    best = job.criterion.best(members.values())
    for member in list(members.values()):
        if job.keep == "all" or member is best:
            if member.leaves is None:  # it is trained again
                del members[member.number]
        elif member.leaves is not None:
            _drop_state(job, members, member)
    return best if best is not None and best.leaves is not None else None


def _drop_state(job: Job, members: dict[int, Member], member: Member) -> None:
    members[member.number] = member._replace(leaves=None)
    if job.folder is not None:
        job.folder.drop_state(member)


def _train_in_rungs(
    job: Job, members: dict[int, Member], halving: Sequence[int], factor: int
) -> None:
    """Successive halving: after each rung the better settings continue."""
    done, current = 0, dict[int, Member]()
    if job.folder is not None:
        done, current = job.folder.read_unfinished(job.groups)
    every = {number // job.num_seeds for group in job.groups for number in group.blanks}
    alive = {number // job.num_seeds for number in current} or every
    saved_at = time.monotonic()
    with _Progress(halving[-1], done, "epochs", job) as progress:
        for stop in halving:
            while done < stop:
                current = _train_epoch(job, alive, current)
                done += 1
                progress.advance(1)
                overdue = time.monotonic() - saved_at > SAVE_SECONDS
                if job.folder is not None and (done == stop or overdue):
                    job.folder.save_unfinished(done, current)
                    saved_at = time.monotonic()
            if done > stop:  # the settings that stopped here are in the folder
                continue
            is_last = stop == halving[-1]
            remaining = set() if is_last else _better_settings(job, alive, current, factor)
            if not is_last:
                job.say(f"epoch {stop}: {len(remaining)} of {len(every)} settings continue")
            ended = [
                one for one in current.values() if one.number // job.num_seeds not in remaining
            ]
            best = job.criterion.best(ended) if is_last else None
            for member in ended:
                keep_state = job.keep == "all" or member is best
                job.end(member, keep_state=keep_state)
                members[member.number] = member if keep_state else member._replace(leaves=None)
            alive = remaining


def _train_epoch(job: Job, alive: set[int], before: dict[int, Member]) -> dict[int, Member]:
    """One more epoch of the settings that are left."""
    after = {}
    for group in job.groups:
        numbers = [number for number in group.blanks if number // job.num_seeds in alive]
        for member in group.run(numbers, before or None) if numbers else ():
            after[member.number] = member
    return dict(sorted(after.items()))


def _better_settings(
    job: Job, alive: set[int], members: Mapping[int, Member], factor: int
) -> set[int]:
    """The settings whose mean over the seeds is best."""
    seeds = range(job.num_seeds)
    means = {
        setting: np.mean([job.criterion.loss(members[setting * job.num_seeds + i]) for i in seeds])
        for setting in alive
    }
    ranked = sorted(alive, key=lambda setting: (means[setting], setting))
    return set(ranked[: -(-len(alive) // factor)])


def _make_result(job: Job, members: list[Member], *, halving: bool, seconds: float) -> SweepResult:
    lengths = np.array([member.num_epochs for member in members])
    best = job.criterion.best(
        member for member in members if not halving or member.num_epochs == lengths.max()
    )
    group_of = {number: group for group in job.groups for number in group.blanks}

    def state(member: Member) -> PyTree:
        return group_of[member.number].state(member.leaves or [])

    return SweepResult(
        hparams=[member.hparams for member in members],
        seeds=np.array([member.seed for member in members]),
        history=stack([member.history for member in members]),
        num_epochs=lengths,
        num_steps=np.array([member.num_steps or member.num_epochs for member in members]),
        diverged={m.number: m.diverged for m in members if m.diverged is not None},
        best=None if best is None else best.number,
        state=None if best is None else state(best),
        states=[state(member) for member in members] if job.keep == "all" else None,
        monitor=job.criterion.monitor,
        mode=job.criterion.mode,
        method=", ".join(dict.fromkeys(group.plan.method for group in job.groups)),
        chunk_size=max(group.layout.num_members for group in job.groups),
        num_programs=max(group.plan.num_workers for group in job.groups),
        program_bytes=max(group.layout.program_bytes or 0 for group in job.groups) or None,
        seconds=seconds,
    )


class _Progress:
    """A bar on a terminal and in a notebook; elsewhere a line a minute.

    Args:
        total, done: number of things to do, and of those done.
        unit: name of the things.
        job: the sweep.
    """

    def __init__(self, total: int, done: int, unit: str, job: Job):
        self._done, self._total, self._unit, self._say = done, total, unit, job.say
        self._began = self._said = time.monotonic()
        shown = job.progress and output_kind() != "file"
        if shown:
            from tqdm.auto import tqdm
        else:  # tqdm.auto warns in a notebook without ipywidgets, also where no bar is shown
            from tqdm import tqdm
        self._bar = tqdm(total=total, initial=done, unit=f" {unit}", disable=not shown, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, number: int) -> None:
        self._done += number
        self._bar.update(number)
        now = time.monotonic()
        if self._bar.disable and now - self._said > HEARTBEAT_SECONDS:
            self._said = now
            self._say(f"{self._done} of {self._total} {self._unit}, {now - self._began:.0f} s")


def _check_folder(
    folder: SweepDir,
    plans: Sequence[GroupPlan],
    shared: dict[str, JSON],
    settings: Sequence[Setting],
    seeds: Sequence[int],
) -> None:
    """Refuses what cannot be written or resumed before anything is trained."""
    state = plans[0].traced.state
    if not hasattr(state, "step"):
        raise ValueError(
            "a run folder needs a state with a field step, the number of updates, such as a "
            f"TrainState; train_one returns a {type(state).__name__}. Leave workdir out."
        )
    folder.check_plan(shared)
    history = plans[0].traced.history
    curves = [name for name, form in history.items() if form.ndim == 1]
    folder.check_members(((setting, int(seeds[0])) for setting in settings), curves)


def _check_choices(**values: str) -> None:
    allowed = {"method": ("auto", "vmap", "loop"), "keep": ("best", "all"), "mode": ("min", "max")}
    for name, value in values.items():
        if value not in allowed[name]:
            raise ValueError(f"{name} must be one of {allowed[name]}, got {value!r}.")


def _check_numbers(seeds: Sequence[int], chunk_size: int | None) -> None:
    if len(seeds) == 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be at least one, all different, got {list(seeds)}.")
    if chunk_size is not None:
        _checks.check_positive(chunk_size=chunk_size)


def _check_halving(train_one: TrainOne, halving: Sequence[int] | None, factor: int) -> None:
    if halving is None:
        return
    if not halving or any(b <= a for a, b in itertools.pairwise([0, *halving])):
        raise ValueError(f"halving must be ascending numbers of epochs, got {list(halving)}.")
    if factor < 2:
        raise ValueError(f"halving_factor must be at least 2, got {factor}.")
    if not accepts_state(train_one):
        raise ValueError(
            "halving trains in parts: train_one must also take state (None at first) and "
            "num_epochs, train_one(key, hparams, data, state, num_epochs)."
        )


def _report(result: SweepResult, say: Callable[[str], None]) -> None:
    for number, epoch in result.diverged.items():
        say(
            f"member {number} diverged at epoch {epoch}: {result.hparams[number]}, "
            f"seed {result.seeds[number]}"
        )
    if result.best is None:
        say("all members diverged; lower the learning rates.")
    say(repr(result))


def _say_nothing(_: str) -> None:
    pass
