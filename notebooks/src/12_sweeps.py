# ---
# jupyter:
#   jaxdl:
#     covers: [R09, R13, R14, R15, R16, R17, R19, R26, V09]
#     outputs: [74, 75, 76, 77, 78, 79, 92, 97]
#     mistakes: [15, 33, 34, 45]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Which settings are best?
#
# A training has settings that gradient descent does not learn: the learning rate and its schedule,
# the weight decay, the loss, the activation. Nobody can compute the best ones, so you train with
# many and compare. JAX can do that in **one** program: `vmap` over the settings turns one training
# into many that run side by side.
#
# *You need*: [09 · What does a training loop do?](09_training_loop.ipynb), [11 · What did the
# network do while it trained?](11_tensorboard.ipynb). *Time*: 45 minutes to read, two minutes to
# run. *What comes out*: 45 trainings in one program, a heat map of learning rate and decay, and
# what four refinements bring a simple classifier, alone and together: with MNIST from 88 % of the
# test images to 98 %.

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
import dataclasses
import os
from pathlib import Path

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import display
from jax import random

from jaxdl import config, data, losses, metrics, models, nn, optim, sweep, train, transforms, tree
from jaxdl.models.convnet import StridedConvNet

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with MNIST in it; None: small digits

# %% [markdown]
# ## A rate that changes
#
# A **schedule** is a function from the step to the learning rate. Nothing is called after an
# epoch, and nothing is stored. *Compute each of these before you look: a rate of .1 that shrinks
# by .9 each step and by .1 every 3 steps, at the steps 0 to 3.*


# %%
def values(schedule, steps):
    return np.asarray(schedule(jnp.asarray(steps)))


both = optim.chained(0.1, optim.exponential(1.0, 0.9), optim.step_decay(1.0, every=3))
print(values(both, range(4)))
np.testing.assert_allclose(values(both, range(4)), [0.1, 0.09, 0.081, 0.00729], rtol=1e-5)

slow = values(optim.step_decay(1e-3, every=30, factor=0.1), [0, 29, 30, 60])
np.testing.assert_allclose(slow, [1e-3, 1e-3, 1e-4, 1e-5], rtol=1e-5)
halved = values(optim.step_decay(1e-3, every=5, factor=0.5), range(10))
np.testing.assert_allclose(halved, [1e-3] * 5 + [5e-4] * 5, rtol=1e-5)

cosine = values(optim.warmup_cosine(1.0, 80), [0, 20, 40, 60, 80])
print(cosine.round(5))
np.testing.assert_allclose(cosine, [1, 0.85355, 0.5, 0.14645, 0], atol=1e-5)
steps = values(optim.multi_step(1.0, [50, 70]), [0, 49, 50, 69, 70, 79])
np.testing.assert_allclose(steps, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)
rising = values(optim.warmup(1.0, 10), range(12))
np.testing.assert_allclose(
    rising, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1], atol=1e-6
)

# %% [markdown]
# The third step multiplies by .1 as well: .1 · .9³ · .1 = .00729. The last schedule, $t/10$,
# starts at **zero**, so its first epoch learns nothing; `start_factor=0.1` starts at a tenth.
#
# In PyTorch a scheduler is an object that you step. The order matters, and old code has it wrong:
# with `scheduler.step()` *before* the training of an epoch, the first rate is never used.
#
# ```python
# # PyTorch
# weight = torch.nn.Parameter(torch.ones(1))
# optimizer = torch.optim.SGD([weight], lr=0.1)
# first = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
# second = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
# rates = []
# for epoch in range(4):
#     rates.append(optimizer.param_groups[0]["lr"])
#     optimizer.step()  # the training of the epoch
#     first.step()
#     second.step()
# assert torch.allclose(torch.tensor(rates), torch.tensor([0.1, 0.09, 0.081, 0.00729]))
# ```

# %%
drawn = {
    "step_decay, every 30": optim.step_decay(1.0, every=30),
    "warmup_cosine": optim.warmup_cosine(1.0, 80),
    "multi_step 50, 70": optim.multi_step(1.0, [50, 70]),
    "warmup from 0.1": optim.warmup(1.0, 10, start_factor=0.1),
    "exponential 0.95": optim.exponential(1.0, 0.95),
}
fig, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for name, schedule in drawn.items():
    axis.plot(values(schedule, range(81)), label=name, drawstyle="steps-post")
axis.set(xlabel="epoch", ylabel="share of the learning rate")
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
assert values(drawn["warmup from 0.1"], [0])[0] == np.float32(0.1)

# %% [markdown]
# A step decay waits and falls; a cosine falls slowly at both ends; an exponential is half after
# fourteen epochs. All of them count *updates*; `optim.per_epoch(schedule, steps_per_epoch)` makes
# them count epochs.
#
# ## A setting is a mapping
#
# A training function reads its settings by name. (A well-known example calls such a function with
# settings of its own and leaves out names that the function reads: a `KeyError`, after the data
# has been loaded.) Merge with defaults, and the names are complete. *What does `DEFAULTS |
# changes` keep of a name that both have?*

# %%
DEFAULTS = {
    "batch_size": 64, "learning_rate": 1e-3, "dropout_rate": 0.3, "num_epochs": 5,
    "weight_decay": 1e-5, "step_size": 2, "gamma": 0.5,
}  # fmt: skip
two = [
    {"batch_size": 32},
    {"learning_rate": 5e-4, "dropout_rate": 0.5, "weight_decay": 1e-4, "step_size": 3,
     "gamma": 0.2},
]  # fmt: skip
three = [
    {"num_epochs": 3, "learning_rate": 1e-4, "batch_size": size, "dropout_rate": dropout,
     "weight_decay": decay}
    for size, dropout, decay in ((32, 0.3, 1e-5), (64, 0.5, 1e-4), (128, 0.7, 1e-3))
]  # fmt: skip
try:
    two[1]["batch_size"]
except KeyError as error:
    print("KeyError:", error)
settings = [DEFAULTS | changes for changes in two + three]
assert all(set(setting) == set(DEFAULTS) for setting in settings)
assert [setting["batch_size"] for setting in settings] == [32, 64, 32, 64, 128]

# %% [markdown]
# The right one, the change. In a script the defaults are the fields of a dataclass, and each field
# is a flag; `config.main(main, Settings)` reads them. A flag that does not exist is an error. The
# same fields go to `config.json` in the run folder, so a run can be repeated.
#
# ```python
# # PyTorch
# import argparse
#
# parser = argparse.ArgumentParser()
# parser.add_argument("--learning_rate", type=float, default=1e-3)
# parser.add_argument("--num_epochs", type=int, default=5)
# options = parser.parse_args(["--learning_rate", "0.01"])
# assert (options.learning_rate, options.num_epochs) == (0.01, 5)
# ```


# %%
@dataclasses.dataclass(frozen=True)
class Settings(config.Run):
    learning_rate: float = 1e-3
    dropout_rate: float = 0.3


parsed = config.parse(Settings, ["--learning_rate", "0.01", "--num_epochs", "3"])
print(parsed)
assert (parsed.learning_rate, parsed.num_epochs, parsed.dropout_rate) == (0.01, 3, 0.3)
config.save(parsed, "settings/config.json")
assert config.load(Settings, "settings/config.json") == parsed

# %% [markdown]
# Templates of such scripts save the weights every *n* iterations. `train.run(workdir=…,
# save_every_seconds=30)` saves by the clock, and at the end of each epoch the best.
#
# Now the function that a sweep calls: from a key, a setting and the data to a state and a history.
# It is **pure**, so it can be compiled and vmapped. The data are split into three parts: the
# *validation* part chooses the setting, and the test part is looked at once, at the end. If the
# test set chose, its score would be too good.

# %%
digits = data.load("digits")
fitted, validation = data.random_split(dict(digits.train), [0.8, 0.2], 0, stratify="label")
parts = {"train": fitted, "validation": validation}
preprocess = transforms.normalize(*data.mean_and_std(fitted["image"]))
accuracy = {"accuracy": metrics.accuracy}
print({name: len(part["label"]) for name, part in parts.items()})


def train_setting(key, hparams, parts):
    rows = data.num_batches(len(fitted["label"]), hparams["batch_size"])
    decay = optim.step_decay(1.0, hparams["step_size"], hparams["gamma"])
    rate = optim.chained(hparams["learning_rate"], optim.per_epoch(decay, rows))
    tx = optim.adam(rate, weight_decay=hparams["weight_decay"])
    model = models.MLP((64, 10), dropout_rate=hparams["dropout_rate"])
    loss_fn = train.supervised(model, losses.cross_entropy, metrics=accuracy, preprocess=preprocess)
    start_key, order_key = random.split(key)
    start = train.init_state(loss_fn, tx, start_key, parts["train"])
    return train.fit(
        train.make_step(loss_fn, tx), start, parts["train"], num_epochs=hparams["num_epochs"],
        batch_size=hparams["batch_size"], key=order_key,
        eval_fn=train.make_eval(loss_fn), eval_data=parts["validation"],
    )  # fmt: skip


# %%
if small:  # traced only
    _, history = jax.eval_shape(lambda key: train_setting(key, settings[0], parts), random.key(0))
    assert history["test/loss"].shape == (5,)
else:
    found = sweep.sweep(train_setting, settings, parts, progress=False)
    print(found.table())
    assert found.history["test/loss"].shape == (5, 5)

# %% [markdown]
# (`fit` names whatever it evaluates `test/…`; here that is the validation part.) The last three,
# from an older version of the same example, hardly begin: three epochs at a rate of .0001 are too
# few for a thousand images. Five settings, and hardly two that differ in one thing only: the first
# has the smallest batch *and* the least dropout. So you learn which of the five was best, and not
# why. A grid answers that.
#
# ## Many trainings, one program
#
# Batch size, epochs, step size and dropout are numbers that the *program* depends on: each
# combination was compiled. A learning rate or a decay is only a value in it. `sweep` finds out
# which is which, and trains settings that share a program by `vmap`. *Five rates, three decays and
# three seeds: how many trainings, and how many programs?*


# %%
def train_one(key, hparams, parts, state=None, num_epochs=2 if small else 8):
    tx = optim.recipe(optim.adamw, **hparams, decay_vectors=False)
    start_key, order_key = random.split(key)
    if state is None:
        state = train.init_state(loss_fn, tx, start_key, parts["train"])
    return train.fit(
        train.make_step(loss_fn, tx), state, parts["train"], num_epochs=num_epochs, batch_size=128,
        key=order_key, eval_fn=train.make_eval(loss_fn), eval_data=parts["validation"],
    )  # fmt: skip


model = models.MLP((64, 10))
loss_fn = train.supervised(model, losses.cross_entropy, metrics=accuracy, preprocess=preprocess)
space = sweep.grid(learning_rate=[1e-4, 1e-3, 1e-2, 1e-1, 1.0], weight_decay=[0.0, 1e-2, 1.0])
num_seeds = 1 if small else 3
result = sweep.sweep(
    train_one,
    space,
    parts,
    seeds=range(num_seeds),
    method="vmap",
    chunk_size=45,
    workdir="runs/sweep",
    progress=False,
)
print(len(result.hparams), "trainings\n" + result.table(4))
assert len(result.hparams) == result.chunk_size == 5 * 3 * num_seeds

# %% [markdown]
# 45 trainings, one program. On a CPU with a few cores, training them at once is about twice as
# fast as one after the other; a GPU, which one small network leaves mostly idle, gains more. A
# member is the same as if it had been trained alone, up to rounding:

# %%
member = num_seeds * 4  # setting 4, seed 0
alone, history = jax.jit(train_one)(random.key(0), result.hparams[member], parts)
np.testing.assert_allclose(
    result.history["test/loss"][member], history["test/loss"], rtol=2e-3, atol=1e-4
)
print(result.hparams[member], result.history["test/loss"][member][-1].round(4))

# %%
figure = result.heat_map()
figure.set_dpi(70)
display(figure)
mean = result.history["test/loss"][:, -1].reshape(5, 3, num_seeds).mean(axis=2)
best_rate = [1e-4, 1e-3, 1e-2, 1e-1, 1.0][int(np.nanargmin(mean.min(axis=1)))]
print("best rate:", best_rate)
assert best_rate in (1e-2, 1e-1)
assert mean[0].min() > mean.min()

# %% [markdown]
# Each square is a mean over three seeds. (The title says test because `fit` does; it is the
# validation loss.) The rate decides: from left to right the loss falls, and rises again. The decay
# matters less, and how depends on the rate: a decay of 1 hurts at the two good rates, and helps at
# the rate that is too large. **Seeds matter**: a difference between two settings that is smaller
# than that between two seeds says nothing.

# %%
last = result.history["test/accuracy"][:, -1].reshape(5, 3, num_seeds)
fig, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for column, decay in enumerate((0.0, 1e-2, 1.0)):
    middle, spread = last[:, column].mean(axis=1), last[:, column].std(axis=1)
    axis.errorbar(np.arange(5) + 0.08 * column, middle, spread, fmt="o", label=f"decay {decay:g}")
axis.set(xlabel="learning rate", ylabel="validation accuracy", xticks=range(5))
axis.set_xticklabels(["0.0001", "0.001", "0.01", "0.1", "1"])
axis.legend()
plt.show()

# %% [markdown]
# The bars are standard deviations over the seeds. Where two bars overlap, the two settings are
# equally good as far as three seeds can tell.
#
# How much a seed decides shows best where it decides everything. The toy network below, 2 → 30 →
# 20 → 2, learns five points of the plane in three epochs of batches of two, at a rate of .5. Its
# published run has the seed 123 and these losses, and drops the fifth point of each epoch:
#
# ```python
# # PyTorch
# X = torch.tensor([[-1.2, 3.1], [-0.9, 2.9], [-0.5, 2.6], [2.3, -1.1], [2.7, -1.5]])
# y = torch.tensor([0, 0, 0, 1, 1])
# points = torch.utils.data.TensorDataset(X, y)
# torch.manual_seed(123)
# loader = torch.utils.data.DataLoader(points, batch_size=2, shuffle=True, drop_last=True)
# net = torch.nn.Sequential(
#     torch.nn.Linear(2, 30), torch.nn.ReLU(), torch.nn.Linear(30, 20), torch.nn.ReLU(),
#     torch.nn.Linear(20, 2),
# )
# optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
# found = []
# for epoch in range(3):
#     for batch, label in loader:
#         loss = torch.nn.functional.cross_entropy(net(batch), label)
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#         found.append(loss.item())
# expected = torch.tensor([0.75, 0.65, 0.44, 0.13, 0.03, 0.00])
# assert torch.allclose(torch.tensor(found), expected, atol=0.01)
# assert (net(X).argmax(1) == y).all()
# ```
#
# *How many of 200 seeds get the two test points right, all of them?* A `vmap` over seeds is a
# sweep without hyperparameters. (Here no point is dropped: the third batch has one point and one
# masked place.)

# %%
toy, unseen = data.synthetic.toy_points()
toy_loss = train.supervised(
    models.MLP((30, 20, 2)), losses.cross_entropy, metrics=accuracy, inputs="input"
)


def train_toy(seed):
    tx = optim.sgd(0.5)
    start = train.init_state(toy_loss, tx, random.key(seed), toy)
    return train.fit(
        train.make_step(toy_loss, tx), start, toy, num_epochs=3, batch_size=2, key=seed,
        eval_fn=train.make_eval(toy_loss), eval_data=unseen,
    )  # fmt: skip


_, history_of_seeds = jax.jit(jax.vmap(train_toy))(jnp.arange(200))
right = np.asarray(history_of_seeds["test/accuracy"][:, -1] == 1)
print(f"{right.sum()} of {len(right)} seeds get both test points right")
assert right.mean() > 0.9

# %% [markdown]
# Most, but not all: one run shows what can happen, and many runs show what does.
#
# The folder of the sweep holds one run folder per member, with settings and curves for
# TensorBoard's tab HPARAMS, and `best/`. Only now, the test set:

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

folders = sorted(Path("runs/sweep/members").iterdir())
events = EventAccumulator(str(folders[member])).Reload()
content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
written = metadata.parse_session_start_info_plugin_data(content).hparams
print(folders[member].name)
assert written["learning_rate"].number_value == result.hparams[member]["learning_rate"]
assert len(folders) == len(result.hparams)

score = train.evaluate(train.make_eval(loss_fn), result.state, dict(digits.test))
print(f"test accuracy of the best: {score['accuracy']:.3f}")
if not small:
    assert score["accuracy"] > 0.93

# %% [markdown]
# ## Draw, and stop early
#
# A grid of five settings has five values. **Random** settings try a new value of each name every
# time, which is better if only one of the names matters. **Successive halving** trains all for one
# epoch, the better half for two, the better half of those for four. *How many epochs do eight
# settings take together, instead of 32?*

# %%
drawn = sweep.random_search(
    8, random.key(0),
    learning_rate=sweep.log_uniform(1e-4, 1.0), weight_decay=sweep.log_uniform(1e-4, 1.0),
)  # fmt: skip
assert len(drawn) == 8
if not small:  # another program to compile
    halved = sweep.sweep(train_one, drawn, parts, halving=(1, 2, 4), progress=False)
    print(halved.table(3))
    print("epochs:", sorted(halved.num_epochs.tolist()))
    assert halved.num_epochs.sum() == 4 * 1 + 2 * 2 + 2 * 4 == 16
    assert halved.num_epochs[halved.best] == 4

# %% [markdown]
# 16. Halving assumes that a setting that is good after one epoch is good in the end. A small rate
# is slow at first and may be stopped unjustly.
#
# ## What decays?
#
# Weight decay is for matrices; biases and the scales of norms are usually left out. In PyTorch you
# make two **groups**. A well-known example writes the key `"parameters"` where the optimizer wants
# `"params"`, a `KeyError`; and it makes both lists with generators, which are empty when they are
# read a second time.
#
# ```python
# # PyTorch
# net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
# matrices = [p for p in net.parameters() if p.ndim > 1]
# vectors = [p for p in net.parameters() if p.ndim == 1]
# groups = [{"params": matrices, "weight_decay": 1e-2}, {"params": vectors, "weight_decay": 0}]
# torch.optim.SGD(groups, lr=0.1)
# try:
#     torch.optim.SGD([{"parameters": matrices}], lr=0.1)
#     raise AssertionError
# except KeyError:
#     pass
# once = (p for p in net.parameters())
# assert len(list(once)) == 4 and len(list(once)) == 0
# ```
#
# Here `decay_vectors=False` says it. *With a gradient of zero, which parameters does one step
# change?*

# %%
params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 2.0)}
tx = optim.recipe(optim.sgd, 0.1, weight_decay=0.5, decay_vectors=False)
updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
print(updates)
np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 2)
np.testing.assert_array_equal(updates["bias"], 0)

# %% [markdown]
# The kernel only: $-.1 · .5 · 2$. An **L1** penalty adds $λ \sum |w|$ to the loss and makes many
# weights zero. (The code of a well-known course creates an L1 criterion that it never uses, sums
# over the biases too, and forgets $λ$.)

# %%
signed = {"kernel": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "bias": jnp.array([5.0, 5.0])}
penalty = losses.l1_penalty(signed, "kernel$")
everything = sum(jnp.abs(leaf).sum() for leaf in signed.values())
print(penalty, everything)
assert (penalty, everything) == (6, 16)
slope = jax.grad(lambda params: 0.01 * losses.l1_penalty(params, "kernel$"))(signed)
np.testing.assert_allclose(slope["kernel"], [[0.01, -0.01], [0, 0.01]], rtol=1e-6)
np.testing.assert_array_equal(slope["bias"], 0)

# %% [markdown]
# ## The simplest classifier, one image at a time
#
# A first network for digits: 784 → 200 → 10 with sigmoids, squared errors, plain gradient descent
# with rate .01, and an update after **each** image. In Python that is a loop with a counter; in
# JAX it is a `scan` over the images. Four refinements are known to help: cross entropy as loss,
# LeakyReLU as activation, LayerNorm after it, and Adam as optimizer. They are switches, and a
# switch that is a *number* is a hyperparameter that needs no program of its own.

# %%
handwritten = data.load("digits" if data_dir is None else "mnist", data_dir)
if data_dir is None:  # 8 × 8 pixels become 28 × 28

    def enlarge(split):
        images = split["image"].repeat(4, axis=1).repeat(4, axis=2)
        return split | {"image": images[:, 2:-2, 2:-2]}

    handwritten = handwritten._replace(
        train=enlarge(handwritten.train), test=enlarge(handwritten.test)
    )
images, test = dict(handwritten.train), dict(handwritten.test)
if small:
    images, test = ({k: v[:100] for k, v in split.items()} for split in (images, test))
print(images["image"].shape, test["image"].shape)


# %%
class Classifier(linen.Module):
    activation: jax.Array | bool = False
    norm: jax.Array | bool = False

    @linen.compact
    def __call__(self, x):
        x = nn.Dense(200)(nn.flatten(x))
        x = jnp.where(self.activation, linen.leaky_relu(x, 0.02), linen.sigmoid(x))
        x = jnp.where(self.norm, linen.LayerNorm(epsilon=1e-5)(x), x)
        return nn.Dense(10)(x)


def one_hot_loss(entropy):
    """Mean over ten outputs: cross entropy where ``entropy`` is true, else squared error."""

    def loss(logits, labels):
        targets = jax.nn.one_hot(labels, 10)
        squared = losses.squared_error(linen.sigmoid(logits), targets)
        return jnp.where(entropy, losses.binary_cross_entropy(logits, targets), squared)

    return loss


# %%
def choose(adam):
    """Adam where ``adam`` is true, else gradient descent."""
    both = optim.sgd(0.01), optim.adam(1e-3)

    def update(grads, states, params):
        pairs = [tx.update(grads, state, params) for tx, state in zip(both, states, strict=True)]
        updates = jax.tree.map(lambda a, b: jnp.where(adam, b, a), *(pair[0] for pair in pairs))
        return updates, tuple(pair[1] for pair in pairs)

    return optax.GradientTransformation(lambda params: tuple(t.init(params) for t in both), update)


def make(network, entropy, tx, key=0):
    """Loss, step and first state of a classifier."""
    loss = train.supervised(
        network, one_hot_loss(entropy), metrics=accuracy, preprocess=transforms.to_float
    )
    return loss, train.make_step(loss, tx), train.init_state(loss, tx, key, images)


# %% [markdown]
# The plain one first. *What does a network with ten sigmoids and squared errors learn from the
# first few hundred images?*

# %%
loss_fn, step, state = make(Classifier(), False, optim.sgd(0.01))


def one(state, example):
    state, found = step(state, {name: array[None] for name, array in example.items()})
    return state, found["loss"].total


epoch = jax.jit(lambda state, images: jax.lax.scan(one, state, images))
curve, number = np.zeros(0), len(images["label"])
for _ in range(1 if small else 4):
    state, found = epoch(state, images)
    curve = np.append(curve, found)
report = min(10_000, number // 4)
for every in (min(100, report), report):
    for counter in range(every, len(curve) + 1, every)[:6]:
        print(f"{counter:,} images: loss {curve[counter - every : counter].mean():.4f}")

# %%
evaluate = train.make_eval(loss_fn)
plain = float(train.evaluate(evaluate, state, test)["accuracy"])
print(f"{plain:.4f} of {len(test['label']):,} test images")
assert int(state.step) == len(curve)
if data_dir and not small:
    np.testing.assert_allclose(plain, 0.88, atol=0.02)

# %%
fig, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.plot(np.arange(0, len(curve), 10), curve[::10], ".", markersize=1, alpha=0.3)
means = curve[: len(curve) // report * report].reshape(-1, report).mean(axis=1)
axis.plot((np.arange(len(means)) + 0.5) * report, means, color="tab:red", label="mean")
axis.set(xlabel="images", ylabel="squared error", ylim=(0, 0.3))
axis.legend()
plt.show()
assert means[-1] < curve[:50].mean()

# %% [markdown]
# At first it learns only that nine of ten outputs are zero: within 600 images the error falls to
# .09, where it stays for some 20,000. Then it learns digits. The points are single images, some of
# which it gets wrong to the end.
#
# ## Which refinement helps?
#
# The same classifier with each refinement alone and with all four, three seeds each, as a sweep of
# one program, on the first images only. *Which one will bring most?*

# %%
names = ("loss", "activation", "norm", "optimizer")
space = [dict.fromkeys(names, 0.0)]
space += [space[0] | {name: 1.0} for name in names]
space += [dict.fromkeys(names, 1.0)]
labels = ("none", *names, "all")
count = 100 if small else 1400
few = {"train": {name: array[:count] for name, array in images.items()}, "test": test}


def refine(key, hparams, arrays):
    network = Classifier(hparams["activation"] > 0, hparams["norm"] > 0)
    loss_fn, step, state = make(network, hparams["loss"] > 0, choose(hparams["optimizer"] > 0), key)
    return train.fit(
        step, state, arrays["train"], num_epochs=1 if small else 3, batch_size=10, key=key,
        eval_fn=train.make_eval(loss_fn), eval_data=arrays["test"],
    )  # fmt: skip


compared = sweep.sweep(
    refine, space, few, seeds=range(1 if small else 3), monitor="test/accuracy", mode="max",
    method="vmap", progress=False,
)  # fmt: skip
reached = compared.history["test/accuracy"][:, -1].reshape(6, -1)
for label, row in zip(labels, reached, strict=True):
    print(f"{label:10} {row.mean():.3f} ± {row.std():.3f}")
assert reached.shape[0] == 6
assert reached[-1].mean() > reached[0].mean()
if not small:
    assert reached[-1].mean() > 0.8

# %%
fig, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.bar(labels, reached.mean(axis=1), yerr=reached.std(axis=1))
axis.set(xlabel="refinement", ylabel="test accuracy", ylim=(0, 1))
plt.show()

# %% [markdown]
# From 1,400 images and three epochs the plain classifier learns nearly nothing, because its steps
# are small. Adam alone brings most, then LayerNorm; both make the steps larger where they matter.
# The loss and the activation alone bring hardly anything *here*: they need the others. All four
# together are best. A comparison one by one does not tell what a combination does.
#
# ## All together, and a convolution
#
# With all four the classifier reaches .9724 of MNIST's test images in three epochs, where plain
# descent has .88 after four. A small **convolutional** network with 3,720 parameters, a fortieth,
# does better: two convolutions with stride 2 (10 channels each, kernels of 5 and 3 pixels),
# LeakyReLU, and BatchNorm *after* the activation. *How large are its maps?* (Batches of ten
# instead of single images, to save time.)
#
# ```python
# # PyTorch
# net = torch.nn.Sequential(
#     torch.nn.Conv2d(1, 10, 5, stride=2), torch.nn.LeakyReLU(0.02), torch.nn.BatchNorm2d(10),
#     torch.nn.Conv2d(10, 10, 3, stride=2), torch.nn.LeakyReLU(0.02), torch.nn.BatchNorm2d(10),
#     torch.nn.Flatten(), torch.nn.Linear(250, 10), torch.nn.Sigmoid(),
# )
# assert sum(p.numel() for p in net.parameters()) == 3720
# assert net[:3](torch.zeros(2, 1, 28, 28)).shape == (2, 10, 12, 12)
# assert net[:6](torch.zeros(2, 1, 28, 28)).shape == (2, 10, 5, 5)
# ```

# %%
network = StridedConvNet()
image = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
variables = jax.eval_shape(network.init, random.key(0), image)
found = jax.eval_shape(lambda v, x: nn.features(network, v, x), variables, image)
print({name: leaf.shape for name, leaf in found.items()})
assert tree.count(variables["params"]) == 3_720
assert found["bn1"].shape[1:] == (12, 12, 10)
assert found["bn2"].shape[1:] == (5, 5, 10)

# %%
scores = {"plain, single images": plain}
for name, network in (("refined", Classifier(True, True)), ("convolutions", StridedConvNet())):
    loss_fn, step, state = make(network, True, optim.adam(1e-3))
    if small and name == "refined":
        continue  # the sweep has compiled the same
    options = {"eval_fn": train.make_eval(loss_fn), "eval_data": test, "progress": False}
    state, history = train.run(
        step, state, images, num_epochs=1 if small else 3, batch_size=10, key=0, **options
    )
    scores[name] = history[-1]["test/accuracy"]
print({name: round(score, 4) for name, score in scores.items()})
if data_dir and not small:
    np.testing.assert_allclose(scores["refined"], 0.9724, atol=0.01)
    np.testing.assert_allclose(scores["convolutions"], 0.9814, atol=0.01)

# %% [markdown]
# Maps of 12 × 12 and 5 × 5, so 250 features. On MNIST the three end at about .88, .97 and .98: the
# refinements leave a fifth of the errors, and the convolutions, with a fortieth of the parameters,
# fewer still.
#
# ## Ask it about one image

# %%
ask = jax.jit(
    lambda variables, image: linen.sigmoid(network.apply(variables, transforms.to_float(image)))
)
answers = ask({"params": state.params, **state.model_state}, test["image"][:1])[0]
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.2), layout="constrained", width_ratios=(1, 2))
left.imshow(test["image"][0, ..., 0], cmap="gray")
left.set_axis_off()
right.bar(range(10), answers)
right.set(xlabel="class", ylabel="output", xticks=range(10), ylim=(0, 1))
plt.show()
assert answers.shape == (10,)
if not small:
    assert int(answers.argmax()) == test["label"][0]

# %% [markdown]
# Ten sigmoids are ten separate answers; they need not sum to 1. The class is the largest.
#
# ## Exercises
#
# 1. Write a schedule of your own: rise in a line for 5 epochs, stay, and fall in a line in the last
#    5 of 40. (A schedule is any function of the step.)
# 2. From the first sweep: for each seed, which rate was best? Do the seeds agree?


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1
def trapezoid(step):
    return jnp.minimum(1.0, jnp.minimum((step + 1) / 5, (40 - step) / 5))


print(values(trapezoid, [0, 4, 20, 35, 39]))
np.testing.assert_allclose(values(trapezoid, [0, 4, 20, 35, 39]), [0.2, 1, 1, 1, 0.2], rtol=1e-6)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 2
table = result.history["test/loss"][:, -1].reshape(5, 3, num_seeds)  # rate, decay, seed
best_rates = np.nanmin(table, axis=1).argmin(axis=0)
print("number of the best rate by seed:", best_rates)
assert best_rates.shape == (num_seeds,)
assert np.ptp(best_rates) <= 1

# %% [markdown]
# **Next**: [13 · How does a network read a sequence?](13_sequences.ipynb)
