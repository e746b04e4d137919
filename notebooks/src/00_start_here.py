# ---
# jupyter:
#   jaxdl:
#     covers: [R01, R04, R06, R18, R20, R21, R22, R24, M33, L10, Q10]
#     outputs: []
#     mistakes: [43, 47, 60]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Where do I start?
#
# You know PyTorch, and you want to do the same in JAX. This notebook trains a network in one screen
# of code, shows what lies in the run folder afterward, and gives a table with the counterpart of
# every PyTorch name that a first course uses. Keep the table at hand; the other notebooks explain
# its rows.
#
# *You need*: one PyTorch training loop that you wrote yourself. *Time*: fifteen minutes to read,
# half a minute to run. *What comes out*: a convolutional network that reads at least 97 of 100
# handwritten digits, and a table of more than forty rows whose every name is checked by code.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("jaxdl") is None:  # Colab: install the version of this notebook
    source = "jaxdl[notebooks] @ git+https://github.com/jaxdl/jaxdl@v0.1.0"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)
doctor = subprocess.run([sys.executable, "-m", "jaxdl", "doctor"], capture_output=True, text=True)
print(doctor.stdout.splitlines()[-1])

# %%
import inspect
import json
import os
import pydoc
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Markdown

from jaxdl import data, losses, metrics, models, optim, plots, train, transforms, tree

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## Two commands
#
# On your own machine, in a checkout of the repository, with Python 3.11 or newer. The first command
# installs everything and trains a classifier; the second one runs the tests:
#
# ```sh
# python3 -m venv .venv && .venv/bin/pip install -e '.[all]' && \
#   .venv/bin/python experiments/mnist.py
# python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest
# ```
#
# For an NVIDIA GPU write `'.[all,cuda12]'`. `python -m jaxdl doctor`, which the first cell ran,
# says in its last line whether something is wrong with the installation. A notebook in Colab has
# nothing to install by hand: the first cell did it.
#
# ## One screen
#
# A training run has five parts, in PyTorch and here: **data, a model, a loss, an optimizer, and a
# loop**. Scikit-learn's digits are 1,797 gray images of 8×8 pixels; they need no download.

# %%
digits = data.load("digits")
training, validation = data.random_split(digits.train, [0.9, 0.1], 0, stratify="label")
if small:
    training = {name: array[:320] for name, array in training.items()}
print(digits)
print({name: (array.shape, array.dtype.name) for name, array in training.items()})
assert training["image"].shape[1:] == (8, 8, 1)
assert training["image"].dtype == np.uint8

# %% [markdown]
# Data are arrays by name. Images have their channels **last**, and they stay bytes: they are moved
# to the device once, and the network's first step there turns them into floats (`preprocess`).
#
# The model has BatchNorm and dropout. The loss function joins the model, the loss and the metrics;
# `make_step` adds the optimizer; `run` is the loop. *How many of 100 digits that it never saw will
# it read after five epochs?*

# %%
preprocess = transforms.normalize(*data.mean_and_std(training["image"]))
model = models.CNN(num_classes=10, features=(8,) if small else (32, 64, 128))
loss_fn = train.supervised(
    model,
    losses.cross_entropy,  # of logits: no softmax before it
    metrics={"accuracy": metrics.accuracy},
    preprocess=preprocess,
)
tx = optim.adam(1e-3)
options = {
    "num_epochs": 1 if small else 5,
    "batch_size": 32,
    "key": 1,  # of the order of the examples
    "eval_fn": train.make_eval(loss_fn),
    "eval_data": {"val": validation, "test": digits.test},
    "workdir": "runs/first",
    "resume": True,
    "progress": False,  # True draws a progress bar; off here, so that the page stays quiet
}
state = train.init_state(loss_fn, tx, 0, training)
state, history = train.run(train.make_step(loss_fn, tx), state, training, **options)

# %%
for row in history:
    print(
        f"epoch {row['epoch']}  training loss {row['train/loss']:.2f}  "
        f"validation accuracy {row['val/accuracy']:.2f}"
    )
print(f"test accuracy {history[-1]['test/accuracy']:.2f}")
assert small or history[-1]["test/accuracy"] > 0.96

# %% [markdown]
# `val` was measured after every epoch, and it selects the best checkpoint. `test` was measured
# once, at the end: a number that you look at while you choose is not a test any more.

# %%
figure = plots.learning_curves(history)
figure.set_dpi(80)
figure

# %% [markdown]
# Accuracy, loss and learning rate over the epochs. In the first two epochs the validation loss
# lies far *below* the training loss. That is no mistake: the training loss is an average over an
# epoch in which the weights still move, measured with dropout; the validation loss is measured
# after it, without dropout.
#
# ## The same loop in PyTorch
#
# Here are the six lines that every PyTorch course teaches, on made-up data. Read them beside the
# cell above: each line has its place in jaxdl, but not always as a line.
#
# ```python
# # PyTorch
# torch.manual_seed(0)
# images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 10
# network = torch.nn.Sequential(
#     torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
#     torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(8 * 64, 10),
# )
# criterion = torch.nn.CrossEntropyLoss()
# optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
# before = criterion(network.eval()(images), labels).item()
# network.train()
# for epoch in range(5):
#     for start in range(0, 64, 32):
#         output = network(images[start : start + 32])
#         loss = criterion(output, labels[start : start + 32])
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
# network.eval()
# assert criterion(network(images), labels).item() < before
# ```
#
# | PyTorch | what becomes of it |
# |---|---|
# | `manual_seed` | a key is an argument: `init_state(…, 0)`, `run(…, key=1)` |
# | `network(images)` | a function of weights and images; the object holds no weights |
# | `network.train()`, `.eval()` | an argument `train=` of the call, never a mode that is left on |
# | `zero_grad()` | nothing: a gradient is a return value, it does not pile up |
# | `backward()` | `jax.value_and_grad`, inside the step |
# | `optimizer.step()` | `tx.update`, inside the step; *this*, not `backward`, changes the weights |
# | the two `for` loops | `train.run` |
#
# Three sentences about that table, because notes get them wrong. Backward computes gradients and
# changes no weight; the optimizer does. In PyTorch you call the object (`network(x)`), not
# `network.forward(x)`: the call also runs the hooks, and it does **not** call `train()`. In Flax
# you call `model.apply(variables, x)` for a similar reason: it is `apply` that gives the module
# its weights.
#
# ## Everything is in the state
#
# An `nn.Module` keeps its parameters, its BatchNorm buffers and its mode inside itself; PyTorch's
# modules have eight dictionaries for that. A Flax module has none. What training changes is one
# value, the state. *Which four parts will it have, besides a counter?*

# %%
print(list(vars(state)))
print(f"{tree.count(state.params):,} parameters, {int(state.step)} updates")
print(jax.tree.map(jnp.shape, state.model_state))
assert set(vars(state)) == {"step", "params", "model_state", "opt_state", "key"}
assert int(state.step) == len(history) * -(-len(training["label"]) // 32)

# %% [markdown]
# `params` is what the optimizer changes, `model_state` what the forward pass changes (the running
# means and variances of BatchNorm), `opt_state` what the optimizer remembers, `key` the root of all
# random numbers. A state is a tree of arrays, so it can be saved, compared, copied to a GPU, or
# stacked to train twenty networks at once, all with the same few functions.
#
# Prediction is a function of the state, too:


# %%
def logits_of(state, images):
    outputs, _ = train.apply_model(model, state.params, state.model_state, preprocess(images))
    return outputs


predicted = train.predict(logits_of, state, digits.test["image"]).argmax(-1)
accuracy = float((predicted == digits.test["label"]).mean())
assert abs(accuracy - history[-1]["test/accuracy"]) < 1e-6

# %%
few = digits.test["image"][:12]
pairs = list(zip(predicted[:12], digits.test["label"][:12], strict=True))
titles = [f"{p} (is {t})" for p, t in pairs]
colors = ["black" if p == t else "red" for p, t in pairs]
figure = plots.image_grid(few, titles=titles, title_colors=colors, num_columns=6)
figure.set_dpi(80)
figure

# %% [markdown]
# Twelve test images of 8×8 pixels, with the network's answer and the truth above each, wrong
# answers in red. The red one is drawn so badly that you may side with the network.
#
# ## What lies in the run folder
#
# `workdir="runs/first"` made a folder that is enough to repeat the run, to compare it with others
# (`python -m jaxdl compare runs/*`), to look at it in TensorBoard (`tensorboard --logdir runs`) and
# to load its weights.

# %%
for path in sorted(Path("runs/first").iterdir()):
    name = re.sub(r"tfevents\..*", "tfevents…", path.name)
    print(name + ("/" if path.is_dir() else ""))
rows = [json.loads(line) for line in Path("runs/first/metrics.jsonl").read_text().splitlines()]
assert rows[-1]["val/accuracy"] == history[-1]["val/accuracy"]

# %% [markdown]
# Because of `resume=True` the same call again finds the finished run, trains nothing, and returns
# its result. Press the stop button in the middle of a run and call it again: it goes on with the
# very next batch, and the weights at the end are the same to the bit.

# %%
again, same_history = train.run(
    train.make_step(loss_fn, tx), train.init_state(loss_fn, tx, 0, training), training, **options
)
same = jax.tree.map(jnp.array_equal, state.params, again.params)
print("same weights:", all(jax.tree.leaves(same)))
assert all(jax.tree.leaves(same))
assert len(same_history) == len(history)

# %% [markdown]
# ## The map
#
# Left what you write in PyTorch, right where to look here. `jax`, `flax` and `optax` stay what
# they are: jaxdl wraps nothing that they do well. An `=` after a name means an argument of that
# function.

# %%
ARRAYS = {
    "torch.Tensor": ("jax.Array", "never changes; notebook 01"),
    "x[0] = 1, x.add_(1)": ("jax.Array.at", "`x = x.at[0].set(1)`"),
    "torch.from_numpy(a), x.numpy()": ("jax.numpy.asarray", "back: `numpy.asarray(x)`"),
    "torch.manual_seed(0)": ("jax.random.key", "one key for each use; notebook 02"),
    'x.to("cuda")': ("jax.device_put", "arrays go to the fastest device by themselves"),
    "torch.cuda.is_available()": ("jax.default_backend", '`== "gpu"`'),
    "torch.cuda.synchronize()": ("jax.block_until_ready", "before you stop a clock"),
    "loss.backward(), x.grad": ("jax.grad", "a function of a function; notebook 03"),
    "x.detach(), torch.no_grad()": ("jax.lax.stop_gradient", "or do not differentiate"),
    "torch.autograd.Function": ("jax.custom_vjp", "notebook 05"),
    "torch.compile": ("jax.jit", "notebook 04"),
    "torch.vmap": ("jax.vmap", "one example becomes a batch; notebook 04"),
}

# %%
MODELS = {
    "nn.Module": ("flax.linen.Module", "describes a network, holds no weights"),
    "nn.Linear": ("jaxdl.nn.Dense", "PyTorch's initial weights; the kernel is (in, out)"),
    "nn.Conv2d": ("jaxdl.nn.Conv", "channels last; the kernel is (h, w, in, out)"),
    "nn.BatchNorm2d": ("jaxdl.nn.BatchNorm", "its statistics are in `model_state`"),
    "nn.Dropout": ("flax.linen.Dropout", "its key is an argument"),
    "nn.LSTM": ("jaxdl.nn.LSTM", "also `GRU` and `RNN`"),
    "nn.Sequential": ("flax.linen.Sequential", "or calls in `__call__`"),
    "model(x), model.train(), model.eval()": ("jaxdl.train.apply_model(train=)", "no mode"),
    "torchvision.models.resnet18()": ("jaxdl.models.ResNet18", "takes torchvision's weights"),
    "sum(p.numel() for p in …)": ("jaxdl.tree.count", "`print(jaxdl.tree.describe(params))`"),
    "register_forward_hook": ("jaxdl.nn.features", "activations of the layers by name"),
}

# %%
DATA = {
    "Dataset": ("jaxdl.data.BaseSource", "`__len__` and `__getitem__`; notebook 06"),
    "TensorDataset": ("jaxdl.data.ArraySource", "or a plain dictionary of arrays"),
    "IterableDataset": ("jaxdl.data.from_iterable", "examples in their own order"),
    "DataLoader": ("jaxdl.data.Loader(shuffle=, num_workers=, collate_fn=)", ""),
    "random_split": ("jaxdl.data.random_split(stratify=)", "with the same share of each class"),
    "ImageFolder, datasets.MNIST": ("jaxdl.data.open", "by name or path, in any format"),
    "WeightedRandomSampler": ("jaxdl.data.WeightedRandomSampler", "the samplers have their names"),
    "pad_sequence": ("jaxdl.data.pad_sequences", "with a mask"),
    "transforms.ToTensor, Normalize": ("jaxdl.transforms.normalize", "on the device; notebook 07"),
    "transforms.Compose": ("jaxdl.transforms.compose", "each image has its own key"),
}

# %%
TRAINING = {
    "nn.CrossEntropyLoss": ("jaxdl.losses.cross_entropy", "one loss per example, (B,)"),
    "optim.Adam, optim.SGD": ("jaxdl.optim.adam", "`sgd`, `adamw`, … with PyTorch's numbers"),
    "lr_scheduler.StepLR": ("jaxdl.optim.step_decay", "pass it as the learning rate"),
    "ReduceLROnPlateau": ("jaxdl.optim.reduce_on_plateau", "wraps the optimizer"),
    "clip_grad_norm_": ("jaxdl.optim.recipe(clip_norm=)", "clips, decays and accumulates"),
    "autocast, GradScaler": ("jaxdl.optim.mixed_precision", "wraps the optimizer"),
    "p.requires_grad = False": ("jaxdl.optim.freeze", "by names of parameters"),
    "swa_utils.AveragedModel": ("jaxdl.optim.ema", "also `swa`"),
    "zero_grad, backward, step": ("jaxdl.train.make_step", "one pure function"),
    "for epoch in …": ("jaxdl.train.run", "Lightning's `Trainer.fit`, Keras's `fit`"),
    "with torch.no_grad(): for …": ("jaxdl.train.evaluate", "every example counts once"),
    "EarlyStopping": ("jaxdl.train.run(patience=, restore_best=)", "by the metric `monitor`"),
    "a callback": ("jaxdl.train.run(hooks=)", "called after each epoch"),
    "detect_anomaly": ("jaxdl.train.run", "names the first layer that is not finite"),
}

# %%
KEEPING = {
    "state_dict()": ("jaxdl.types.TrainState", "a tree of arrays"),
    "torch.save, torch.load": ("jaxdl.train.run(workdir=, resume=)", "also after a crash"),
    "load_state_dict(strict=False)": (
        "jaxdl.checkpoint.restore_weights(partial=)",
        "reports what did not fit",
    ),
    "others' .pth, .safetensors": ("jaxdl.interop.load_state_dict", "without torch"),
    "SummaryWriter": ("jaxdl.train.run(watch=)", "`jaxdl.tensorboard` has the single calls"),
    "torch.jit.save": ("jaxdl.export.save_bundle", "one file that others can run"),
    "torch.onnx.export": ("jaxdl.export.write_onnx", "also `write_stablehlo`"),
}


# %% [markdown]
# A table in a README rots: a function is renamed and nobody looks. This one is checked before it is
# shown. Each name on the right is looked up, and each argument must be one that the function has.


# %%
def check(target):
    name, _, arguments = target.partition("(")
    found = pydoc.locate(name)
    assert found is not None, name
    for argument in re.findall(r"(\w+)=", arguments):
        assert argument in inspect.signature(found).parameters, target


parts = {
    "Arrays and gradients": ARRAYS,
    "Models": MODELS,
    "Data": DATA,
    "Training": TRAINING,
    "Keeping": KEEPING,
}
lines = []
for title, table in parts.items():
    lines += ["", f"**{title}**", "", "| PyTorch | here | remark |", "|---|---|---|"]
    for torch_name, (target, remark) in table.items():
        check(target)
        lines.append(f"| `{torch_name}` | `{target}` | {remark} |")
num_rows = sum(map(len, parts.values()))
print(num_rows, "rows, every name and argument found")
assert num_rows >= 40
Markdown("\n".join(lines))

# %% [markdown]
# If you type a PyTorch name by habit, the error message has the row of the table:

# %%
for package, name in ((losses, "CrossEntropyLoss"), (optim, "CosineAnnealingLR")):
    try:
        getattr(package, name)
    except AttributeError as error:
        print(error)
        message = str(error)
assert "warmup_cosine" in message

# %% [markdown]
# Names that were never PyTorch's (`nn.Moudle`, `torch.one`, `optim.SGC`, all in published notes)
# are not in the table; there your editor's completion is the better help.
#
# ## How the notebooks hang together
#
# | notebooks | question |
# |---|---|
# | 01 to 05 | JAX itself: arrays, random keys, gradients, transformations, the inside |
# | 06, 07 | data and augmentation |
# | 08 to 10 | training: regression by hand, the loop, convolutional networks with BatchNorm |
# | 11, 12 | watching runs in TensorBoard, and sweeps of many runs in one program |
# | 13 to 16 | sequences, text, transformers, autoencoders |
# | 17 to 20 | generative adversarial networks, from four numbers to faces |
# | 21 to 24 | explaining, reinforcement learning, many devices, and models outside Python |
#
# 01 to 04 build on each other; after 04 take them in any order. Each notebook runs on a laptop
# without a GPU, ends with exercises whose solutions are folded away, and asserts every number that
# its text names. The files are written for reading in `notebooks/*.ipynb`; their sources, for
# changing, are `notebooks/src/*.py`.
#
# A project of your own needs no particular layout. Those in `experiments/` have one: a docstring
# with the command and what to expect, a dataclass of settings, a function `train` that is free of
# side effects, and a `main` that loads, trains, draws and prints.
#
# ## Exercises
#
# 1. Train with SGD, learning rate .1 and momentum .9, instead of Adam. What else has to change?
# 2. Compare the accuracy of `state` with `train=False` and `train=True`. Why do they differ?
# 3. Change one weight of `state` without changing `state`.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1: the optimizer and nothing else; a new state, because the optimizer's part differs
sgd = optim.sgd(0.1, momentum=0.9)
_, sgd_history = train.run(
    train.make_step(loss_fn, sgd),
    train.init_state(loss_fn, sgd, 0, training),
    training,
    num_epochs=1,
    batch_size=32,
    key=1,
    progress=False,
)
assert np.isfinite(sgd_history[-1]["train/loss"])

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: dropout sets activations to zero, and BatchNorm uses the statistics of the batch
x = preprocess(digits.test["image"])
quiet, _ = train.apply_model(model, state.params, state.model_state, x)
noisy, _ = train.apply_model(
    model, state.params, state.model_state, x, train=True, key=jax.random.key(0)
)
assert not jnp.allclose(quiet, noisy)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 3: make a new tree
bias = state.params["Dense_0"]["bias"]
dense = {**state.params["Dense_0"], "bias": bias.at[3].add(1.0)}
other = state.replace(params={**state.params, "Dense_0": dense})
assert other.params["Dense_0"]["bias"][3] == bias[3] + 1
assert state.params["Dense_0"]["bias"] is bias

# %% [markdown]
# **Next**: [01 · What changes when a tensor becomes an array?](01_arrays.ipynb)
