"""Speed of a training step: LSTM, VAE and ResNet-18 compared with the same models in PyTorch.

    python experiments/benchmarks/model_speed.py --out model_speed.json
    python experiments/benchmarks/model_speed.py --models vae --rounds 3

Forward, backward and update of one batch in memory, the same batch every time: the LSTM on image
rows (batch 64, 28 steps of 28, hidden 64), the dense VAE (batch 128) and ResNet-18 with the CIFAR
stem (batch 32), each with Adam. PyTorch in its quickest form here: a fused optimizer, and
channels_last for the convolutions; with ``--compile`` torch.compile as well. jaxdl's is
``jax.jit(train.make_step(...))``, called step by step. All in one process, in turn, so that drift
hits all alike; the table gives the median of the rounds. PyTorch's rows need
`pip install torch==2.13.0` and are left out without it. On a GPU ``--precision bfloat16`` uses
autocast there and optim.mixed_precision here; ``--peak_tflops`` is the card's matrix rate, for the
share of it that each reaches. Some minutes on two CPU cores; measure on an idle machine.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, losses, metrics, models, optim, train

Name = Literal["lstm", "vae", "resnet18"]
Step = Callable[[], None]
BATCHES = {"lstm": (64, 28, 28, 1), "vae": (128, 28, 28, 1), "resnet18": (32, 32, 32, 3)}


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    models: tuple[Name, ...] = ("lstm", "vae", "resnet18")
    """Which to measure."""
    rounds: int = 7
    """Rounds; the table shows the median."""
    seconds: float = 1.0
    """How long one variant runs in a round, at least one step."""
    compile: bool = False
    """Also torch.compile."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of forward and backward."""
    peak_tflops: float | None = None
    """The device's matrix rate, in 10^12 operations a second."""
    out: Path | None = None
    """JSON file for the results."""


def draw(name: Name) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.random(BATCHES[name], np.float32)
    return images, (np.arange(len(images)) % 10).astype(np.int32)


def make_jaxdl(name: Name, cfg: Config) -> tuple[Step, float]:
    """The step, and the floating-point operations that XLA counts in it."""
    images, labels = draw(name)
    tx = optim.recipe(optim.adam, 1e-3, precision=cfg.precision)
    if name == "vae":
        model: Any = models.VAE()

        def elbo(outputs: Any, images: Any) -> Any:
            return losses.negative_elbo(outputs.logits, images, *outputs[1:])

        loss_fn = train.supervised(model, elbo, targets="image")
    else:
        model = (
            models.RecurrentClassifier()
            if name == "lstm"
            else models.ResNet18(num_classes=10, stem="cifar")
        )
        accuracy = {"accuracy": metrics.accuracy}
        loss_fn = train.supervised(model, losses.cross_entropy, metrics=accuracy)
    state = train.init_state(model, tx, jax.random.key(0), jnp.asarray(images))
    batch = jax.device_put({"image": images, "label": labels})
    step = jax.jit(train.make_step(loss_fn, tx), donate_argnums=0).lower(state, batch).compile()
    holder = [state]

    def one() -> None:
        holder[0], _ = step(holder[0], batch)

    def wait() -> None:
        jax.block_until_ready(holder[0])

    one.wait = wait  # type: ignore[attr-defined]
    return one, float((step.cost_analysis() or {}).get("flops", float("nan")))


def make_torch(name: Name, cfg: Config, compiled: bool) -> Step:
    import torch
    from torch import nn
    from torch.nn import functional

    class RowLSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(28, 64, batch_first=True)
            self.head = nn.Sequential(
                nn.BatchNorm1d(64),
                nn.Dropout(0.25),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Linear(32, 10),
            )

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x[:, 0])[0][:, -1])

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
            self.mean, self.log_variance = nn.Linear(400, 20), nn.Linear(400, 20)
            self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

        def forward(self, x: Any) -> Any:
            hidden = self.encoder(x)
            mean, log_variance = self.mean(hidden), self.log_variance(hidden)
            code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
            return self.decoder(code), mean, log_variance

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.two = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
            self.shortcut = nn.Sequential()
            if stride > 1 or before != after:
                conv = nn.Conv2d(before, after, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            y = functional.relu(self.norms[0](self.one(x)), inplace=True)
            return functional.relu(self.norms[1](self.two(y)) + self.shortcut(x), inplace=True)

    def resnet18() -> Any:
        stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        blocks: list[Any] = []
        for stage, width in enumerate((64, 128, 256, 512)):
            before = max(64, width // 2) if stage else 64
            blocks += [Block(before, width, 1 if stage == 0 else 2), Block(width, width, 1)]
        tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
        return nn.Sequential(*stem, *blocks, *tail)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = {"lstm": RowLSTM, "vae": VAE, "resnet18": resnet18}[name]().to(device).train()
    images, labels = draw(name)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    y = torch.from_numpy(labels).long().to(device)
    if name == "resnet18":
        layout = torch.channels_last
        model, x = model.to(memory_format=layout), x.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    forward = torch.compile(model) if compiled else model

    def one() -> None:
        optimizer.zero_grad(set_to_none=True)
        half = cfg.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            outputs = forward(x)
        if name == "vae":
            logits, mean, log_variance = (part.float() for part in outputs)
            loss = functional.binary_cross_entropy_with_logits(
                logits, x.flatten(1), reduction="sum"
            )
            loss = loss - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
            loss = loss / len(x)
        else:
            loss = functional.cross_entropy(outputs.float(), y)
        loss.backward()
        optimizer.step()

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    one.wait = wait  # type: ignore[attr-defined]
    return one


def measure(step: Step, seconds: float) -> float:
    """Seconds a step."""
    wait: Any = step.wait  # type: ignore[attr-defined]
    wait()
    began, number = time.perf_counter(), 0
    while number == 0 or time.perf_counter() - began < seconds:
        step()
        number += 1
        if jax.default_backend() == "cpu":
            wait()  # else the steps would only be queued
    wait()
    return (time.perf_counter() - began) / number


def main(cfg: Config) -> list[dict[str, Any]]:
    """Measures and prints; returns the rows of the table."""
    try:
        import torch  # noqa: F401

        torch_variants = ["torch", "torch.compile"] if cfg.compile else ["torch"]
    except ImportError:
        print("PyTorch is not installed: its rows are left out")
        torch_variants = []
    rows = []
    print(f"{'model':10} {'variant':14} {'ms/step':>9} {'/ torch':>8} {'GFLOP/s':>9}")
    for name in cfg.models:
        jaxdl_step, flops = make_jaxdl(name, cfg)
        steps = {v: make_torch(name, cfg, v != "torch") for v in torch_variants}
        steps["jaxdl"] = jaxdl_step
        for step in steps.values():
            step()
            step()
        times: dict[str, list[float]] = {variant: [] for variant in steps}
        for _ in range(cfg.rounds):
            for variant, step in steps.items():
                times[variant].append(measure(step, cfg.seconds))
        medians = {variant: statistics.median(seconds) for variant, seconds in times.items()}
        for variant, seconds in medians.items():
            ratio = seconds / medians["torch"] if "torch" in medians else float("nan")
            row: dict[str, Any] = {
                "model": name,
                "variant": variant,
                "seconds": times[variant],
                "milliseconds": 1e3 * seconds,
                "ratio": ratio,
                "flops_per_second": flops / seconds,
            }
            share = ""
            if cfg.peak_tflops is not None:
                row["share_of_peak"] = flops / seconds / cfg.peak_tflops / 1e12
                share = f"  {row['share_of_peak']:.1%} of the peak"
            rows.append(row)
            print(
                f"{name:10} {variant:14} {row['milliseconds']:9.2f} {ratio:8.2f} "
                f"{flops / seconds / 1e9:9.1f}{share}"
            )
    if cfg.out is not None:
        versions = {"jax": jax.__version__, "device": jax.devices()[0].device_kind}
        cfg.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
