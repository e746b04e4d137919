# ---
# jupyter:
#   jaxdl:
#     covers: [T05, T06, T09, T26, R23, F11]
#     outputs: []
#     mistakes: [29, 48, 68]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Where is the global seed?
#
# There is none. In PyTorch, NumPy and Python a hidden generator changes with every number that is
# drawn, so each number depends on everything drawn before it. In JAX a random number is a function
# of a **key** that you pass, and of nothing else. That makes three things easy that are hard
# elsewhere: to repeat one part of a program alone, to draw on many devices at once, and to continue
# an interrupted training run exactly.
#
# *You need*: [01 · Arrays](01_arrays.ipynb). *Time*: half an hour to read, twenty seconds to run.
# *What comes out*: a training run with shuffling and dropout that is stopped in the middle and
# continued; the greatest difference between its weights and those of the unbroken run is 0.

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
import random as python_random

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import data, losses, models, optim, train, transforms, tree

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## What is wrong with a global seed?
#
# Nothing, as long as nobody inserts a line. Here somebody prints one random number for debugging,
# and every number after it is another one:
#
# ```python
# # PyTorch
# torch.manual_seed(7)
# first, second = torch.rand(2), torch.rand(2)
#
# torch.manual_seed(7)
# again, _, moved = torch.rand(2), torch.rand(1), torch.rand(2)  # one draw more in between
# assert torch.equal(first, again)
# assert not torch.equal(second, moved)
# ```
#
# And there are several hidden generators. Published notes seed NumPy, draw from PyTorch and call
# the result reproducible; it is not, because the two know nothing of each other:
#
# ```python
# # PyTorch
# import numpy
# numpy.random.seed(0)
# one = torch.randn(3)
# numpy.random.seed(0)
# other = torch.randn(3)
# assert not torch.equal(one, other)
# ```
#
# ## A key is a name for random numbers
#
# `random.key(7)` makes a key. It is two 32-bit numbers, nothing more. A random function mixes the
# key with the positions 0, 1, 2, … of the array that you ask for (the mixer is a cipher, Threefry),
# so the key is not used up, and it does not change. *What does the second line print?*

# %%
key = random.key(7)
print(random.key_data(key))
print(random.uniform(key, (3,)), random.uniform(key, (3,)))
assert jnp.array_equal(random.uniform(key, (3,)), random.uniform(key, (3,)))

# %% [markdown]
# The same numbers twice. That is the first surprise for people who come from PyTorch, and the
# source of the only serious mistake that one can make: **using a key twice.** Two layers that are
# initialized with one key have the same weights; noise and data from one key are the same numbers.
#
# ## New keys from old ones
#
# `split` makes several keys of one, `fold_in` makes one key of a key and an integer. Neither
# changes the old key.

# %%
weights_key, noise_key, order_key = random.split(key, 3)
step_keys = [random.fold_in(noise_key, step) for step in range(3)]
for one in (weights_key, noise_key, order_key, *step_keys):
    print(random.key_data(one))
numbers = {tuple(random.key_data(one).tolist()) for one in (weights_key, noise_key, *step_keys)}
assert len(numbers) == 5

# %% [markdown]
# **When which?** `split` where the number of uses is known: three keys for three purposes.
# `fold_in` where something is numbered: steps, epochs, layers, examples. Then the key of step
# 1000 is computed at once, without the 999 before it, and nothing has to be remembered.
#
# The keys of a training run form a tree. In jaxdl it has two roots, and they never change:


# %%
def draw_key_tree(axis):
    edges = {
        (0.2, 2): [("step 0", -0.6), ("step 1", 0.1), ("step 2", 0.8)],
        (2.4, 2): [("epoch 0", 1.8), ("epoch 1", 2.6)],
    }
    names = {(0.2, 2): "state.key", (2.4, 2): "key of the order"}
    box = {"ha": "center", "bbox": {"boxstyle": "round", "fc": "white", "ec": "tab:blue"}}
    for (x, y), leaves in edges.items():
        for name, place in leaves:
            axis.plot([x, place], [y, 1], color="tab:gray", zorder=0)
            axis.text(place, 1, name, **box)
        axis.text(x, y, names[x, y], **box)
    for place, name in ((-0.3, "dropout"), (0.5, "augmentation")):
        axis.plot([0.1, place], [1, 0], color="tab:gray", zorder=0)
        axis.text(place, 0, name, **box)
    axis.text(1.35, 1.5, "fold_in", ha="center", color="tab:gray")
    axis.text(-0.6, 0.5, "split", ha="center", color="tab:gray")
    axis.set(xlim=(-1, 3.1), ylim=(-0.4, 2.5))
    axis.axis("off")


figure, axis = plt.subplots(figsize=(6.4, 2.4), layout="constrained", dpi=90)
draw_key_tree(axis)
plt.show()

# %% [markdown]
# Each box is a key, each line a `split` or `fold_in`. To find the dropout mask of step 1 you walk
# down from the root; you need not visit step 0.
#
# ## What PyTorch's functions are called
#
# Every constructor of random tensors has a counterpart that takes a key first.

# %%
keys = iter(random.split(random.key(123), 7))
samples = {
    "rand(2, 3)": random.uniform(next(keys), (2, 3)),
    "randn(2, 3)": random.normal(next(keys), (2, 3)),
    "normal(10, [1, 2, 3])": 10 + jnp.array([1.0, 2, 3]) * random.normal(next(keys), (3,)),
    "randint(2, 6, (3, 4))": random.randint(next(keys), (3, 4), 2, 6),
    "randperm(4)": random.permutation(next(keys), 4),
    "bernoulli(p)": random.bernoulli(next(keys), jnp.array([0.1, 0.5, 0.9])),
    "multinomial(w, 2)": random.choice(next(keys), 3, (2,), replace=False),
}
for name, sample in samples.items():
    print(f"{name:22} {sample.shape!s:7} {sample.dtype}")
assert samples["randperm(4)"].sort().tolist() == [0, 1, 2, 3]
assert jnp.all((samples["randint(2, 6, (3, 4))"] >= 2) & (samples["randint(2, 6, (3, 4))"] < 6))

# %% [markdown]
# **The upper bound** is excluded: in `torch.randint`, in NumPy's `integers`, and in
# `random.randint`. It is *included* in Python's `random.randint`. Code that picks a random image
# with `random.randint(0, 60000)` works for months and then fails once, because there is no image
# 60000. And `randn` is not confined to [0, 1), as some notes have it: that is `rand`. *What are the
# largest numbers here?*

# %%
python_random.seed(0)
inclusive = max(python_random.randint(0, 9) for _ in range(1000))
exclusive = random.randint(key, (1000,), 0, 9).max()
print(inclusive, exclusive, f"{random.normal(key, (10_000,)).max():.1f}")
assert inclusive == 9
assert exclusive == 8
assert random.normal(key, (10_000,)).max() > 3

# %% [markdown]
# ## One key, many draws: `vmap`
#
# A function that draws for *one* example becomes one that draws for a batch by mapping it over
# keys. *Which of the two pictures shows a mistake?*


# %%
def noisy_curve(key):
    return jnp.cumsum(random.normal(key, (50,)))  # a random walk of 50 steps


shared = jax.vmap(lambda _: noisy_curve(key))(jnp.arange(4))
separate = jax.vmap(noisy_curve)(random.split(key, 4))

figure, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True, layout="constrained", dpi=90)
for axis, walks, title in zip(axes, (shared, separate), ("one key", "four keys"), strict=True):
    axis.plot(walks.T)
    axis.set(title=title, xlabel="number of steps", ylabel="position")
assert jnp.all(shared == shared[0])
np.testing.assert_array_equal(separate[2], noisy_curve(random.split(key, 4)[2]))

# %% [markdown]
# Left there are four curves, exactly on top of each other: the key was captured from outside and is
# the same for all. Right each has its own. The last line of code says that mapping changes nothing:
# walk 2 is the one that its key gives alone. The generators of NumPy and PyTorch have no such
# guarantee: there the third walk depends on whether the first two were drawn.
#
# ## A generator in a compiled function
#
# `jit` runs your Python once, when it compiles, and never again for arrays of the same shape. *What
# do the three calls print?*


# %%
@jax.jit
def frozen(x):
    return x + np.random.default_rng().random()  # wrong: not a key, but Python's state


@jax.jit
def fresh(x, key):
    return x + random.uniform(key)


calls = [float(frozen(0.0)) for _ in range(3)]
print("equal:", calls[0] == calls[1] == calls[2])
others = [float(fresh(0.0, random.fold_in(key, number))) for number in range(3)]
print("different:", len(set(others)) == 3)
assert len(set(calls)) == 1
assert len(set(others)) == 3

# %% [markdown]
# NumPy's number was drawn once, during compilation, and became a constant of the program. Nothing
# complains. Inside `jit`, random numbers come from keys only.
#
# ## Are the streams independent?
#
# Keys 0 and 1 differ in a single bit. Whether their numbers have nothing to do with each other is a
# question that one can look at. Each point has one coordinate from one key and the other from
# another:

# %%
number = 400
pairs = {
    "the same key": (key, key),
    "key(0), key(1)": (random.key(0), random.key(1)),
    "fold_in 0 and 1": (random.fold_in(key, 0), random.fold_in(key, 1)),
    "a key and its child": (key, random.split(key)[0]),
}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), sharey=True, layout="constrained", dpi=90)
correlations = {}
for axis, (title, (left, right)) in zip(axes, pairs.items(), strict=True):
    x, y = random.uniform(left, (number,)), random.uniform(right, (number,))
    correlations[title] = float(jnp.corrcoef(x, y)[0, 1])
    axis.scatter(x, y, s=4)
    axis.set(title=title, xlabel="x, from the first", aspect="equal")
axes[0].set_ylabel("y, from the second")
print({title: round(value, 2) for title, value in correlations.items()})
assert correlations.pop("the same key") > 0.999
assert max(map(abs, correlations.values())) < 4 / number**0.5

# %% [markdown]
# The first square shows the mistake of using a key twice: both coordinates are equal, and the
# points lie on a line. The other three are filled evenly. (The last one also uses a key and its
# child. It looks fine and is nevertheless bad style: split first, then use only the children.)
#
# Four pictures prove little, so here are the correlations of 1,000 neighboring streams. Independent
# streams of n numbers have correlations with a standard deviation of $1/\sqrt n$.

# %%
streams = jax.vmap(lambda i: random.normal(random.fold_in(key, i), (number,)))(jnp.arange(1000))
table = jnp.corrcoef(streams)
neighbors = jnp.diagonal(table, offset=1)
figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained", dpi=90)
axis.hist(neighbors, bins=40, density=True, color="tab:blue", alpha=0.6)
grid = jnp.linspace(-0.2, 0.2, 200)
axis.plot(grid, jax.scipy.stats.norm.pdf(grid, scale=number**-0.5), color="black")
axis.set(xlabel="correlation of stream i with stream i + 1", ylabel="density")
print(f"standard deviation {neighbors.std():.4f}, expected {number**-0.5:.4f}")
assert abs(float(neighbors.std()) * number**0.5 - 1) < 0.1

# %% [markdown]
# The bars follow the curve of independent streams. Nothing is left of the fact that the keys were
# made from consecutive integers.
#
# ## The same numbers on any machine
#
# A key's numbers are defined by a formula of integers, so they are the same on a laptop and on a
# cluster, on one device and on eight. Between versions of JAX they stay, unless a release note says
# otherwise (it did once, for 0.5). This cell asserts a permutation by its numbers, and it is run on
# whatever machine builds this page:

# %%
print(random.permutation(random.key(0), 10))
assert random.permutation(random.key(0), 10).tolist() == [0, 1, 8, 5, 6, 4, 3, 2, 7, 9]
assert random.key_data(random.fold_in(random.key(0), 5)).tolist() == [1524306142, 1887795613]

# %% [markdown]
# What is *not* the same on any machine is arithmetic. A sum of many floats depends on the order of
# the additions, and a CPU and a GPU choose different orders, so weights after training agree in the
# first digits only. On **one** machine they agree to the bit. On GPUs a few kernels add in whatever
# order the threads finish; a flag forbids those, at some cost in speed:
#
# | PyTorch | JAX |
# |---|---|
# | `torch.manual_seed(0)`, `numpy.random.seed(0)`, `random.seed(0)` | `random.key(0)` |
# | `torch.backends.cudnn.deterministic = True` | `XLA_FLAGS=--xla_gpu_deterministic_ops=true` |
# | `torch.backends.cudnn.benchmark = False` | `XLA_FLAGS=--xla_gpu_autotune_level=0` |
# | `torch.get_rng_state()` into the checkpoint | nothing: the step's number is enough |
#
# ## A key for every step
#
# Here is the contract of jaxdl, in two lines:
#
# > The key of a **step** is `fold_in(state.key, state.step)`. The order of an **epoch** is a
# > permutation by `fold_in(order_key, epoch)`.
#
# Nothing random is carried from step to step, so nothing random can be lost. Dropout shows it. A
# layer with dropout takes its key as an argument; same key, same mask:

# %%
layer, ones = linen.Dropout(0.5, deterministic=False), jnp.ones((1, 12))
masks = [layer.apply({}, ones, rngs={"dropout": random.fold_in(key, step)}) for step in (0, 1, 0)]
for mask in masks:
    print(mask.astype(int)[0])
assert jnp.array_equal(masks[0], masks[2])
assert not jnp.array_equal(masks[0], masks[1])
assert set(np.unique(masks[0])) == {0, 2}  # kept ones are doubled, so that the mean stays 1

# %% [markdown]
# PyTorch's dropout draws from the global generator. Two forward passes give two masks, and a run
# that continues from a checkpoint draws other masks than the unbroken run, unless the generator's
# state was saved as well:
#
# ```python
# # PyTorch
# torch.manual_seed(0)
# dropout, ones = torch.nn.Dropout(0.5), torch.ones(1, 12)
# position = torch.get_rng_state()
# mask = dropout(ones)
# assert not torch.equal(mask, dropout(ones))
# torch.set_rng_state(position)
# assert torch.equal(mask, dropout(ones))
# ```
#
# ## The order of the examples
#
# Shuffling is a permutation of indices. `train.run` computes that of an epoch on the device, with
# `fold_in`; `data.Loader`, which also serves files larger than memory, computes it on the host from
# the same two things, a root and the epoch's number. *Can you find the order of epoch 7 without the
# seven before it?*

# %%
numbers = {"x": np.arange(10)}
loader = data.Loader(numbers, batch_size=4, shuffle=True, key=1)
for epoch in (0, 1, 7):
    print(epoch, [batch["x"].tolist() for batch in loader.epoch(epoch)])
seventh = [batch["x"].tolist() for batch in loader.epoch(7)]
for _ in range(7):
    assert [batch["x"].tolist() for batch in loader] != seventh  # a loop is the next epoch
assert [batch["x"].tolist() for batch in loader] == seventh

# %% [markdown]
# So a position in the data is two integers, the epoch and the batch. A loader can begin anywhere,
# and tell where it is:

# %%
with loader.epoch(7, start=1) as batches:
    middle = next(batches)["x"].tolist()
    print(middle, batches.state())
    assert middle == seventh[1]
    assert batches.state() == {"epoch": 7, "batch": 2}

# %% [markdown]
# ## Stopped and continued
#
# Everything together: digits, a network with dropout, random shifts of the images, Adam. One run
# goes through four epochs. Another goes through two, is stopped, and continues from what it saved,
# in a new call. *How far apart are their weights?*

# %%
digits = data.load("digits").train
images = {name: array[: 200 if small else 1000] for name, array in digits.items()}
loss_fn = train.supervised(
    models.MLP((32, 10), dropout_rate=0.5),
    losses.cross_entropy,
    preprocess=transforms.to_float,
    augment=transforms.random_crop(padding=1),
)
tx = optim.adam(1e-2)
step = train.make_step(loss_fn, tx)
options = {"batch_size": 40, "key": 5, "progress": False}

start = train.init_state(loss_fn, tx, 0, images)
unbroken, _ = train.run(step, start, images, num_epochs=4, **options)
train.run(step, start, images, num_epochs=2, workdir="runs/stopped", **options)
continued, history = train.run(
    step, start, images, num_epochs=4, workdir="runs/stopped", resume=True, **options
)
difference = max(tree.max_difference(unbroken.params, continued.params).values())
print("updates:", int(unbroken.step), int(continued.step), " greatest difference:", difference)
assert difference == 0
assert [row["epoch"] for row in history] == [1, 2, 3, 4]

# %% [markdown]
# Zero, not 1e-7. The order of the third and fourth epoch, all dropout masks and all random shifts
# are functions of two roots and of the step's number, and the checkpoint has the number.
#
# The seeds do their part: another `init_state` key gives other weights, another `key` of the order
# another order. Both matter, and a result that is reported without naming them is one draw of a
# lottery. Notebook 12 trains twenty seeds at once with `vmap` and looks at the spread.
#
# ## When a key is used twice
#
# JAX can watch over it. With `jax_debug_key_reuse` each key that a random function has taken counts
# as consumed, and the second use is an error. It costs time; switch it on when a result looks too
# regular.


# %%
def broken_data(key):
    x = random.uniform(key, (100,))
    return x, 2 * x + random.normal(key, (100,))  # the noise depends on x


with jax.debug_key_reuse(True):
    try:
        broken_data(random.key(0))
    except jax.errors.KeyReuseError as error:
        print(type(error).__name__, "-", str(error).splitlines()[0])
        caught = True
assert caught
x, y = broken_data(random.key(0))
print(f"correlation of x and the noise: {jnp.corrcoef(x, y - 2 * x)[0, 1]:.2f}")
assert jnp.corrcoef(x, y - 2 * x)[0, 1] > 0.9

# %% [markdown]
# A correlation near 1 where there should be none. A fit to such data looks much better than it is,
# and no test of shapes will ever find it.
#
# ## Exercises
#
# 1. Mend `broken_data`.
# 2. Shuffle images and their labels together, in one order.
# 3. Draw 1,000 bootstrap samples of `[1, 2, …, 20]` with `vmap` and give the standard deviation of
#    their means.
# 4. Write a random walk of 1,000 steps with `lax.scan`, in which step i uses `fold_in(key, i)`.
#    Then compute the step numbered 500 alone.


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1
def mended_data(key):
    x_key, noise_key = random.split(key)
    x = random.uniform(x_key, (100,))
    return x, 2 * x + random.normal(noise_key, (100,))


x, y = mended_data(random.key(0))
assert abs(jnp.corrcoef(x, y - 2 * x)[0, 1]) < 0.4

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: one permutation for both
order = random.permutation(random.key(3), len(images["label"]))
shuffled = {name: array[order] for name, array in images.items()}
assert sorted(shuffled["label"].tolist()) == sorted(images["label"].tolist())
assert np.array_equal(shuffled["image"][0], images["image"][int(order[0])])

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 3: near the standard error, std / sqrt(20)
values = jnp.arange(1.0, 21.0)
means = jax.vmap(lambda key: random.choice(key, values, (20,)).mean())(
    random.split(random.key(4), 1000)
)
print(f"{means.std():.2f}, expected {values.std() / 20**0.5:.2f}")
np.testing.assert_allclose(means.std(), values.std() / 20**0.5, rtol=0.1)


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 4
def one_step(position, number):
    move = random.normal(random.fold_in(key, number))
    return position + move, move


end, moves = jax.lax.scan(one_step, 0.0, jnp.arange(1000))
np.testing.assert_allclose(end, moves.sum(), atol=1e-3)
np.testing.assert_allclose(moves[500], random.normal(random.fold_in(key, 500)), rtol=1e-6)

# %% [markdown]
# **Next**: [03 · Where do gradients come from?](03_autodiff.ipynb), then
# [04 · Why does jit need to know the shapes?](04_transformations.ipynb)
