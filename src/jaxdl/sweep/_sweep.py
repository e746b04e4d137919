"""Many trainings at once: seeds × any scalar hyperparameters in one compiled program."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl import _checks
from jaxdl.sweep import _members_dir, _plan
from jaxdl.sweep._execute import Group, default_max_bytes, put_data
from jaxdl.sweep._plan import TrainOne
from jaxdl.sweep.result import Store, SweepResult
from jaxdl.sweep.space import Setting, check_settings
from jaxdl.types import PyTree


def sweep(
    train_one: TrainOne,
    space: Sequence[Setting],
    data: PyTree = None,
    *,
    seeds: Sequence[int] = (0,),
    method: Literal["auto", "vmap", "loop"] = "auto",
    outer: Sequence[str] | Literal["auto"] = (),
    halving: Sequence[int] | None = None,
    halving_factor: int = 2,
    chunk_size: int | None = None,
    max_bytes: float | None = None,
    keep: Literal["best", "all"] = "best",
    monitor: str = "test/loss",
    mode: Literal["min", "max"] = "min",
    workdir: Path | str | None = None,
    config: Callable[[dict[str, Any], int], Any] | None = None,
    order: _members_dir.Order | None = None,
    heat_map: Sequence[str] | None = None,
    progress: bool = True,
) -> SweepResult:
    """Trains every setting with every seed, many at a time.

    Members with a seed in common share the order of the examples, so a batch is gathered and
    normalised once for all of them and the first layers become one large product. Every member
    equals its solo run up to rounding, and one that diverges leaves the others alone.

    Args:
        train_one: ``(key, hparams, data) -> (state, history)``, pure; it calls
            :func:`jaxdl.train.fit`. ``hparams`` are traced scalars by name. For ``halving`` it
            also takes ``state`` (None at first) and ``num_epochs`` by name.
        space: settings; see :func:`grid` and :func:`random_search`.
        data: any pytree of arrays; the third argument, the same for all.
        seeds: S of them; ``key`` is ``jax.random.key(seed)``.
        method: "vmap" trains members in one program, "loop" one after another with one
            compilation, one on every device; "auto" chooses by model and device, and says which and
            why. On a CPU several programs run at a time, each in a thread.
        outer: names of hyperparameters that decide shapes or branches (width, batch size): each of
            their combinations is compiled by itself and ``train_one`` gets the value itself.
            "auto" finds them.
        halving: epochs at which rungs end, ascending, the last for those that stay to the end:
            after each rung the better settings (by the mean over seeds) go on from their states.
            One program trains one epoch of a block that is always full, so a member that is never
            stopped is to the bit what it is with ``halving=(E,)``, where nobody is.
        halving_factor: one of so many settings goes on.
        chunk_size: members of a program at most, but one a device at least; by default what memory,
            or a CPU's cache, holds.
        max_bytes: most memory on a device that the programs under way may use, data included; half
            of what is free by default, a quarter of the memory on a CPU.
        keep: states to return; all of them are as many times as large as one.
        monitor: metric in the history that decides which member is best.
        mode: whether less or more of it is better.
        workdir: gets ``members/*`` (hyperparameters and curves for TensorBoard), each when the
            member has ended; then ``sweep.json``, ``heat_map.png`` and ``best/``, the run folder of
            the best member. None writes nothing.
        config: ``(hparams, seed) -> dataclass`` for the ``config.json`` of the best member.
        order: ``(key, hparams) -> (batch_size, num_examples, key)``, the values with which
            ``train_one`` calls :func:`jaxdl.train.fit`. :func:`jaxdl.train.run` needs them to
            resume ``best/``; without them it refuses.
        heat_map: the two hyperparameters of the map; by default the first two that vary.
        progress: say what is done, and show a bar.

    Returns:
        a :class:`SweepResult`.

    Raises:
        ValueError: settings that do not fit, a hyperparameter that decides a shape (named), a
            metric that is not there, or a bound on memory that one member alone breaks.

    Source: halving: Jamieson & Talwalkar 2016.

    >>> import jax.numpy as jnp
    >>> from jaxdl.sweep.space import grid
    >>> def descend(key, hparams, data):
    ...     w = data - data * (1 - hparams["rate"]) ** 3  # three steps on (w - data)²/2 from 0
    ...     return {"w": w}, {"test/loss": jnp.square(w - data)[None] / 2}
    >>> result = sweep(descend, grid(rate=[0.1, 0.9, 3.0]), jnp.array(2.0), progress=False)
    >>> result.best, result.history["test/loss"].shape
    (1, (3, 1))
    """
    began = time.perf_counter()
    settings = check_settings(space)
    _check_options(train_one, seeds, method, halving, halving_factor, chunk_size, keep, mode)
    for name in heat_map or ():
        if name not in settings[0]:
            raise ValueError(
                f"heat_map names {name!r}, which is no hyperparameter: {list(settings[0])}."
            )
    if workdir is not None:
        _members_dir.prepare(Path(workdir))
    rungs = list(halving) if halving is not None else [None]
    options = {} if halving is None else {"num_epochs": 1}
    if max_bytes is None:
        max_bytes = default_max_bytes()
    function = functools.partial(train_one, **options)
    columns, outer_names = _plan.split(function, settings, seeds[0], data, outer)
    say = print if progress else _say_nothing
    groups: list[tuple[Group, list[int]]] = []
    placed = put_data(data)
    for places in _by_values(settings, outer_names):
        fixed = {name: settings[places[0]][name] for name in outer_names}
        groups.append(
            (
                _make_group(
                    train_one, {name: column[places] for name, column in columns.items()}, fixed,
                    len(places) * len(seeds), seeds, placed, method, chunk_size, max_bytes, options,
                    monitor, say,
                ),
                places,
            )
        )  # fmt: skip
    form, history = groups[0][0].form, groups[0][0].history
    for group, _ in groups:
        if group.history != history:
            raise ValueError(
                "all settings must give the same metrics, by name the shape an epoch: setting 0 "
                f"has {history}, another {group.history}."
            )
    if workdir is not None and not hasattr(form, "step"):
        raise ValueError(
            "a run folder needs a state with a field step, the number of updates, such as a "
            f"TrainState; train_one returns a {type(form).__name__}. Leave workdir out."
        )
    made = config or _members_dir.made_config
    if workdir is not None:
        _members_dir.rehearse(settings[0], seeds[0], history, made)
    store = Store(len(settings), list(seeds), keep == "all" or halving is not None, monitor, mode)
    alive = list(range(len(settings)))

    def write_ended(member: int) -> None:
        if workdir is not None:
            one = store.ended(member, settings[member // len(seeds)])
            _members_dir.write_member(Path(workdir), one, made, num_seeds=len(seeds))

    bar = _bar(len(alive) * len(seeds) * len(rungs), progress and len(rungs) == 1)
    with bar:
        done = 0
        for rung, stop in enumerate(rungs):
            for repeat in range(1 if stop is None else stop - done):
                for group, places in groups:
                    chosen = [index for index, place in enumerate(places) if place in alive]
                    if not chosen:
                        continue
                    states = None
                    if rung or repeat:
                        states = functools.partial(_leaves_of, store, places)
                    for one in group.run(chosen, states):
                        member = store.add(places[one.setting], one, group)
                        if stop is None:
                            write_ended(member)
                        bar.update(1)
            done = stop or 0
            if stop is not None:
                ending = set(alive)
                if rung + 1 < len(rungs):
                    alive = store.better_settings(alive, -(-len(alive) // halving_factor))
                    say(f"epoch {stop}: {len(alive)} of {len(settings)} settings go on")
                    ending -= set(alive)
                for setting in sorted(ending):
                    for index in range(len(seeds)):
                        write_ended(setting * len(seeds) + index)
    result = store.result(settings, groups, keep, time.perf_counter() - began)
    _report(result, monitor, say)
    if workdir is not None:
        _members_dir.write(
            Path(workdir), result,
            monitor=monitor, mode=mode, config=made, order=order, axes=heat_map,
        )  # fmt: skip
        say(f"sweep folder: {workdir}")
    return result


def _leaves_of(store: Store, places: list[int], setting: int, seed: int) -> list[np.ndarray]:
    return store.leaves[places[setting] * len(store.seeds) + seed]


def _by_values(settings: list[dict[str, Any]], names: list[str]) -> list[list[int]]:
    """Positions of the settings, those with the same values of these names together."""
    found: dict[str, list[int]] = {}
    for place, setting in enumerate(settings):
        found.setdefault(repr([setting[name] for name in names]), []).append(place)
    return list(found.values())


def _make_group(
    train_one: TrainOne,
    columns: dict[str, np.ndarray],
    fixed: dict[str, Any],
    number: int,
    seeds: Sequence[int],
    data: PyTree,
    method: str,
    chunk_size: int | None,
    max_bytes: float,
    options: dict[str, Any],
    monitor: str,
    say: Callable[[str], None],
) -> Group:
    def function(key: Any, hparams: dict, data: PyTree, **options: Any) -> Any:
        return train_one(key, {**fixed, **hparams}, data, **options)

    first = {name: column[0] for name, column in columns.items()}
    traced = _plan.trace(functools.partial(function, **options), seeds[0], first, data)
    _plan.check_history(traced.history, monitor)
    chosen, why = (method, "as asked")
    if method == "auto":
        chosen, why = _plan.choose_method(traced, number)
    group = Group(
        function,
        traced,
        columns,
        seeds,
        data,
        method=chosen,
        chunk_size=chunk_size,
        max_bytes=max_bytes,
        workers=_plan.num_workers(number),
        options=options,
    )
    label = "".join(f"{name}={value}: " for name, value in fixed.items())
    height, width = group.shape
    shape = f" ({width} settings × {height} seeds)" if chosen == "vmap" else ""
    programs = f", {group.workers} programs at a time" if group.workers > 1 else ""
    say(
        f"{label}{number} members by {chosen} ({why}); {height * width} in a program"
        f"{shape}{programs}"
    )
    return group


def _check_options(
    train_one: TrainOne,
    seeds: Sequence[int],
    method: str,
    halving: Sequence[int] | None,
    halving_factor: int,
    chunk_size: int | None,
    keep: str,
    mode: str,
) -> None:
    for name, value, allowed in (
        ("method", method, ("auto", "vmap", "loop")),
        ("keep", keep, ("best", "all")),
        ("mode", mode, ("min", "max")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
    if len(seeds) == 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must hold at least one, and none twice, got {list(seeds)}.")
    if chunk_size is not None:
        _checks.check_positive(chunk_size=chunk_size)
    if halving is None:
        return
    if not halving or any(b <= a for a, b in itertools.pairwise([0, *halving])):
        raise ValueError(f"halving must be ascending numbers of epochs, got {list(halving)}.")
    if halving_factor < 2:
        raise ValueError(f"halving_factor must be at least 2, got {halving_factor}.")
    if not _plan.takes_state(train_one):
        raise ValueError(
            "halving trains in parts: train_one must take state (None at first) and num_epochs as "
            "well, train_one(key, hparams, data, state, num_epochs)."
        )


def _report(result: SweepResult, monitor: str, say: Callable[[str], None]) -> None:
    for member, epoch in result.diverged.items():
        say(
            f"member {member} diverged at epoch {epoch}: {result.hparams[member]}, "
            f"seed {result.seeds[member]}"
        )
    if result.best is None:
        say("every member diverged; lower the learning rates.")
        return
    last = result.history[monitor][result.best, result.num_epochs[result.best] - 1]
    say(
        f"best of {len(result.hparams)} members in {result.seconds:.1f} s: member {result.best}, "
        f"{result.hparams[result.best]}, seed {result.seeds[result.best]}, {monitor} {last:.4g}"
    )


def _bar(total: int, enabled: bool) -> Any:
    import sys

    from tqdm.auto import tqdm

    shown = enabled and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    return tqdm(total=total, unit=" members", disable=not shown, leave=False)


def _say_nothing(_: str) -> None:
    pass
