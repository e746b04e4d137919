# ---
# jupyter:
#   jaxdl:
#     covers: [R01, R02, R03, R04, R05, R06, R07, R24, R25, R27, K01, K02, K03, K04, K05, K06, K15,
#       K16, Q06]
#     outputs: [43, 91]
#     mistakes: [7, 8, 11, 12, 41, 60]
#     optimized: true
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · What does a training loop do?
#
# Take a batch, compute the loss and its gradient, update; at the end of an epoch, evaluate.
# Thirty lines do that, and here they are. Then come the things that thirty lines get wrong: the
# ragged last batch, the mean over batches, the best checkpoint, a run that is killed. `train.run`
# owns those, and gives the same weights as the thirty lines do, to the bit.
#
# *You need*: [03 · Autodiff](03_autodiff.ipynb). *Time*: half an hour to read, a minute to run.
# *What comes out*: PyTorch's quick start on Fashion-MNIST, epoch by epoch: 71, 76, 78, 79 and 80
# % of the test images (with the data set; without it, the same network on small digits).

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
import os
import shutil

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import checkpoint, data, interop, losses, metrics, models, optim, train, transforms, tree

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with Fashion-MNIST in it; None: small digits
clothes = data.load("digits" if data_dir is None else "fashion_mnist", data_dir)
num_epochs = 2 if small else 5

# %% [markdown]
# ## The five parts
#
# Data, model, loss, optimizer, iteration. The model is the quick start's: two hidden layers of
# 512 units (for images of 28 × 28 that makes 669,706 parameters), plain gradient descent, batches
# of 32.

# %%
images, labels = clothes.train["image"], clothes.train["label"]
model = models.MLP((512, 512, 10))
tx = optim.sgd(1e-3 if data_dir else 0.05)
shapes = jax.eval_shape(model.init, random.key(0), jnp.zeros((1, 28, 28, 1)))
print(f"{len(images):,} images, {tree.count(shapes):,} parameters for 28 × 28")
assert tree.count(shapes) == 669_706

preprocess = transforms.normalize(*data.mean_and_std(images))  # from bytes, on the device
loss_fn = train.supervised(
    model,
    losses.cross_entropy,
    metrics={"accuracy": metrics.accuracy},
    preprocess=preprocess,
)
start = train.init_state(loss_fn, tx, random.key(0), clothes.train)

# %% [markdown]
# ## By hand
#
# The state is one value: parameters, optimizer, step and key. The step is a pure function from
# state and batch to a new state; `jit` compiles it once. (In PyTorch `backward` computes
# gradients and the *optimizer* updates; notes that give both jobs to `backward` are wrong.)
#
# ```python
# # PyTorch
# model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
# optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
# x, y = torch.rand(32, 1, 8, 8), torch.randint(0, 10, (32,))
# optimizer.zero_grad()
# loss = torch.nn.functional.cross_entropy(model(x), y)
# loss.backward()
# before = model[1].weight.clone()
# optimizer.step()
# assert not torch.equal(model[1].weight, before)
# ```


# %%
def loss_of(params, x, y):
    logits = model.apply({"params": params}, preprocess(x))
    return losses.cross_entropy(logits, y).mean()


@jax.jit
def update(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_of)(params, x, y)
    changes, opt_state = tx.update(grads, opt_state, params)
    return jax.tree.map(jnp.add, params, changes), opt_state, loss


params, opt_state = start.params, start.opt_state
for first in range(0, 640, 32):  # twenty steps, in the order of the data
    params, opt_state, loss = update(
        params, opt_state, images[first : first + 32], labels[first : first + 32]
    )
print(f"loss {loss:.3f}")

# %% [markdown]
# The library's step does the same, and not only nearly. *How large is the largest difference?*

# %%
step = train.make_step(loss_fn, tx)
jitted = jax.jit(step)
state = start
for first in range(0, 640, 32):
    batch = {"image": images[first : first + 32], "label": labels[first : first + 32]}
    state, _ = jitted(state, batch)
difference = max(tree.max_difference(state.params, params).values())
print(f"largest difference after twenty steps: {difference:.0e}")
assert difference < 1e-6

# %% [markdown]
# ## What thirty lines get wrong: the last batch
#
# The test set rarely divides by the batch size. Averaging the means of the batches then gives the
# last, short batch too much weight. A metric in jaxdl is a **sum and a count**; sums add, and the
# division comes once, at the end. So the result is that of one large batch, whatever the size.

# %%
eval_fn = train.make_eval(loss_fn)
test = {name: array[:70] for name, array in clothes.test.items()}
pieces = [slice(0, 32), slice(32, 64), slice(64, 70)]


def mean_loss(where):
    return float(loss_of(state.params, test["image"][where], test["label"][where]))


of_means = np.mean([mean_loss(piece) for piece in pieces])
whole = mean_loss(slice(None))
by_library = [
    float(train.evaluate(eval_fn, state, test, batch_size=size)["loss"]) for size in (7, 32, 70)
]
print(f"mean of means {of_means:.4f}, right {whole:.4f}, library {np.round(by_library, 4)}")
np.testing.assert_allclose(by_library, whole, rtol=1e-5)
assert abs(of_means - whole) > 1e-5

# %% [markdown]
# An accuracy is a fraction: .71 is 71 %, not ".71 %", as one text prints it.
#
# ## The loop that you use
#
# `train.run` shuffles with a key per epoch, keeps what fits on the device, evaluates, shows
# progress, writes TensorBoard, saves, and returns the state with a history of one row per epoch.

# %%
options = {
    "num_epochs": num_epochs,
    "batch_size": 32,
    "key": random.key(1),
    "eval_fn": eval_fn,
    "eval_data": clothes.test,
    "progress": False,
}
state, history = train.run(step, start, clothes.train, workdir="first", **options)
for row in history:
    print(
        {
            name: round(row[name], 3)
            for name in ("epoch", "train/loss", "test/loss", "test/accuracy")
        }
    )
if data_dir and not small:
    reached = [row["test/accuracy"] for row in history]
    np.testing.assert_allclose(reached, [0.71, 0.76, 0.78, 0.79, 0.80], atol=0.025)
assert history[-1]["train/loss"] < history[0]["train/loss"]

# %%
fig, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
epochs = [row["epoch"] for row in history]
for name in ("train/loss", "test/loss"):
    axis.plot(epochs, [row[name] for row in history], marker="o", label=name)
axis.set(xlabel="epoch", ylabel="loss (nats)", xticks=epochs)
axis.legend()
plt.show()

# %% [markdown]
# Both curves still fall: five epochs at this rate are a beginning. The training loss of an epoch
# is a mean over its steps, so it lags half an epoch behind the test loss.
#
# **Predictions** are probabilities only after a softmax; the class is the largest logit either
# way. Evaluation needs no `no_grad`: nobody asks for a gradient. `train=False` is an argument of
# the call and not a mode of the model that can be forgotten; in evaluation BatchNorm uses its
# *running* averages, not statistics of the whole training set.

# %%
logits = model.apply({"params": state.params}, preprocess(clothes.test["image"][:3]))
probabilities = jax.nn.softmax(logits)
print(probabilities.argmax(1), clothes.test["label"][:3])
np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
assert jnp.array_equal(probabilities.argmax(1), logits.argmax(1))

# %% [markdown]
# ## Saving
#
# The run folder holds the last state and the best, chosen by the test loss or by `monitor`. A
# reload must give the *same* number. (A published text compares .5440 with .54597, of two
# different runs.)

# %%
variables, info = checkpoint.restore_weights("first")
again = start.replace(params=variables["params"])
values = [float(train.evaluate(eval_fn, s, clothes.test)["loss"]) for s in (state, again)]
print(values)
assert values[0] == values[1]

# %% [markdown]
# A state is a tree of named arrays, PyTorch's `state_dict`. For other programs there is
# safetensors, which runs no code when it is read, unlike a pickle of the whole model. Loading a
# part on purpose is a merge of two trees:

# %%
names = tree.named_leaves(state.params)
print({name: array.shape for name, array in names.items()})
interop.write_variables("weights.safetensors", {"params": state.params})
loaded = interop.read_variables("weights.safetensors")["params"]
other = start.params
merged = {**other, "Dense_0": loaded["Dense_0"]}  # the first layer only
assert jnp.array_equal(merged["Dense_0"]["kernel"], state.params["Dense_0"]["kernel"])
assert jnp.array_equal(merged["Dense_1"]["kernel"], other["Dense_1"]["kernel"])

# %% [markdown]
# ## Killed, and resumed
#
# Stop a run after its first epoch (here a hook says so; a signal or a power cut does too), and
# start it again with `resume=True`. *How much do the final weights differ from those of a run
# that was never stopped?*


# %%
def stop_after_one(end):
    return end.row["epoch"] == 1


train.run(step, start, clothes.train, workdir="second", hooks=[stop_after_one], **options)
resumed, rows = train.run(step, start, clothes.train, workdir="second", resume=True, **options)
difference = max(tree.max_difference(resumed.params, state.params).values())
print([row["epoch"] for row in rows], "difference", difference)
assert difference == 0

# %% [markdown]
# Nothing: the key of a step is a function of the step's number, and the order of an epoch one of
# the epoch's. A loop that carries a generator along has to save it, and most do not.
#
# ## Exercises
#
# 1. Train for ten epochs with batches of 64 and print only the error in percent.
# 2. Write the history as a table of your own, and find the epoch with the best test accuracy.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
more = {**options, "batch_size": 64, "num_epochs": 2 if small else 10}
_, rows = train.run(step, start, clothes.train, **more)
print(*(f"{100 - 100 * row['test/accuracy']:.1f} %" for row in rows))
best = max(rows, key=lambda row: row["test/accuracy"])
print("best epoch:", best["epoch"])
assert best["test/accuracy"] >= rows[0]["test/accuracy"]
shutil.rmtree("second")

# %% [markdown]
# **Next**: [10 · What does a network consist of?](10_networks.ipynb)
