"""Speed of loading weights, and the pause of training while it saves.

    python experiments/benchmarks/weights_speed.py

Two Markdown tables. The first: a safetensors file of 500 MB, a Vision Transformer in PyTorch's
layout with the sizes of ViT-L, and one of 240 MB, ResNet-152: opened, read to the last number, and
put into a model (PyTorch: ``copy_`` into parameters that are allocated; jaxdl: Linen variables on
the device, kernels transposed), beside safetensors.torch. The second: a state of 1 GB (weights and
Adam's two moments), saved by jaxdl.checkpoint, by Orbax alone and by torch.save. Training stands
still for as long as ``save`` takes and the next step takes longer than the others; its share of the
time until everything is on disk is to stay below 5 %.

Both sides take turns and the least of the rounds counts; files are in the page cache. When loading,
each side has a process and gives what it has freed back to the system before each round: so it pays
for fresh memory, as a program does that loads a model once. PyTorch's
rows need ``pip install torch==2.13.0`` and are left out without it. Needs 6 GB of memory and 3 GB
of disk; two minutes on two CPU cores. Measure on an idle machine.
"""

import contextlib
import ctypes
import dataclasses
import functools
import importlib.util
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checkpoint, config, interop, models, tree
from jaxdl.types import TrainState

HAS_TORCH = importlib.util.find_spec("torch") is not None


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    rounds: int = 5
    """Rounds; the least counts."""
    gigabytes: float = 1.0
    """Size of the state that is saved."""
    folder: Path | None = None
    """Where the files go for the time of the measurement; the system's temporary folder."""


def seconds(function: Callable[[], Any]) -> float:
    """Wall seconds of a call whose result is then dropped.

    Memory that earlier calls have left goes back to the system, so that each pays for its own, as
    in a fresh process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    began = time.perf_counter()
    result = jax.block_until_ready(function())
    elapsed = time.perf_counter() - began
    del result
    return elapsed


# Loading ------------------------------------------------------------------------------------------

MODELS: dict[str, tuple[nn.Module, int]] = {
    "ViT, 10 layers of ViT-L": (
        models.VisionTransformer(hidden_size=1024, num_layers=10, num_heads=16, mlp_size=4096),
        224,
    ),
    "ResNet-152": (models.ResNet152(), 64),
}


def write_model(path: Path, model: nn.Module, size: int) -> Any:
    """A state_dict of random numbers; returns the form of the model's variables."""
    example = jnp.zeros((1, size, size, 3))
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), example)
    generator = np.random.default_rng(0)

    def draw(leaf: Any) -> np.ndarray:
        return generator.random(leaf.shape, np.float32)

    interop.write_safetensors(path, interop.params_to_torch(jax.tree.map(draw, target)))
    return target


WHAT = ("opened", "read, NumPy", "read, on the device", "in the model")


def ours(path: Path, target: Any) -> dict[str, Callable[[], Any]]:
    """The timed operations of jaxdl by name."""
    return {
        "opened": lambda: interop.read_weights(path),
        "read, NumPy": lambda: [np.array(array) for array in interop.read_weights(path).values()],
        "read, on the device": lambda: interop.transfer.transfer(interop.read_weights(path)),
        "in the model": lambda: interop.params_from_torch(interop.read_weights(path), target),
    }


def theirs(path: Path) -> dict[str, Callable[[], Any]]:
    """The same in PyTorch."""
    import torch
    from safetensors.torch import load_file

    def clone() -> list[Any]:
        return [tensor.clone() for tensor in load_file(path).values()]

    def fill() -> dict[str, Any]:
        tensors = load_file(path)
        parameters = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
        return parameters

    return {
        "opened": lambda: load_file(path),
        "read, NumPy": clone,
        "read, on the device": clone,
        "in the model": fill,
    }


def time_loading(whose: str, path: Path, target: Any, what: str) -> float:
    return seconds((theirs(path) if whose == "torch" else ours(path, target))[what])


def measure_loading(cfg: Config, folder: Path) -> list[str]:
    lines = [
        "| file | what | safetensors.torch, ms | jaxdl, ms | ÷ |",
        "|---|---|---|---|---|",
    ]
    other = ("torch",) if HAS_TORCH else ()
    for title, (model, size) in MODELS.items():
        path = folder / "model.safetensors"
        target = write_model(path, model, size)
        times: dict[tuple[str, str], list[float]] = {}
        # a process for each: NumPy asks for huge pages, which PyTorch would find in its heap
        with contextlib.ExitStack() as stack:
            new = functools.partial(
                ProcessPoolExecutor, 1, mp_context=multiprocessing.get_context("spawn")
            )
            sides = {whose: stack.enter_context(new()) for whose in ("jaxdl", *other)}
            for _ in range(cfg.rounds + 1):  # the first one warms up
                for what in WHAT:
                    for whose, process in sides.items():
                        done = process.submit(time_loading, whose, path, target, what)
                        times.setdefault((what, whose), []).append(done.result())
        least = {key: 1e3 * min(values[1:]) for key, values in times.items()}
        for what in WHAT:
            mine, its = least[what, "jaxdl"], least.get((what, "torch"))
            cell = "– | " if its is None else f"{its:.1f} | "
            ratio = "–" if its is None else f"{mine / its:.2f}"
            lines.append(
                f"| {title}, {path.stat().st_size / 1e6:.0f} MB | {what} | {cell}{mine:.1f} "
                f"| {ratio} |"
            )
        path.unlink()
    return lines


# Saving -------------------------------------------------------------------------------------------


def make_state(gigabytes: float) -> TrainState:
    """Weights and two moments, in arrays of 16 MB."""
    count = max(1, round(gigabytes * 1e9 / 3 / (1024 * 4096 * 4)))
    key = jax.random.key(0)
    params = {
        f"layer_{i}": jax.random.normal(jax.random.fold_in(key, i), (1024, 4096))
        for i in range(count)
    }
    moments = {
        "mu": jax.tree.map(jnp.zeros_like, params),
        "nu": jax.tree.map(jnp.ones_like, params),
    }
    return TrainState(jnp.int32(0), params, {}, moments, key)


@functools.partial(jax.jit, donate_argnums=0)
def step(state: TrainState) -> TrainState:
    """A step that touches every number of the state, in place."""
    mu = jax.tree.map(lambda m, p: 0.9 * m + 0.1 * p, state.opt_state["mu"], state.params)
    nu = jax.tree.map(lambda v, p: 0.99 * v + 0.01 * p * p, state.opt_state["nu"], state.params)
    params = jax.tree.map(lambda p, m, v: p - 1e-3 * m / (jnp.sqrt(v) + 1e-8), state.params, mu, nu)
    return TrainState(state.step + 1, params, {}, {"mu": mu, "nu": nu}, state.key)


class Saved:
    """One save concurrent with training.

    Attributes:
        call, next_step, steps, total: seconds of the call, of the step after it, the median of the
            steps until it is on disk, and until it is.
    """

    def __init__(
        self, state: TrainState, save: Callable[[TrainState], None], is_done: Callable[[], bool]
    ):
        began = time.perf_counter()
        save(state)
        self.call = time.perf_counter() - began
        steps: list[float] = []
        while True:
            started = time.perf_counter()
            state = jax.block_until_ready(step(state))
            steps.append(time.perf_counter() - started)
            if is_done():
                break
            time.sleep(0.05)  # the writer has a core to itself for a while, as beside a GPU
        self.next_step, self.total = steps[0], time.perf_counter() - began
        self.steps = float(np.median(steps))
        self.state = state


@contextlib.contextmanager
def savers(name: str, folder: Path) -> Iterator[tuple[Callable, Callable, Callable]]:
    """``save(state)``, ``is_done()`` and ``restore(target)`` of a library."""
    folder = folder / name.replace(" ", "_")
    if name == "jaxdl.checkpoint":
        with checkpoint.CheckpointManager(folder, keep=1) as manager:
            yield (
                lambda state: manager.save(state),
                lambda: not manager.is_saving(),
                lambda target: manager.restore(target)[0],
            )
    elif name == "Orbax alone":
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=1)
        with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
            yield (
                lambda state: manager.save(int(state.step), args=ocp.args.StandardSave(state)),
                lambda: not manager.is_saving_in_progress(),
                lambda target: manager.restore(
                    manager.latest_step(), args=ocp.args.StandardRestore(target)
                ),
            )
    else:
        import torch

        def save(state: TrainState) -> None:
            arrays = {name: np.asarray(leaf) for name, leaf in leaves(state).items()}
            torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, folder)

        def restore(target: TrainState) -> Any:
            return [tensor.clone() for tensor in torch.load(folder).values()]

        yield save, lambda: True, restore


def leaves(state: TrainState) -> dict[str, Any]:
    return tree.named_leaves((state.params, state.opt_state))


def measure_saving(cfg: Config, folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    state = make_state(cfg.gigabytes)
    size = tree.num_bytes(state)
    for _ in range(3):
        state = jax.block_until_ready(step(state))
    lines = [
        f"| state of {size / 1e9:.2f} GB | save returns, ms | next step later, ms | on disk, s | "
        "training stands still | restored, s |",
        "|---|---|---|---|---|---|",
    ]
    names = ["jaxdl.checkpoint", "Orbax alone", *(["torch.save"] if HAS_TORCH else [])]
    for name in names:
        rounds, plain, restored = [], [], []
        with savers(name, folder) as (save, is_done, restore):
            for number in range(min(cfg.rounds, 3)):
                for _ in range(3):
                    began = time.perf_counter()
                    state = jax.block_until_ready(step(state))
                    plain.append(time.perf_counter() - began)
                saved = Saved(state, save, is_done)
                state = saved.state
                del saved.state
                rounds.append(saved)
                if number == 0:
                    target = jax.eval_shape(lambda state: state, state)
                    restored.append(
                        seconds(functools.partial(restore, with_sharding(target, state)))
                    )
        for label, some in (("first", rounds[:1]), ("later", rounds[1:])):
            if not some:
                continue
            best = min(some, key=lambda saved: saved.call + saved.next_step)
            later = max(0.0, best.next_step - min(plain))
            still = best.call + later
            lines.append(
                f"| {name}, {label} | {1e3 * best.call:.0f} | {1e3 * later:.0f} | {best.total:.2f} "
                f"| {still / best.total:.1%} | {min(restored):.2f} |"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return lines


def with_sharding(target: Any, state: Any) -> Any:
    """Adds the shardings that Orbax needs to restore."""
    return jax.tree.map(
        lambda form, leaf: jax.ShapeDtypeStruct(form.shape, form.dtype, sharding=leaf.sharding),
        target,
        state,
    )


def main(cfg: Config) -> list[str]:
    """Measures and prints the tables; returns their lines."""
    with tempfile.TemporaryDirectory(dir=cfg.folder) as folder:
        lines = [*measure_loading(cfg, Path(folder)), "", *measure_saving(cfg, Path(folder) / "s")]
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
