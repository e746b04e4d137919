# ---
# jupyter:
#   jaxdl:
#     covers: [M18, M27, L23]
#     outputs: [50, 54]
#     mistakes: [38]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · How does a network read a sequence?
#
# A sentence, a sound or a curve has no fixed length, and its order matters. A **recurrent**
# network reads it step by step and keeps a state: what it has understood so far. Here you write
# the most used one, the LSTM, as a `scan`; give it images row by row, and sentences of different
# lengths; and see why plain recurrent networks forget.
#
# *You need*: [04 · Transformations](04_transformations.ipynb) for `scan`, [09 · What does a
# training loop do?](09_training_loop.ipynb). *Time*: 40 minutes to read, half a minute to run.
# *What comes out*: LSTM equations that agree with PyTorch to six digits, a network of 26,602
# parameters for images of 28 × 28, which also reads 98 % of the small digits row by row, and a
# picture of gradients that vanish over 100 steps, and of one that does not.

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

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import data, losses, metrics, models, nn, optim, train, transforms, tree

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## One step
#
# A plain recurrent network mixes the new input with the old state: $h_t = \tanh(W x_t + b + U
# h_{t-1} + d)$. The **LSTM** keeps a second state, the cell $c$, and three gates between 0 and 1
# decide what happens to it: how much to **forget**, how much of the **input** to write, how much
# to show as **output**.
#
# $$i, f, o = \sigma(W x_t + b + U h_{t-1} + d) \qquad g = \tanh(W x_t + b + U h_{t-1} + d)$$
# $$c_t = f\, c_{t-1} + i\, g \qquad h_t = o \tanh(c_t)$$
#
# Each of the four has a quarter of $W$, $U$, $b$ and $d$ of its own, in the order i, f, g, o. (Two
# biases are one too many, but PyTorch has them, and so has this library.) The weights below are
# values of a sine, so that every program can make the same.


# %%
def wave(*shape):
    return jnp.sin(jnp.arange(float(np.prod(shape)))).reshape(shape)


H = 4
params = {
    "kernel_ih_l0": wave(3, 4 * H), "kernel_hh_l0": wave(H, 4 * H) / 2,
    "bias_ih_l0": wave(4 * H), "bias_hh_l0": wave(4 * H) / 2,
}  # fmt: skip
x = jnp.cos(jnp.arange(2.0 * 5 * 3)).reshape(2, 5, 3)  # two sequences of five steps


def lstm_step(state, now):
    h, c = state
    gates = now @ params["kernel_ih_l0"] + h @ params["kernel_hh_l0"]
    gates += params["bias_ih_l0"] + params["bias_hh_l0"]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


start = (jnp.zeros((2, H)), jnp.zeros((2, H)))
(h, c), outputs = jax.lax.scan(lstm_step, start, x.swapaxes(0, 1))
outputs = outputs.swapaxes(0, 1)
print(outputs[0, -1])

# %% [markdown]
# `scan` runs over the first axis, so time goes there and back. The library's layer does the same,
# with one large product for all inputs before the loop. *Do the numbers agree?*

# %%
layer = nn.LSTM(H)
library, (last_h, last_c) = layer.apply({"params": params}, x)
np.testing.assert_allclose(outputs, library, atol=1e-6)
np.testing.assert_allclose(last_c[0], c, atol=1e-6)
np.testing.assert_allclose(library[:, -1], last_h[0], atol=1e-6)
known = [0.1447863, 0.3165806, -0.5456015, -0.6727226]
np.testing.assert_allclose(outputs[0, -1], known, atol=1e-5)

# %% [markdown]
# ```python
# # PyTorch
# def wave(*shape):
#     count = torch.Size(shape).numel()
#     return torch.sin(torch.arange(float(count))).reshape(shape)
#
# lstm = torch.nn.LSTM(3, 4, batch_first=True)
# with torch.no_grad():
#     lstm.weight_ih_l0.copy_(wave(3, 16).T)
#     lstm.weight_hh_l0.copy_(wave(4, 16).T / 2)
#     lstm.bias_ih_l0.copy_(wave(16))
#     lstm.bias_hh_l0.copy_(wave(16) / 2)
# x = torch.cos(torch.arange(30.0)).reshape(2, 5, 3)
# outputs, (h, c) = lstm(x)
# assert outputs.shape == (2, 5, 4)  # batch, time, hidden
# assert h.shape == (1, 2, 4)  # layers, batch, hidden: batch_first does not change it
# known = torch.tensor([0.1447863, 0.3165806, -0.5456015, -0.6727226])
# assert torch.allclose(outputs[0, -1], known, atol=1e-5)
# ```
#
# The shapes are (batch, time, hidden) for the outputs and (layers, batch, hidden) for the states.
# The comments of a well-known recipe name the axes of the output as (time, batch, hidden) although
# it sets `batch_first=True`; its code takes the right axis, and the reader the wrong one.

# %%
assert library.shape == (2, 5, 4)
assert last_h.shape == last_c.shape == (1, 2, 4)
three = {"LSTM": nn.LSTM(H), "GRU": nn.GRU(H), "RNN": nn.RNN(H)}
sizes = {
    name: tree.count(jax.eval_shape(layer.init, random.key(0), x)) for name, layer in three.items()
}
print(sizes)
assert sizes == {"LSTM": 4 * 36, "GRU": 3 * 36, "RNN": 36}

# %% [markdown]
# A **GRU** has three sets of weights and no second state, a plain network one: 4 · (3 + 4 + 2) =
# 36 numbers per set.
#
# ## An image is a sequence of rows
#
# The usual first example reads an MNIST image row by row: 28 steps of 28 numbers, an LSTM with 64
# units, its last output through BatchNorm, dropout and two dense layers. *How many parameters has
# the LSTM? Four sets of (28 + 64 + 2) · 64.*

# %%
image = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
variables = jax.eval_shape(models.RecurrentClassifier().init, random.key(0), image)
sizes = {name: tree.count(leaf) for name, leaf in variables["params"].items()}
print(sizes, tree.count(variables["params"]))
assert sizes["LSTM_0"] == 4 * 64 * (28 + 64 + 2) == 24_064
assert tree.count(variables["params"]) == 26_602

rows = jax.ShapeDtypeStruct((2, 28, 28), "float32")
other = linen.RNN(linen.OptimizedLSTMCell(64))
linen_size = tree.count(jax.eval_shape(other.init, random.key(0), rows))
print("Linen's cell:", linen_size, "of", 26_602 - 24_064 + linen_size)
assert linen_size == 23_808
assert 26_602 - 24_064 + linen_size == 26_346

# %% [markdown]
# Linen's cell has one bias per gate, 256 numbers less, and computes the same functions.
#
# Without a download there are the small digits: eight rows of eight numbers. The same model takes
# them, because a recurrent network does not know how long its input is.

# %%
digits = data.load("digits")
if small:
    few = [{name: array[:128] for name, array in split.items()} for split in digits[1:3]]
    digits = digits._replace(train=few[0], test=few[1])
preprocess = transforms.normalize(*data.mean_and_std(digits.train["image"]))
model = models.RecurrentClassifier(hidden_size=16 if small else 64)
loss_fn = train.supervised(
    model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
)
num_epochs = 2 if small else 30
rate = optim.warmup_cosine(5e-3, num_epochs * data.num_batches(len(digits.train["label"]), 64))
tx = optim.adam(rate)
state = train.init_state(loss_fn, tx, random.key(0), digits.train)
evaluate = train.make_eval(loss_fn)
step = train.make_step(loss_fn, tx)


@jax.jit
def train_on(state, arrays):
    return train.fit(
        step, state, arrays["train"], num_epochs=num_epochs, batch_size=64, key=random.key(1),
        eval_fn=evaluate, eval_data=arrays["test"],
    )  # fmt: skip


state, history = train_on(state, {"train": digits.train, "test": digits.test})
final = float(history["test/accuracy"][-1])
print(f"test accuracy {final:.3f}")
if not small:
    assert final > 0.93

# %% [markdown]
# The state after *k* rows can be asked as well. *After how many of eight rows would you recognize
# a digit?*


# %%
@jax.jit
def accuracy_of(state, images, labels):
    variables = {"params": state.params, **state.model_state}
    logits = model.apply(variables, preprocess(images))
    return metrics.accuracy(logits, labels).mean()


test = digits.test
counts = (2, 8) if small else range(1, 9)
reached = [float(accuracy_of(state, test["image"][:, :k], test["label"])) for k in counts]
fig, axis = plt.subplots(figsize=(5, 2.8), layout="constrained")
axis.plot(counts, reached, marker="o")
axis.axhline(0.1, color="gray", linestyle="--", linewidth=0.8, label="guessing")
axis.set(xlabel="rows read", ylabel="test accuracy", ylim=(0, 1))
axis.legend()
plt.show()
np.testing.assert_allclose(reached[-1], final, atol=1e-5)
if not small:
    assert reached[0] < 0.4 < reached[-1]

# %% [markdown]
# Hardly any before the seventh: it was trained to answer after eight rows, and nobody asked it to
# have an opinion earlier. A network that should answer at each step needs a loss at each step.
#
# ## Sequences of different lengths
#
# A batch is one array, so short sequences are **padded**. The padding must not count: the state
# after three real steps and two of padding must be the state after three steps. PyTorch packs
# sequences for that; here the layer takes the lengths. *What are the outputs after the end?*

# %%
lengths = jnp.array([5, 3])
padded, (h_padded, _) = layer.apply({"params": params}, x, lengths=lengths)
short, (h_short, _) = layer.apply({"params": params}, x[1:, :3])
np.testing.assert_allclose(h_padded[:, 1], h_short[:, 0], atol=1e-6)
np.testing.assert_allclose(padded[1, :3], short[0], atol=1e-6)
np.testing.assert_array_equal(padded[1, 3:], 0)
garbage = x.at[1, 3:].set(1e6)
again, _ = layer.apply({"params": params}, garbage, lengths=lengths)
np.testing.assert_array_equal(again, padded)
unmasked, _ = layer.apply({"params": params}, x)
print(np.abs(unmasked[1, -1] - padded[1, 2]).max(), "off without lengths")
assert np.abs(unmasked[1, -1] - padded[1, 2]).max() > 0.01

# %% [markdown]
# Zero; and whatever stands in the padding, even a million, changes no bit. The last real output is
# at another place for each sequence: `outputs[b, lengths[b] - 1]`, which is also the final state.
#
# ```python
# # PyTorch
# from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
#
# lengths = torch.tensor([5, 3])
# packed = pack_padded_sequence(x, lengths, batch_first=True)
# padded, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True)
# short, _ = lstm(x[1:, :3])
# assert torch.allclose(padded[1, :3], short[0], atol=1e-6)
# assert (padded[1, 3:] == 0).all()
# ```
#
# **Both directions**: a second layer reads from the end, and the outputs are concatenated. It must
# begin at the last *real* step, which is where a plain reversal of the array goes wrong.

# %%
both = nn.LSTM(H, bidirectional=True)
backward = {f"{name}_reverse": leaf for name, leaf in params.items()}
outputs, (states, _) = both.apply({"params": {**params, **backward}}, x, lengths=lengths)
print(outputs.shape, states.shape)
assert outputs.shape == (2, 5, 2 * H)
np.testing.assert_allclose(outputs[..., :H], padded, atol=1e-6)
reversed_short, (h_reversed, _) = layer.apply({"params": params}, x[1:, 2::-1])
np.testing.assert_allclose(states[1, 1], h_reversed[0, 0], atol=1e-6)
np.testing.assert_allclose(outputs[1, :3, H:], reversed_short[0, ::-1], atol=1e-6)

# %% [markdown]
# ## Words are rows of a table
#
# A network reads numbers. A **vocabulary** gives each word an index, and an **embedding** is a
# table with one row per index; the rows are parameters like all others. A lookup keeps the shape
# of the indices and adds an axis.

# %%
table = nn.Embed(10, 3)
rows, variables = table.init_with_output(random.key(0), jnp.array([[1, 2, 4, 5], [4, 3, 2, 9]]))
matrix = variables["params"]["embedding"]
print(rows.shape, matrix.shape)
assert rows.shape == (2, 4, 3)
np.testing.assert_array_equal(rows[0, 2], rows[1, 0])  # both are row 4
one_hot = jax.nn.one_hot(jnp.array([[1, 2, 4, 5]]), 10)
np.testing.assert_allclose(one_hot @ matrix, rows[:1], atol=1e-6)

# %% [markdown]
# A lookup is a product with a one-hot vector, without the product. Now a sentence; it ends with a
# sign of its own, and index 0 is kept for padding, whose row is zero and stays so. *Which places
# of [0, 2, 0, 5] are zero?*

# %%
words = {"<pad>": 0, "<eos>": 1, "i": 3, "am": 6, "a": 5, "boy": 10}
ids = [words[word] for word in ("i", "am", "a", "boy")] + [words["<eos>"]]
batch, mask = data.pad_sequences([ids, [3, 6, 1]])
print(batch, mask.sum(axis=1), sep="\n")
assert ids == [3, 6, 5, 10, 1]
assert batch.tolist() == [[3, 6, 5, 10, 1], [3, 6, 1, 0, 0]]

table = nn.Embed(10, 3, padding_index=0)
rows, variables = table.init_with_output(random.key(0), jnp.array([[0, 2, 0, 5]]))
print(rows.round(2))
assert rows.shape == (1, 4, 3)
np.testing.assert_array_equal(rows[0, [0, 2]], 0)
assert (rows[0, [1, 3]] != 0).all()


# %%
def loss_of(variables, indices, **options):
    return (nn.Embed(10, 3, **options).apply(variables, indices) ** 2).sum() / 2


indices = jnp.array([[0, 2, 2, 5]])
grads = jax.grad(loss_of)(variables, indices, padding_index=0)["params"]["embedding"]
print(grads.round(2)[:6])
table_now = variables["params"]["embedding"]
np.testing.assert_array_equal(grads[0], 0)  # padding
np.testing.assert_allclose(grads[2], 2 * table_now[2], rtol=1e-5)  # twice in the sentence
ones = {"params": {"embedding": table_now.at[0].set(1.0)}}
kept = jax.grad(loss_of)(ones, indices, padding_index=0)["params"]["embedding"]
np.testing.assert_array_equal(kept[0], 0)
np.testing.assert_array_equal(table.apply(ones, indices)[0, 0], 1)

# %% [markdown]
# The padding row gets no gradient, also when you set it to ones: it is a constant. A word that
# stands twice gets the sum of both gradients; `scale_grad_by_freq` divides by two. `max_norm`
# shortens rows that are too long, in the norm `norm_type`. PyTorch's `sparse=True`, gradients only
# for the rows that were used, does not exist here: in a compiled step the dense gradient is an
# ordinary array.

# %%
by_count = jax.grad(loss_of)(variables, indices, padding_index=0, scale_grad_by_freq=True)
np.testing.assert_allclose(by_count["params"]["embedding"][2], table_now[2], rtol=1e-5)
short = nn.Embed(10, 3, max_norm=0.5, norm_type=2.0).apply(variables, jnp.arange(1, 10))
norms = jnp.linalg.norm(short, axis=-1)
print(norms.round(3))
assert (norms <= 0.5 + 1e-5).all()

# %% [markdown]
# ```python
# # PyTorch
# table = torch.nn.Embedding(10, 3, padding_idx=0)
# rows = table(torch.tensor([[0, 2, 0, 5]]))
# assert rows.shape == (1, 4, 3)
# assert (rows[0, [0, 2]] == 0).all()
# with torch.no_grad():
#     table.weight[0] = torch.ones(3)
# table(torch.tensor([[0, 2, 2, 5]])).pow(2).sum().div(2).backward()
# assert (table.weight.grad[0] == 0).all()
# assert torch.allclose(table.weight.grad[2], 2 * table.weight[2])
# ```
#
# ## Why plain networks forget
#
# How much does the last state depend on the input of an early step? That is a gradient, and
# through $t$ steps it is a product of $t$ matrices. If they shrink, it vanishes. *Three layers
# with fresh weights, 100 steps. Which gradient will survive? The fourth is the LSTM with 3 added
# to the bias of its forget gate, so that it keeps 95 % of its cell at each step.*

# %%
steps, width = (30, 8) if small else (100, 32)
sequence = random.normal(random.key(1), (1, steps, width))


def make_reach(layer):
    """Function of variables: largest gradient of the last output by the input of each step."""

    def last(x, variables):
        return layer.apply(variables, x)[0][0, -1].sum()

    grad = jax.jit(jax.grad(last))
    return lambda variables: np.asarray(jnp.abs(grad(sequence, variables)[0]).max(axis=-1))


found = {}
layers = {"RNN": nn.RNN(width), "GRU": nn.GRU(width), "LSTM": nn.LSTM(width)}
for name, layer in layers.items():
    reach, variables = make_reach(layer), jax.jit(layer.init)(random.key(0), sequence)
    found[name] = reach(variables)
bias = variables["params"]["bias_ih_l0"].at[width : 2 * width].add(3.0)
found["LSTM that keeps"] = reach({"params": {**variables["params"], "bias_ih_l0": bias}})
for name, sizes in found.items():
    print(f"{name:16} {steps} steps before the end {sizes[0]:.0e}, at the end {sizes[-1]:.1f}")
assert found["RNN"][0] < 1e-3 * found["RNN"][-1]
assert found["LSTM that keeps"][0] > 1e3 * found["LSTM"][0]

# %%
fig, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
for name, sizes in found.items():
    axis.semilogy(np.arange(steps, 0, -1), sizes, label=name)
axis.set(xlabel="steps before the end", ylabel="largest gradient")
axis.invert_xaxis()
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# A straight line on this axis is a product of equal factors. The plain network loses more than
# half of the gradient at each step, so it cannot learn what depends on an input 30 steps away.
# Fresh GRU and LSTM gates stand half open, and lose about a third. The red one keeps its cell, and
# the gradient of the first step is as large as that of the last. So the gates are not enough;
# their *bias* decides, and many libraries start the forget gate with a bias of 1. The opposite, a
# product that grows, is why recurrent networks are trained with clipped gradients
# (`optim.recipe(..., clip_norm=1.0)`).
#
# ## Exercises
#
# 1. How many parameters has the row reader with a GRU instead of the LSTM? Predict it first.
# 2. Show the trained network the images upside down, bottom row first. What happens?
# 3. Write the plain network $h_t = \tanh(\dots)$ as a `scan` and compare it with `nn.RNN`.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: three sets instead of four, 3 · 64 · 94
gru = models.RecurrentClassifier(cell="gru")
size = tree.count(jax.eval_shape(gru.init, random.key(0), image)["params"])
print(size)
assert size == 26_602 - 64 * (28 + 64 + 2) == 20_586

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 2: the order matters
flipped = float(accuracy_of(state, test["image"][:, ::-1], test["label"]))
print(f"{flipped:.2f} instead of {reached[-1]:.2f}")
assert small or flipped < reached[-1] - 0.3


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 3
plain = {"kernel_ih_l0": wave(3, H), "kernel_hh_l0": wave(H, H),
         "bias_ih_l0": wave(H), "bias_hh_l0": wave(H)}  # fmt: skip


def rnn_step(h, now):
    h = jnp.tanh(
        now @ plain["kernel_ih_l0"] + plain["bias_ih_l0"]
        + h @ plain["kernel_hh_l0"] + plain["bias_hh_l0"]
    )  # fmt: skip
    return h, h


_, mine = jax.lax.scan(rnn_step, jnp.zeros((2, H)), x.swapaxes(0, 1))
theirs, _ = nn.RNN(H).apply({"params": plain}, x)
np.testing.assert_allclose(mine.swapaxes(0, 1), theirs, atol=1e-6)

# %% [markdown]
# **Next**: [16 · How can a network draw what it has never seen?](16_vae.ipynb)
