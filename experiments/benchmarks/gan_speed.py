"""Speed of GANs: the loop of one image per step of Rashid's book, and steps of DCGAN.

    python experiments/benchmarks/gan_speed.py --out gan_speed.json
    python experiments/benchmarks/gan_speed.py --seconds 0.5 --rounds 2

Prints one Markdown table; about three minutes on two CPU cores, of which half is compilation.

    book    the improved MNIST GAN, 784-200-1 and 100-200-784, cross entropy, Adam 1e-4, one image a
            step: PyTorch as the notebook writes it (a module for each player with its own train
            method, a Dataset item, new targets and seeds every step, loss.item() every ten) beside
            jaxdl.train.run's compiled loop without snapshots, in images a second
    dcgan   64x64x3 pixels, features 64, one update of both players on a batch: PyTorch's tutorial,
            eager and by torch.compile, beside jax.jit(train.make_gan_step(...)), in milliseconds

All in one process, in turn, so that drift hits all alike; each figure is the best of the rounds,
because other work on the machine only ever adds time. Both sides draw new noise every step, and
both update on the same generated images (for the book: on new ones, as there). PyTorch's rows need
`pip install torch==2.13.0` and are left out without it; torch.compile needs a C++ compiler on CPU
and is reported as missing where there is none. Measure on an idle machine.
"""

import dataclasses
import importlib.util
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, models, optim, train, transforms
from jaxdl.data.collate import epoch_order, take
from jaxdl.losses import adversarial

Run = Callable[[int], None]
"""Makes so many steps and waits for them."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    rounds: int = 5
    """Rounds; the table shows the best."""
    seconds: float = 2.0
    """How long one variant runs in a round, at least one step."""
    batch_size: int = 64
    """Of DCGAN."""
    features: int = 64
    """Of DCGAN: channels of its largest maps."""
    size: int = 64
    """Of DCGAN: pixels at a side."""
    compile: bool = True
    """Also torch.compile."""
    out: Path | None = None
    """JSON file for the results."""


# The book


def book_jaxdl(images: np.ndarray) -> Run:
    """The loop on the device that train.run uses for arrays: order, batch, step."""
    nets = (models.DenseGenerator(), models.DenseDiscriminator(output_activation=nn.sigmoid))
    txs = (optim.adam(1e-4), optim.adam(1e-4))
    players = train.Players(*nets, *txs, adversarial.on_probabilities())
    step = train.make_gan_step(players, preprocess=transforms.to_float, separate_updates=True)
    arrays = jax.device_put({"image": images})
    key = jax.random.key(1)
    holder = [train.init_gan_state(players, jax.random.key(0))]

    @jax.jit
    def steps(state: Any, arrays: Any, number: Any) -> Any:
        order = epoch_order(key, 0, len(images), 1)

        def one(index: Any, state: Any) -> Any:
            return step(state, take(arrays, order, index % len(images)))[0]

        return jax.lax.fori_loop(0, number, one, state)

    def run(number: int) -> None:
        holder[0] = jax.block_until_ready(steps(holder[0], arrays, number))

    return run


def book_torch(images: np.ndarray) -> Run:
    """The notebook's classes and loop; the pictures and prints are left out."""
    import torch
    from torch.utils.data import Dataset

    class MnistDataset(Dataset):
        def __init__(self) -> None:
            self.values = images.reshape(len(images), -1)

        def __len__(self) -> int:
            return len(self.values)

        def __getitem__(self, index: int) -> Any:
            return torch.FloatTensor(self.values[index]) / 255.0

    class Discriminator(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(
                torch.nn.Linear(784, 200),
                torch.nn.LeakyReLU(0.02),
                torch.nn.LayerNorm(200),
                torch.nn.Linear(200, 1),
                torch.nn.Sigmoid(),
            )
            self.loss_function = torch.nn.BCELoss()
            self.optimizer = torch.optim.Adam(self.parameters(), lr=0.0001)
            self.counter = 0
            self.progress: list[float] = []

        def forward(self, inputs: Any) -> Any:
            return self.model(inputs)

        def learn(self, inputs: Any, targets: Any) -> None:
            loss = self.loss_function(self.forward(inputs), targets)
            self.counter += 1
            if self.counter % 10 == 0:
                self.progress.append(loss.item())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    class Generator(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(
                torch.nn.Linear(100, 200),
                torch.nn.LeakyReLU(0.02),
                torch.nn.LayerNorm(200),
                torch.nn.Linear(200, 784),
                torch.nn.Sigmoid(),
            )
            self.optimizer = torch.optim.Adam(self.parameters(), lr=0.0001)
            self.counter = 0
            self.progress: list[float] = []

        def forward(self, inputs: Any) -> Any:
            return self.model(inputs)

        def learn(self, judge: Any, inputs: Any, targets: Any) -> None:
            outputs = judge.forward(self.forward(inputs))
            loss = judge.loss_function(outputs, targets)
            self.counter += 1
            if self.counter % 10 == 0:
                self.progress.append(loss.item())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    torch.manual_seed(0)
    dataset, judge, maker = MnistDataset(), Discriminator(), Generator()

    def run(number: int) -> None:
        for index in range(number):
            real = dataset[index % len(dataset)]
            judge.learn(real, torch.FloatTensor([1.0]))
            judge.learn(maker.forward(torch.randn(100)).detach(), torch.FloatTensor([0.0]))
            maker.learn(judge, torch.randn(100), torch.FloatTensor([1.0]))

    return run


# DCGAN


def dcgan_jaxdl(cfg: Config) -> Run:
    shape = (cfg.size, cfg.size, 3)
    nets = (
        models.DCGANGenerator(shape, features=cfg.features),
        models.DCGANDiscriminator(cfg.features),
    )
    txs = (optim.adam(2e-4, b1=0.5), optim.adam(2e-4, b1=0.5))
    players = train.Players(*nets, *txs, adversarial.non_saturating())
    step = train.make_gan_step(players, fresh_noise=False)
    state = jax.jit(lambda key: train.init_gan_state(players, key))(jax.random.key(0))
    batch = {"image": jnp.asarray(images_of(cfg))}
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    holder = [state]

    def run(number: int) -> None:
        for _ in range(number):
            holder[0], _ = compiled(holder[0], batch)
            if jax.default_backend() == "cpu":
                jax.block_until_ready(holder[0])
        jax.block_until_ready(holder[0])

    return run


def images_of(cfg: Config) -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (cfg.batch_size, cfg.size, cfg.size, 3)
    return generator.uniform(-1, 1, shape).astype(np.float32)


def dcgan_torch(cfg: Config, *, compiled: bool = False, channels_last: bool = False) -> Run:
    """PyTorch's tutorial: one update of the discriminator on both losses, one of the generator."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    doublings = int(np.log2(cfg.size // 4))
    widths = [cfg.features * 2**i for i in reversed(range(doublings))]
    options: Any = {"kernel_size": 4, "stride": 2, "padding": 1, "bias": False}
    layers: list[Any] = [torch.nn.ConvTranspose2d(100, widths[0], 4, bias=False)]
    for before, after in zip(widths, [*widths[1:], 3], strict=True):
        layers += [torch.nn.BatchNorm2d(before), torch.nn.ReLU(True)]
        layers.append(torch.nn.ConvTranspose2d(before, after, **options))
    maker: Any = torch.nn.Sequential(*layers, torch.nn.Tanh()).to(device)
    widths = widths[::-1]
    layers = [torch.nn.Conv2d(3, widths[0], **options), torch.nn.LeakyReLU(0.2, inplace=True)]
    for before, after in itertools.pairwise(widths):
        layers += [torch.nn.Conv2d(before, after, **options), torch.nn.BatchNorm2d(after)]
        layers.append(torch.nn.LeakyReLU(0.2, inplace=True))
    layers.append(torch.nn.Conv2d(widths[-1], 1, 4, bias=False))
    judge: Any = torch.nn.Sequential(*layers, torch.nn.Flatten()).to(device)
    real = torch.from_numpy(images_of(cfg).transpose(0, 3, 1, 2).copy()).to(device)
    if channels_last:
        layout = torch.channels_last
        maker, judge, real = (x.to(memory_format=layout) for x in (maker, judge, real))
    optimizers = [
        torch.optim.Adam(player.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
        for player in (maker, judge)
    ]
    loss_function = torch.nn.BCEWithLogitsLoss()
    ones = torch.ones(cfg.batch_size, 1, device=device)
    if compiled:
        maker, judge = torch.compile(maker), torch.compile(judge)

    def run(number: int) -> None:
        for _ in range(number):
            fake = maker(torch.randn(cfg.batch_size, 100, 1, 1, device=device))
            optimizers[1].zero_grad(set_to_none=True)
            loss_function(judge(real), ones).backward()
            loss_function(judge(fake.detach()), 0 * ones).backward()
            optimizers[1].step()
            optimizers[0].zero_grad(set_to_none=True)
            loss_function(judge(fake), ones).backward()
            optimizers[0].step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def measure(variants: dict[str, Run], cfg: Config) -> dict[str, float]:
    """The best seconds a step of each, in turn; rounds of about ``cfg.seconds``."""
    numbers, best = {}, dict.fromkeys(variants, float("inf"))
    for name, run in variants.items():
        run(1)
        began = time.perf_counter()
        run(1)
        once = time.perf_counter() - began
        numbers[name] = max(1, int(cfg.seconds / max(once, 1e-3)))
    for _ in range(cfg.rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            run(numbers[name])
            best[name] = min(best[name], (time.perf_counter() - began) / numbers[name])
    return best


def torch_variants(cfg: Config) -> tuple[dict[str, Run], str]:
    """DCGAN in PyTorch in every way that works here, and a note about what does not."""
    variants = {
        "PyTorch, eager": dcgan_torch(cfg),
        "PyTorch, eager, channels_last": dcgan_torch(cfg, channels_last=True),
    }
    if not cfg.compile:
        return variants, "torch.compile was left out."
    try:
        compiled = dcgan_torch(cfg, compiled=True)
        compiled(1)
    except Exception as error:  # no compiler, or an internal error
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
        return variants, f"torch.compile does not work here: {reason}"
    return {**variants, "torch.compile": compiled}, ""


def main(cfg: Config) -> list[dict[str, Any]]:
    """Measures and prints; returns the rows of the table."""
    rows: list[dict[str, Any]] = []
    images = np.random.default_rng(0).integers(0, 256, (1000, 28, 28, 1), np.uint8)
    book: dict[str, Any] = {}
    dcgan: dict[str, Any] = {}
    note = "PyTorch is not installed: its rows are left out."
    if importlib.util.find_spec("torch") is not None:
        book = {"PyTorch, the notebook": book_torch(images)}
        dcgan, note = torch_variants(cfg)
    book["jaxdl"] = book_jaxdl(images)
    names = f"book's GAN, batch 1|DCGAN {cfg.size}x{cfg.size}, batch {cfg.batch_size}".split("|")
    times = measure(book, cfg)
    row: dict[str, Any]
    for name, seconds in times.items():
        row = {"what": names[0], "variant": name, "seconds": seconds, "images": 1 / seconds}
        rows.append(row | {"times": times.get("PyTorch, the notebook", seconds) / seconds})
    dcgan["jaxdl"] = dcgan_jaxdl(cfg)
    times = measure(dcgan, cfg)
    best = min((s for name, s in times.items() if name != "jaxdl"), default=times["jaxdl"])
    for name, seconds in times.items():
        row = {"what": names[1], "variant": name, "seconds": seconds}
        rows.append(row | {"images": cfg.batch_size / seconds, "times": best / seconds})
    print("| what | variant | ms a step | images a second | times PyTorch's best |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['what']} | {row['variant']} | {1e3 * row['seconds']:.3g} | "
            f"{row['images']:,.0f} | {row['times']:.2f} |"
        )
    device = jax.devices()[0].device_kind
    print(f"\njax {jax.__version__}, {device}; best of {cfg.rounds} rounds in turn. {note}")
    if cfg.out is not None:
        cfg.out.write_text(json.dumps({"rows": rows, "device": device}, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
