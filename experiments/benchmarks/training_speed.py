"""Speed of training: PyTorch and JAX, from tutorials and by hand, compared with fit and run.

    python experiments/benchmarks/training_speed.py --data_dir DIR --out training_speed.json
    python experiments/benchmarks/training_speed.py --data_dir DIR --num_steps 50 --num_epochs 2

DIR holds the folders fashion_mnist and mnist with their IDX files. The first command takes some
fifteen minutes on two CPU cores, the second is a quick look. Measure on an idle machine: PyTorch's
threads wait for each other by spinning, so that another busy program on the same cores can make its
rows ten times slower, JAX's only twice. PyTorch's rows need `pip install torch==2.13.0` and are
left out without it, or where JAX has a GPU that this torch cannot use.

All variants run in one process, in turn, `--repeats` rounds of it, so that drift hits all alike.
They do the same work: model, initial distribution, optimizer, batch size, a new order every epoch,
the ragged last batch, float32, training loss of every epoch, and loss and accuracy of the whole
test set after it. Numbers of weights and updates are compared, test accuracies too.

    torch tutorial  Dataset with a transform for each item, DataLoader, loss.item() every batch
    torch by hand   tensors on the device, normalized once, randperm, nothing read within an epoch
    torch compile   the same with torch.compile(mode="reduce-overhead"): CUDA graphs, or fused C++
    jax by hand     jit and scan over an epoch, Optax, none of jaxdl.train
    fit             jaxdl.train.fit, one call for all epochs
    run             jaxdl.train.run with everything: the bar, metrics.jsonl, TensorBoard,
                    checkpoints, checks that all stays finite

Seconds an epoch are the wall time of a whole training divided by its epochs; building the model is
outside. Compilation has a separate column; for `run` it is what the first call of one epoch
takes longer than the second. Where `run` compiles again, only the "compiled in … s" that it prints
is taken off its wall time, less 0.05 s for the rounding: all else, such as moving data to the
device, opening the folder and waiting for the last checkpoint, is charged to its epochs.

Source: the networks of jaxdl.models; the tutorial loop is that of PyTorch's quick start.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import io
import itertools
import json
import math
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, data, losses, metrics, models, optim, train, transforms, tree

WorkloadName = Literal["mlp", "convnet"]
VariantName = Literal[
    "torch_tutorial", "torch_by_hand", "torch_compile", "jax_by_hand", "fit", "run"
]


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    data_dir: Path | None = None
    """Folder with the folders fashion_mnist and mnist of IDX files."""
    workloads: tuple[WorkloadName, ...] = ("mlp", "convnet")
    """mlp: 784-512-512-10, Fashion-MNIST, batch 32, SGD. convnet: MNIST, batch 64, Adam."""
    variants: tuple[VariantName, ...] = (
        "torch_tutorial",
        "torch_by_hand",
        "torch_compile",
        "jax_by_hand",
        "fit",
        "run",
    )
    """Which to measure, in turn."""
    num_epochs: int = 5
    """Passes over the training set, each with an evaluation."""
    repeats: int = 3
    """Rounds; the table shows the median."""
    num_steps: int | None = None
    """Steps an epoch at most: a smaller training set, for a quick look."""
    seed: int = 0
    """Of weights, order and dropout."""
    out: Path | None = None
    """JSON file for the results."""


class Workload(NamedTuple):
    """Data on the host and sizes, common to all variants."""

    name: WorkloadName
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    mean: float
    std: float
    batch_size: int


class Round(NamedTuple):
    """One training from the initial weights."""

    seconds: float
    num_steps: int
    num_weights: int
    train_loss: float
    test_loss: float
    accuracy: float
    later_epochs: float | None = None


class Variant(NamedTuple):
    """A training that is ready to be timed."""

    train: Callable[[], Round]
    compile_seconds: float = 0.0
    note: str = ""


def load_workload(cfg: Config, name: WorkloadName) -> Workload:
    set_name, batch_size = {"mlp": ("fashion_mnist", 32), "convnet": ("mnist", 64)}[name]
    if cfg.data_dir is None:
        raise ValueError(
            f"--data_dir is missing: this benchmark measures on the real {set_name}. Give the "
            f"folder that holds {set_name}/train-images-idx3-ubyte.gz and the other IDX files."
        )
    dataset = data.load(set_name, cfg.data_dir)
    mean, std = (float(value[0]) for value in data.mean_and_std(dataset.train["image"]))
    size = len(dataset.train["label"])
    if cfg.num_steps is not None:  # as ragged as the whole set
        size = min(size, cfg.num_steps * batch_size - (-size % batch_size))
    shortened = {key: array[:size] for key, array in dataset.train.items()}
    return Workload(name, shortened, dataset.test, mean, std, batch_size)


def evaluation_chunk() -> int:
    """Test images at a time by hand. On CPU, 1,000 take PyTorch's ConvNet twice as long as 250."""
    return 250 if jax.default_backend() == "cpu" else 2500


# PyTorch ------------------------------------------------------------------------------------------


def torch_device() -> str | None:
    """JAX's kind of device for PyTorch, or None where PyTorch is not there or cannot use it."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    return "cuda" if torch.cuda.is_available() else None


def make_torch_model(workload: Workload) -> Any:
    from torch.nn import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential

    if workload.name == "mlp":
        hidden = [Linear(784, 512), ReLU(), Linear(512, 512), ReLU()]
        return Sequential(Flatten(), *hidden, Linear(512, 10))
    first = [Conv2d(1, 16, 3), ReLU(), MaxPool2d(2)]
    second = [Conv2d(16, 32, 3), ReLU(), MaxPool2d(2)]
    head = [Flatten(), Linear(800, 32), ReLU(), Dropout(0.3), Linear(32, 10)]
    return Sequential(*first, *second, *head)


def make_torch_optimizer(workload: Workload, model: Any, **options: Any) -> Any:
    import torch

    if workload.name == "mlp":
        return torch.optim.SGD(model.parameters(), lr=1e-3, **options)
    return torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5, **options)


def prepare_torch_tutorial(workload: Workload, cfg: Config, device: str) -> Variant:
    """The loop of PyTorch's quick start, with the loss added up every batch as others do."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    def transform(image: np.ndarray) -> Any:
        """ToTensor and Normalize, as torchvision does them."""
        tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(mean).div_(std)

    mean, std = (torch.tensor([x]).reshape(-1, 1, 1) for x in (workload.mean, workload.std))

    class Images(Dataset):
        def __init__(self, arrays: dict[str, np.ndarray]):
            self.arrays = arrays

        def __len__(self) -> int:
            return len(self.arrays["label"])

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return transform(self.arrays["image"][index]), int(self.arrays["label"][index])

    loader = DataLoader(Images(workload.train), batch_size=workload.batch_size, shuffle=True)
    test_loader = DataLoader(Images(workload.test), batch_size=workload.batch_size)
    size, test_size = len(workload.train["label"]), len(workload.test["label"])
    loss_fn = torch.nn.CrossEntropyLoss()

    def train_loop(model: Any, optimizer: Any) -> tuple[int, float]:
        model.train()
        total = 0.0
        for batch, (x, y) in enumerate(loader):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            if batch % 100 == 0:
                print(f"loss: {loss.item():>7f}  [{batch * len(x):>5d}/{size:>5d}]")
        return len(loader), total / size

    def test_loop(model: Any) -> tuple[float, float]:
        model.eval()
        loss, correct = 0.0, 0.0
        with torch.no_grad():
            for x, y in test_loader:
                x, y = x.to(device), y.to(device)
                outputs = model(x)
                loss += loss_fn(outputs, y).item() * len(x)
                correct += (outputs.argmax(1) == y).type(torch.float).sum().item()
        return loss / test_size, correct / test_size

    def train_all() -> Round:
        torch.manual_seed(cfg.seed)
        model = make_torch_model(workload).to(device)
        optimizer = make_torch_optimizer(workload, model)
        with stopwatch(device) as seconds, captured():
            num_steps = 0
            for _ in range(cfg.num_epochs):
                steps, train_loss = train_loop(model, optimizer)
                test_loss, accuracy = test_loop(model)
                num_steps += steps
        num_weights = sum(p.numel() for p in model.parameters())
        return Round(seconds(), num_steps, num_weights, train_loss, test_loss, accuracy)

    return Variant(train_all)


def prepare_torch_by_hand(
    workload: Workload, cfg: Config, device: str, *, compiled: bool = False
) -> Variant:
    """The fastest loop that one can write in PyTorch and still read.

    Tried for the optimizer: the default, foreach and fused; for images: contiguous and
    channels_last. Which wins depends on the device, so each combination is timed here on some
    batches and the quickest is kept. Tried once, on CPU: a gather of the whole epoch, and indexing
    instead of index_select, both no quicker.
    """
    import torch
    from torch.nn.functional import cross_entropy

    def on_device(arrays: dict[str, np.ndarray]) -> tuple[Any, Any]:
        images = torch.from_numpy(arrays["image"]).to(device).permute(0, 3, 1, 2).float()
        images = images.div(255).sub(workload.mean).div(workload.std).contiguous()
        return images, torch.from_numpy(arrays["label"]).to(device).long()

    chunk = evaluation_chunk()
    images, labels = on_device(workload.train)
    test_images, test_labels = on_device(workload.test)

    def train_epoch(model: Any, optimizer: Any, order: Any) -> tuple[int, Any]:
        model.train()
        all_losses = []
        batches = order.split(workload.batch_size)
        for index in batches:
            if compiled:
                torch.compiler.cudagraph_mark_step_begin()
            x, y = images.index_select(0, index), labels.index_select(0, index)
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            all_losses.append(loss.detach())
        sizes = torch.tensor([len(index) for index in batches], device=device)
        return len(batches), (torch.stack(all_losses) * sizes).sum() / len(order)

    @torch.no_grad()
    def evaluate(model: Any) -> tuple[Any, Any]:
        model.eval()
        loss, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        for x, y in zip(test_images.split(chunk), test_labels.split(chunk), strict=True):
            outputs = model(x)
            loss += cross_entropy(outputs, y, reduction="sum")
            correct += (outputs.argmax(1) == y).sum()
        return loss / len(test_labels), correct / len(test_labels)

    def random_order() -> Any:
        return torch.randperm(len(images), device=device)

    def start(options: dict[str, bool], channels_last: bool) -> tuple[Any, Any]:
        torch.manual_seed(cfg.seed)
        model = make_torch_model(workload).to(device)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        return model, make_torch_optimizer(workload, model, **options)

    def time_steps(model: Any, optimizer: Any, num_steps: int) -> float:
        order = random_order()[: num_steps * workload.batch_size]
        with stopwatch(device) as seconds:
            train_epoch(model, optimizer, order)
        return seconds()

    def layout(channels_last: bool) -> None:
        nonlocal images, test_images
        form = torch.channels_last if channels_last else torch.contiguous_format
        images, test_images = (x.contiguous(memory_format=form) for x in (images, test_images))

    updates: list[dict[str, bool]] = [{}, {"foreach": True}, {"fused": True}]
    layouts = (False, True) if workload.name == "convnet" else (False,)
    choices = list(itertools.product(range(len(updates)), layouts))
    quickest = dict.fromkeys(choices, math.inf)
    for _, (index, channels_last) in itertools.product(range(4), choices):  # in turn, as below
        layout(channels_last)
        model, optimizer = start(updates[index], channels_last)
        time_steps(model, optimizer, 5)
        seconds_taken = time_steps(model, optimizer, 60)
        quickest[index, channels_last] = min(quickest[index, channels_last], seconds_taken)
    best, channels_last = min(choices, key=lambda choice: quickest[choice])
    layout(channels_last)

    model, optimizer = start(updates[best], channels_last)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    forward, compile_seconds = model, 0.0
    if compiled:
        forward = torch.compile(model, mode="reduce-overhead", dynamic=False)
        ragged = len(images) % workload.batch_size
        both_shapes = random_order()[: 4 * workload.batch_size + ragged]
        with stopwatch(device) as seconds:
            train_epoch(forward, optimizer, both_shapes)
            evaluate(forward)
        compile_seconds = seconds()

    def train_all() -> Round:
        torch.manual_seed(cfg.seed)
        model.load_state_dict(initial)
        optimizer = make_torch_optimizer(workload, model, **updates[best])
        with stopwatch(device) as seconds:
            num_steps = 0
            for _ in range(cfg.num_epochs):
                steps, train_loss = train_epoch(forward, optimizer, random_order())
                test_loss, accuracy = evaluate(forward)
                row = torch.stack([train_loss, test_loss, accuracy]).tolist()
                num_steps += steps
        return Round(seconds(), num_steps, sum(p.numel() for p in model.parameters()), *row)

    chosen = [*updates[best], *(["channels_last"] if channels_last else [])]
    return Variant(train_all, compile_seconds, ", ".join(chosen) or "PyTorch's defaults")


# JAX ----------------------------------------------------------------------------------------------


def make_model(workload: Workload) -> nn.Module:
    return models.MLP() if workload.name == "mlp" else models.ConvNet()


def prepare_jax_by_hand(workload: Workload, cfg: Config) -> Variant:
    """A minimal loop: no masks, no state but weights and optimizer, a smaller last batch.

    Tried: images normalized beforehand and a gather of the whole epoch; both move more memory and
    were no quicker.
    """
    model = make_model(workload)
    if workload.name == "mlp":
        tx = optax.sgd(1e-3)
    else:
        tx = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-3))
    batch_size, size = workload.batch_size, len(workload.train["label"])
    full = size // batch_size

    def forward(params: Any, images: Any, **kwargs: Any) -> Any:
        x = (images.astype(jnp.float32) / 255 - workload.mean) / workload.std
        return model.apply({"params": params}, x, **kwargs)

    cross_entropy = optax.softmax_cross_entropy_with_integer_labels

    @functools.partial(jax.jit, donate_argnums=0)
    def train_epoch(carry: Any, key: Any, images: Any, labels: Any) -> Any:
        order_key, dropout_key = jax.random.split(key)
        order = jax.random.permutation(order_key, size)

        def step(carry: Any, index: Any) -> Any:
            params, opt_state, count = carry
            rngs = {"dropout": jax.random.fold_in(dropout_key, count)}

            def loss_fn(params: Any) -> Any:
                logits = forward(params, images[index], train=True, rngs=rngs)
                return cross_entropy(logits, labels[index]).mean()

            loss, gradients = jax.value_and_grad(loss_fn)(params)
            updates, opt_state = tx.update(gradients, opt_state, params)
            carry = optax.apply_updates(params, updates), opt_state, count + 1
            return carry, loss * len(index)

        batches = order[: full * batch_size].reshape(full, batch_size)
        carry, totals = jax.lax.scan(step, carry, batches)
        total = totals.sum()
        if size > full * batch_size:
            carry, last = step(carry, order[full * batch_size :])
            total += last
        return carry, total / size

    @jax.jit
    def evaluate(params: Any, images: Any, labels: Any) -> Any:
        size = evaluation_chunk()

        def chunk(batch: Any) -> Any:
            logits = forward(params, batch[0], train=False)
            correct = logits.argmax(-1) == batch[1]
            return cross_entropy(logits, batch[1]).sum(), correct.sum()

        chunks = images.reshape(-1, size, *images.shape[1:]), labels.reshape(-1, size)
        loss, correct = jax.lax.map(chunk, chunks)
        return loss.sum() / len(labels), correct.sum() / len(labels)

    def start() -> Any:
        params = model.init(jax.random.key(cfg.seed), jnp.zeros((1, 28, 28, 1)))["params"]
        return jax.block_until_ready((params, tx.init(params), jnp.zeros((), jnp.int32)))

    key = jax.random.key(cfg.seed + 1)
    training, test = (
        tuple(jax.device_put(split[name]) for name in ("image", "label"))
        for split in (workload.train, workload.test)
    )
    carry = start()
    with stopwatch() as compile_seconds:
        compiled_epoch = train_epoch.lower(carry, key, *training).compile()
        compiled_evaluation = evaluate.lower(carry[0], *test).compile()

    def train_all() -> Round:
        carry = start()
        with stopwatch() as seconds:
            for epoch in range(cfg.num_epochs):
                carry, train_loss = compiled_epoch(carry, jax.random.fold_in(key, epoch), *training)
                row = [float(x) for x in (train_loss, *compiled_evaluation(carry[0], *test))]
            jax.block_until_ready(carry)
        return Round(seconds(), int(carry[2]), tree.count(carry[0]), *row)

    return Variant(train_all, compile_seconds())


class Recipe(NamedTuple):
    """Arguments of fit and run, as in an experiment."""

    step: Any
    eval_fn: Any
    state: Any
    key: Any


def make_recipe(workload: Workload, cfg: Config) -> Recipe:
    model = make_model(workload)
    tx = optim.sgd(1e-3) if workload.name == "mlp" else optim.adam(1e-3, weight_decay=1e-5)
    preprocess = transforms.normalize(workload.mean, workload.std)
    train_loss = train.supervised(model, losses.cross_entropy, preprocess=preprocess)
    test_loss = train.supervised(
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=preprocess,
    )
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    state = train.init_state(model, tx, init_key, jnp.zeros((1, 28, 28, 1)))
    return Recipe(train.make_step(train_loss, tx), train.make_eval(test_loss), state, order_key)


def prepare_fit(workload: Workload, cfg: Config) -> Variant:
    recipe = make_recipe(workload, cfg)

    @jax.jit
    def fit(state: Any, key: Any, training: Any, test: Any) -> Any:
        return train.fit(
            recipe.step,
            state,
            training,
            num_epochs=cfg.num_epochs,
            batch_size=workload.batch_size,
            key=key,
            eval_fn=recipe.eval_fn,
            eval_data=test,
        )

    inputs = jax.device_put((recipe.state, recipe.key, workload.train, workload.test))
    with stopwatch() as compile_seconds:
        compiled = fit.lower(*inputs).compile()

    def train_all() -> Round:
        with stopwatch() as seconds:
            state, history = jax.block_until_ready(compiled(*inputs))
        row = {name: float(values[-1]) for name, values in history.items()}
        return to_round(seconds(), state, row)

    return Variant(train_all, compile_seconds())


def prepare_run(workload: Workload, cfg: Config) -> Variant:
    recipe = make_recipe(workload, cfg)

    def train_all(num_epochs: int = cfg.num_epochs) -> Round:
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder, stopwatch() as seconds, captured() as output:
            state, history = train.run(
                recipe.step,
                recipe.state,
                workload.train,
                num_epochs=num_epochs,
                batch_size=workload.batch_size,
                key=recipe.key,
                eval_fn=recipe.eval_fn,
                eval_data=workload.test,
                workdir=Path(folder) / "run",
                config=cfg,
                hooks=[lambda _: ends.append(time.perf_counter())],
            )
            jax.block_until_ready(state)
        found = re.search(r"compiled in ([\d.]+) s", output.getvalue())
        if found is None:
            raise ValueError("run no longer prints 'compiled in … s', the rule of this benchmark.")
        later = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None
        charged = seconds() - max(float(found[1]) - 0.05, 0.0)
        return to_round(charged, state, history[-1])._replace(later_epochs=later)

    import orbax.checkpoint  # noqa: F401  # what run imports late is not its compilation
    import tensorboardX  # noqa: F401

    walls = []
    for _ in range(2):
        with stopwatch() as seconds:
            train_all(num_epochs=1)
        walls.append(seconds())
    return Variant(train_all, walls[0] - walls[1])


def to_round(seconds: float, state: Any, row: dict[str, Any]) -> Round:
    values = (row[name] for name in ("train/loss", "test/loss", "test/accuracy"))
    return Round(seconds, int(state.step), tree.count(state.params), *values)


# Measuring ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopwatch(device: str = "cpu") -> Iterator[Callable[[], float]]:
    """Wall seconds of a block, called after it; a CUDA device finishes its work first."""

    def now() -> float:
        if device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    began, seconds = now(), [0.0]
    yield lambda: seconds[0]
    seconds[0] = now() - began


class Terminal(io.StringIO):
    """Text in memory that says it is a terminal, so that the progress bar is really drawn."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def captured() -> Iterator[Terminal]:
    terminal = Terminal()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        yield terminal


def prepare(name: VariantName, workload: Workload, cfg: Config) -> Variant | str:
    """A variant that has trained once, or the reason why it is left out."""
    variant = None
    if name.startswith("torch"):
        if importlib.util.find_spec("torch") is None:
            return "torch is not installed: pip install torch==2.13.0"
        device = torch_device()
        if device is None:
            return "JAX uses a GPU and this torch cannot; install torch for CUDA"
        try:
            if name == "torch_tutorial":
                variant = prepare_torch_tutorial(workload, cfg, device)
            else:
                compiled = name == "torch_compile"
                variant = prepare_torch_by_hand(workload, cfg, device, compiled=compiled)
        except RuntimeError as error:
            if name != "torch_compile":
                raise
            return f"torch.compile failed, {str(error).splitlines()[0][:120]}"
    elif name == "jax_by_hand":
        variant = prepare_jax_by_hand(workload, cfg)
    elif name == "fit":
        variant = prepare_fit(workload, cfg)
    else:
        return prepare_run(workload, cfg)  # has trained once already
    variant.train()
    return variant


def measure(workload: Workload, cfg: Config) -> list[dict[str, Any]]:
    """The rows of the table for one workload."""
    variants: dict[str, Variant] = {}
    for name in dict.fromkeys(cfg.variants):
        progress(f"{workload.name}: {name} gets ready")
        variant = prepare(name, workload, cfg)
        if isinstance(variant, str):
            print(f"{name.replace('_', ' ')} is left out: {variant}.")
        else:
            variants[name] = variant
    rounds: dict[str, list[Round]] = {name: [] for name in variants}
    for repeat, (label, ready) in itertools.product(range(cfg.repeats), variants.items()):
        rounds[label].append(ready.train())
        seconds = rounds[label][-1].seconds / cfg.num_epochs
        progress(
            f"{workload.name}: round {repeat + 1}/{cfg.repeats}, {label} {seconds:.3f} s/epoch"
        )
    check_same_work(workload, cfg, rounds)

    medians = {
        name: statistics.median(r.seconds for r in of_one) / cfg.num_epochs
        for name, of_one in rounds.items()
    }
    table = []
    for label, of_one in rounds.items():
        per_epoch = [r.seconds / cfg.num_epochs for r in of_one]
        later = [r.later_epochs for r in of_one if r.later_epochs is not None]
        row = {
            "workload": workload.name,
            "variant": label,
            "seconds_per_epoch": medians[label],
            "all_seconds_per_epoch": per_epoch,
            "images_per_second": len(workload.train["label"]) / medians[label],
            "compile_seconds": variants[label].compile_seconds,
            **{
                f"ratio_to_{other}": medians[label] / medians[other]
                for other in BASES & medians.keys()
            },
            **of_one[-1]._asdict(),
            "later_epochs": statistics.median(later) if later else None,
            "note": variants[label].note,
        }
        table.append(row)
    return table


BASES = {"jax_by_hand", "torch_by_hand"}


def check_same_work(workload: Workload, cfg: Config, rounds: dict[str, list[Round]]) -> None:
    """Numbers of updates and weights are equal; a whole training reaches one accuracy."""
    expected = cfg.num_epochs * data.num_batches(len(workload.train["label"]), workload.batch_size)
    weights = {"mlp": 669_706, "convnet": 30_762}[workload.name]
    for name, of_one in rounds.items():
        for one in of_one:
            if (one.num_steps, one.num_weights) != (expected, weights):
                raise ValueError(
                    f"{name} made {one.num_steps} updates of {one.num_weights} weights, expected "
                    f"{expected} of {weights}: the variants do not do the same work."
                )
    final = {name: of_one[-1].accuracy for name, of_one in rounds.items()}
    if cfg.num_steps is None and final and max(final.values()) - min(final.values()) > 0.03:
        raise ValueError(f"test accuracies lie more than 0.03 apart: {final}. Is a variant wrong?")


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def describe_machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    versions = {"python": platform.python_version()}
    for package in ("jaxdl", "jax", "jaxlib", "flax", "optax", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "jax_device": f"{jax.default_backend()}, {jax.devices()[0].device_kind}",
        "torch_device": torch_device(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def show(table: list[dict[str, Any]], cfg: Config) -> None:
    header = (
        f"{'workload':9}{'variant':16}{'s/epoch, median [min–max]':>28}{'images/s':>11}"
        f"{'/ jax hand':>12}{'/ torch hand':>14}{'compile s':>11}{'loss':>8}{'accuracy':>10}"
    )
    print(f"\n{header}\n{'-' * len(header)}")
    for row in table:
        each = row["all_seconds_per_epoch"]
        seconds = f"{row['seconds_per_epoch']:.3f} [{min(each):.3f}–{max(each):.3f}]"
        ratios = [
            f"{row[name]:.2f}" if name in row else "–"
            for name in ("ratio_to_jax_by_hand", "ratio_to_torch_by_hand")
        ]
        print(
            f"{row['workload']:9}{row['variant'].replace('_', ' '):16}{seconds:>28}"
            f"{row['images_per_second']:>11,.0f}{ratios[0]:>12}{ratios[1]:>14}"
            f"{row['compile_seconds']:>11.1f}{row['test_loss']:>8.4f}{row['accuracy']:>10.4f}"
        )
    print("\nloss and accuracy: of the whole test set after the last epoch")
    for row in table:
        label = f"{row['workload']}, {row['variant'].replace('_', ' ')}"
        if row["note"]:
            print(f"{label}: quickest options on this device: {row['note']}")
        if row["later_epochs"] is not None:
            once = (row["seconds_per_epoch"] - row["later_epochs"]) * cfg.num_epochs
            print(
                f"{label}: {row['later_epochs']:.3f} s for each epoch after the first; "
                f"{once:.2f} s of the {cfg.num_epochs} epochs' time come once a run"
            )


def main(cfg: Config) -> list[dict[str, Any]]:
    """Measures, checks, prints; returns the rows of the table."""
    counts = {"num_epochs": cfg.num_epochs, "repeats": cfg.repeats}
    if cfg.num_steps is not None:
        counts["num_steps"] = cfg.num_steps
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"--{name} must be at least 1, got {count}.")
    workloads = [load_workload(cfg, name) for name in dict.fromkeys(cfg.workloads)]
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(f"{machine['cpu']}, {machine['cores']} cores; JAX on {machine['jax_device']}\n{versions}")
    sizes = {w.name: len(w.train["label"]) for w in workloads}
    print(f"training images {sizes}, {cfg.num_epochs} epochs, {cfg.repeats} rounds")
    if (machine["load"] or 0.0) > 0.5:
        print(
            f"warning: the machine is busy (load {machine['load']:.1f}); do not trust these times"
        )
    table = [row for workload in workloads for row in measure(workload, cfg)]
    show(table, cfg)
    if cfg.out is not None:
        settings = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(cfg).items()
            if name not in ("data_dir", "out")
        }
        content = {"machine": machine, "config": settings, "sizes": sizes, "results": table}
        cfg.out.parent.mkdir(parents=True, exist_ok=True)
        cfg.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(f"written to {cfg.out}")
    return table


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
