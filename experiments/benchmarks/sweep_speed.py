"""Speed of a sweep compared with sequential runs, as a Markdown table.

    python experiments/benchmarks/sweep_speed.py
    python experiments/benchmarks/sweep_speed.py --workloads mlp_adam --chunk_sizes 4 16 32

64 members of a small MLP (784-64-10, batch 128; Adam, SGD) and some of a small CNN, each trained by

    solo     jit(train_one), compiled once, called for one member after the other
    loop     sweep(method="loop"): the same program, several at a time on a CPU
    vmap     sweep(method="vmap"): members in one program, several programs at a time on a CPU
    auto     which of the two sweep chooses

Every row computes the same; the table says by how much the last test losses differ. All sides run
in turn, `--rounds` times, and the least of each counts: on a busy machine ratios mean little.
Compilation stands apart: it is what the first call takes longer. The images are random bytes, which
cost what real ones cost. Some two minutes on two CPU cores.

Source: 784-64-10 is the MLP of PyTorch's quick start with one hidden layer of 64.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, losses, metrics, models, optim, sweep, train, transforms
from jaxdl.sweep import _execute, _plan

Workload = Literal["mlp_adam", "mlp_sgd", "mlp_seeds", "cnn"]


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    workloads: tuple[Workload, ...] = ("mlp_adam", "mlp_sgd", "mlp_seeds", "cnn")
    """64 learning rates by Adam and by SGD; 4 rates × 16 seeds by Adam; 8 rates of a CNN."""
    num_examples: int = 4096
    """Training images; a quarter as many for the CNN."""
    num_epochs: int = 2
    """Passes over them."""
    chunk_sizes: tuple[int, ...] = ()
    """More rows by vmap, with at most so many members in a program."""
    rounds: int = 3
    """Of which the least counts."""


def make_workload(cfg: Config, name: Workload) -> tuple[Any, Any, Any, Any, range]:
    """Training function, model, settings, data and seeds."""
    size, number = (cfg.num_examples // 4, 8) if name == "cnn" else (cfg.num_examples, 64)
    seeds = range(16) if name == "mlp_seeds" else range(1)
    rng = np.random.default_rng(0)
    arrays = {
        "image": jnp.asarray(rng.integers(0, 256, (size, 28, 28, 1)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, 10, size), jnp.int32),
    }
    # tanh: two orders of the same sums then stay near each other
    model = models.ConvNet(10) if name == "cnn" else models.MLP((64, 10), jnp.tanh)
    optimizer = optim.sgd if name == "mlp_sgd" else optim.adam
    preprocess = transforms.normalize(0.5, 0.25)
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
    )

    def train_one(key: Any, hparams: Any, arrays: Any) -> Any:
        init_key, order_key = jax.random.split(key)
        tx = optimizer(hparams["learning_rate"])
        state = train.init_state(model, tx, init_key, preprocess(arrays["image"][:1]))
        return train.fit(
            train.make_step(loss_fn, tx),
            state,
            arrays,
            num_epochs=cfg.num_epochs,
            batch_size=128,
            key=order_key,
            eval_fn=train.make_eval(loss_fn),
            eval_data={key: array[:500] for key, array in arrays.items()},
        )

    rates = np.geomspace(1e-5, 1e-3, number // len(seeds)).tolist()
    return train_one, model, sweep.grid(learning_rate=rates), arrays, seeds


def measure(cfg: Config, name: Workload) -> list[str]:
    """The rows of one workload."""
    train_one, _, space, arrays, seeds = make_workload(cfg, name)
    pairs = [(setting, seed) for setting in space for seed in seeds]
    began = time.perf_counter()
    first = _plan.as_arrays(space[0])
    compiled = jax.jit(train_one).lower(jax.random.key(0), first, arrays).compile()
    compile_solo = time.perf_counter() - began

    def solo() -> np.ndarray:
        last = []
        for setting, seed in pairs:
            key = jax.random.key(seed)
            _, history = compiled(key, _plan.as_arrays(setting), arrays)
            last.append(float(history["test/loss"][-1]))
        return np.array(last)

    sides: dict[str, Callable[[], np.ndarray]] = {"solo": solo}
    compile_seconds, notes = {"solo": compile_solo}, {"solo": "1"}
    chunks = {"loop": None, "vmap": None} | {f"vmap {size}": size for size in cfg.chunk_sizes}
    for method, chunk_size in chunks.items():
        began = time.perf_counter()
        [plan] = _plan.plan_groups(train_one, space, seeds, arrays, method=method.split()[0])
        limits = _execute.Limits(_execute.default_max_bytes(), chunk_size)
        group = _execute.Group(plan, space, arrays, limits)
        compile_seconds[method] = time.perf_counter() - began
        notes[method] = f"{group.layout.num_members} × {plan.num_workers}"

        def side(group: Any = group) -> np.ndarray:
            last = np.zeros(len(group.blanks))
            for member in group.run(list(group.blanks)):
                last[member.number] = member.history["test/loss"][-1]
            return last

        sides[method] = side
    best = dict.fromkeys(sides, float("inf"))
    ends = {}
    for _ in range(cfg.rounds):
        for method, run in sides.items():
            began = time.perf_counter()
            ends[method] = run()
            best[method] = min(best[method], time.perf_counter() - began)
    traced = _plan.trace(train_one, 0, first, arrays)
    auto, why = _plan.choose_method(traced, len(pairs))
    rows = []
    for method in sides:
        difference = np.abs(ends[method] - ends["solo"]).max()
        rows.append(
            f"| {name}, {len(pairs)} members | {method}{' (auto)' if method == auto else ''} "
            f"| {notes[method]} | {best[method]:.2f} | {best['solo'] / best[method]:.2f} "
            f"| {compile_seconds[method]:.1f} | {difference:.1e} |"
        )
    print(f"{name}: auto chooses {auto}: {why}", flush=True)
    return rows


def main(cfg: Config) -> list[str]:
    """Measures and prints the table; returns its rows."""
    device = jax.devices()[0]
    print(
        f"{device.device_kind}, {_plan.num_workers(64)} programs at a time, jax {jax.__version__}"
    )
    rows = [row for name in cfg.workloads for row in measure(cfg, name)]
    print(
        "\n| workload | method | members × programs at a time | seconds | times as fast as solo "
        "| seconds to compile | largest difference of the last test loss |\n"
        "|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))
    return rows


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
