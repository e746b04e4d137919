# ---
# jupyter:
#   jaxdl:
#     covers: [A21, F03, F06]
#     outputs: []
#     mistakes: [72]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Why does jit need to know the shapes?
#
# Notebook 03 had one function of functions, `grad`. JAX has more: `jit` compiles, `vmap` adds a
# batch axis, `scan` repeats, `cond` chooses. They can be combined in any order, and that is what
# the library is made of. They share one condition: your function is not run but *read*, with
# shapes in the place of numbers. This notebook shows what they read, what they miss, and what it
# costs.
#
# *You need*: [01 · Arrays](01_arrays.ipynb) and [03 · Autodiff](03_autodiff.ipynb). *Time*: 45
# minutes to read, half a minute to run. *What comes out*: one mislabeled example among a hundred is
# found by its gradient, which is more than 40 times as long as
# the median.

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
import functools
import os
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import lax, random
from jax.experimental import checkify

from jaxdl import data, losses, models, optim, train

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
key = random.key(0)

# %% [markdown]
# ## What jit sees
#
# At the first call `jit` runs your function with **tracers**: objects that have a shape and a
# type but no numbers. Each operation on a tracer is written down. The list that results is the
# *jaxpr*; XLA compiles it, and from then on the compiled program is called and your Python is
# not. *How often does "tracing" appear below?*


# %%
def score(x):
    print("tracing", x.shape)  # a side effect, to see when Python runs
    return jnp.tanh(x) * 2 + jnp.sin(x) ** 2 - 1


compiled = jax.jit(score)
for values in (np.zeros(3, np.float32), np.ones(3, np.float32), np.ones(4, np.float32)):
    compiled(values)
assert compiled._cache_size() == 2

# %% [markdown]
# Twice: once per shape. The second call had other numbers, but the same shape, and found its
# program ready. Here is what was written down. `f32[3]` is all that is known of the input:

# %%
jaxpr = jax.make_jaxpr(score)(jnp.zeros(3))
print(jaxpr)
assert [str(equation.primitive) for equation in jaxpr.eqns] == [
    "tanh",
    "mul",
    "sin",
    "integer_pow",
    "add",
    "sub",
]

# %% [markdown]
# **Why the shapes?** Because they decide everything about the machine code: how much memory, which
# loops, how they are split over cores, which operations are merged. Run one by one, these six
# operations write six arrays to memory and read them back. Compiled, they become a single loop, a
# *fusion*, that reads each number once:

# %%
program = compiled.lower(jnp.zeros(100)).compile().as_text()
print("loops over the array:", program.count(" fusion("))
assert program.count(" fusion(") == 1

# %% [markdown]
# How much faster is that? It depends on the function, the sizes and the machine, which is why
# percentages in notes mean nothing without them. Here: a million numbers, this machine, the
# shortest of several calls.


# %%
@jax.jit
def fused(x):
    for _ in range(5):
        x = x * 0.5 + x * x * 0.25 - 1
    return x


def seconds(function, *arguments, calls=5):
    jax.block_until_ready(function(*arguments))  # the first call compiles
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


million = jnp.ones(1_000_000)
with jax.disable_jit():
    slow = seconds(fused, million)
print("compiled is faster:", slow > 1.5 * seconds(fused, million))
assert slow > 1.5 * seconds(fused, million)

# %% [markdown]
# `torch.compile` does the same for PyTorch, with one difference. It watches the program run, checks
# *guards* at every call, and where it does not understand a line it breaks the graph and falls back
# to Python. `jax.jit` never falls back: what it can not compile is an error.
#
# ## When does it trace again?
#
# Shape, type and tree structure of the arguments are the key of the cache. *Which of these calls
# compiles anew?*


# %%
@jax.jit
def double(x):
    return jax.tree.map(lambda leaf: 2 * leaf, x)


calls = {
    "float32 (3,)": np.zeros(3, np.float32),
    "other numbers": np.ones(3, np.float32),
    "another shape (4,)": np.ones(4, np.float32),
    "another type int32": np.ones(3, np.int32),
    "a Python number": 2.0,
    "another Python number": 3.0,
    "a list of two": [1.0, 2.0],
    "a dictionary": {"a": 1.0},
}
news = {}
for name, value in calls.items():
    before = double._cache_size()
    double(value)
    news[name] = double._cache_size() > before
    print(f"{name:22} {'compiles' if news[name] else ''}")
assert [name for name, new in news.items() if not new] == ["other numbers", "another Python number"]

# %% [markdown]
# ## Values that must be known
#
# A tracer has no value. So Python's `if` can not ask it, and a shape can not be made of it. The
# error messages say so, at some length:


# %%
def relu(x):
    return x if x > 0 else 0.0


for function, argument in ((relu, 1.0), (lambda n: jnp.arange(n), 3)):
    try:
        jax.jit(function)(argument)
    except jax.errors.JAXTypeError as error:
        print(type(error).__name__, "-", str(error).splitlines()[0][:72])
        name = type(error).__name__
assert name == "ConcretizationTypeError"

# %% [markdown]
# There are two ways out. Either the value is part of the *program*: mark it **static**, and each
# value has its own compilation. Or it is *data*: write `jnp.where` or `lax.cond`, below.


# %%
@functools.partial(jax.jit, static_argnames=("power",))
def power_sum(x, power):
    return sum(x**i for i in range(power))  # a Python loop over a static number


for power in (2, 3, 2, 3, 3):
    power_sum(million[:4], power=power)
print(power_sum._cache_size(), "programs")
assert power_sum._cache_size() == 2
try:
    jax.jit(lambda x, sizes: x, static_argnums=1)(1.0, [1, 2])
except ValueError as error:
    print(str(error).split(".")[0])

# %% [markdown]
# Static arguments are looked up in a table, so they must be hashable: a tuple, not a list. Make
# static what takes few values (a mode, a number of layers), never what changes with every call (a
# learning rate, a step number): that would compile at every step.
#
# ## What retracing costs
#
# Compiling takes as long as thousands of calls. The classical way to lose it: batches of sentences,
# each padded to its own longest. *How many programs do 60 batches need?*

# %%
lengths = np.random.default_rng(0).integers(5, 65, 60)
needed = {"own length": set(), "one of 4 lengths": set()}
boundaries = (8, 16, 32, 64)
growth = {name: [] for name in needed}
for length in lengths:
    padded, mask = data.pad_sequences([np.zeros(length)], boundaries=boundaries)
    needed["own length"].add(int(length))
    needed["one of 4 lengths"].add(padded.shape[1])
    for name, shapes in needed.items():
        growth[name].append(len(shapes))

figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained", dpi=90)
for name, counts in growth.items():
    axis.plot(np.arange(1, 61), counts, label=name)
axis.set(xlabel="number of batches seen", ylabel="number of compilations")
axis.legend(title="padded to")
print({name: len(shapes) for name, shapes in needed.items()})
assert len(needed["one of 4 lengths"]) == 4
assert len(needed["own length"]) > 30

# %% [markdown]
# The upper curve is still climbing after 60 batches; the lower one is flat after a few. Padding
# wastes some arithmetic and saves the compilations. `data.pad_sequences` and
# `data.BucketBatchSampler` (notebook 06) do it, and a mask says what is padding. The ragged last
# batch of an epoch is the same problem: `train.run` pads it, so that a step is compiled once.
#
# ## Pure functions
#
# A transformation is right for a **pure** function: the result depends on the arguments only, and
# nothing else changes. What is impure happens at trace time, once, or leaks. *What does the last
# line print?*

# %%
scale = 2.0
log = []


@jax.jit
def impure(x):
    log.append(x)  # keeps a tracer
    return scale * x  # the value of scale at trace time becomes a constant


first = impure(1.0)
scale = 100.0
print(first, impure(1.0), len(log))
assert impure(1.0) == 2
try:
    log[0] + 1
except jax.errors.UnexpectedTracerError as error:
    print(str(error).split(".")[0][:60])
    leaked = True
assert leaked

# %% [markdown]
# The new value of `scale` is ignored without a word, and the list holds one tracer instead of
# three numbers. That is why everything in jaxdl is an argument: weights, keys, the mode `train=`,
# and data. A data set that a function captures would even be compiled into the program as a
# constant.
#
# To look inside a compiled function, use the print that is written into the program:


# %%
@jax.jit
def shown(x):
    jax.debug.print("the largest is {m}", m=x.max())
    return x / x.max()


jax.block_until_ready(shown(jnp.array([1.0, 4.0])))
jax.block_until_ready(shown(jnp.array([9.0, 4.0])))  # no tracing, and yet it prints
jax.effects_barrier()

# %% [markdown]
# ## vmap: write it for one, run it for many
#
# `vmap` takes a function of one example and gives the function of a batch. It does not loop: it
# rewrites each operation so that it carries one more axis. `in_axes` says where the batch axis of
# each argument is, `None` for "shared by all".
#
# ```python
# # PyTorch
# torch.manual_seed(0)
# weights, examples = torch.randn(3), torch.randn(5, 3)
# one = lambda w, x: (w * x).sum()
# assert torch.allclose(torch.vmap(one, in_dims=(None, 0))(weights, examples), examples @ weights)
# ```


# %%
def predict_one(w, x):
    return jnp.vdot(w, x)


w, x = random.normal(key, (3,)), random.normal(random.key(1), (5, 3))
batched = jax.vmap(predict_one, in_axes=(None, 0))
np.testing.assert_allclose(batched(w, x), x @ w, rtol=1e-5)
print(jax.make_jaxpr(batched)(w, x))
ensemble = jax.vmap(batched, in_axes=(0, None))  # five examples, four weight vectors
assert ensemble(random.normal(key, (4, 3)), x).shape == (4, 5)

# %% [markdown]
# There is no loop in the jaxpr: the inner product of two vectors became a product of a matrix and a
# vector. Twice `vmap` gave an ensemble, and in notebook 12 the same word gives a sweep, `vmap` over
# whole training runs.
#
# ## grad and vmap: one gradient per example
#
# PyTorch's `backward` gives the gradient of the *mean* loss. Sometimes one wants the gradient of
# *each* example's loss: to clip them one by one (differential privacy), or to find the examples
# that pull hardest. It is the composition of two words.
#
# ```python
# # PyTorch
# from torch.func import grad, vmap
# loss_one = lambda w, x, y: ((w * x).sum() - y) ** 2
# targets = torch.zeros(5)
# each = vmap(grad(loss_one), in_dims=(None, 0, 0))(weights, examples, targets)
# mean = grad(lambda w: ((examples @ w - targets) ** 2).mean())(weights)
# assert each.shape == (5, 3)
# assert torch.allclose(each.mean(0), mean, atol=1e-6)
# ```
#
# A hundred points in two classes; one of them has the wrong label. After a few steps of gradient
# descent, *which example has the longest gradient?*

# %%
points = data.synthetic.two_gaussians(key, 50)
wrong = 17
labels = points["label"].at[wrong].set(1 - points["label"][wrong])


def loss_of_one(w, x, y):
    logit = w[:2] @ x + w[2]  # the library's losses take a batch: one of one example
    return losses.binary_cross_entropy(logit[None], y[None].astype(jnp.float32))[0]


def mean_loss(w):
    return jax.vmap(loss_of_one, (None, 0, 0))(w, points["input"], labels).mean()


w, slope = jnp.zeros(3), jax.jit(jax.grad(mean_loss))  # outside the loop: compiled once
for _ in range(50):
    w = w - 0.5 * slope(w)
per_example = jax.vmap(jax.grad(loss_of_one), (None, 0, 0))(w, points["input"], labels)
np.testing.assert_allclose(per_example.mean(0), slope(w), atol=1e-5)

lengths = jnp.linalg.norm(per_example, axis=1)
print("longest:", int(lengths.argmax()), f" {lengths.max() / jnp.median(lengths):.0f} × the median")
assert int(lengths.argmax()) == wrong
assert lengths.max() > 40 * jnp.median(lengths)

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", dpi=90)
axes[0].scatter(*points["input"].T, c=labels, cmap="coolwarm", s=14)
axes[0].scatter(*points["input"][wrong], s=120, facecolors="none", edgecolors="black")
axes[0].set(xlabel="first feature", ylabel="second feature", title="one label is wrong")
axes[1].bar(np.arange(100), lengths, color=np.where(np.arange(100) == wrong, "black", "tab:gray"))
axes[1].set(xlabel="number of the example", ylabel="length of its gradient", title="who pulls?")
plt.show()

# %% [markdown]
# Left the points, the mislabeled one circled: it has the color of the other class. Right the
# lengths of the hundred gradients: it sticks out. Sorting a data set by this number is a cheap
# way to find wrong labels in real data, too.
#
# ## Loops: Python's and scan's
#
# PyTorch builds its graph anew at every call, so a Python loop may run as often as the numbers
# demand, and `backward` goes through whatever ran:
#
# ```python
# # PyTorch
# a = torch.tensor(1.5, requires_grad=True)
# b = a
# while b.norm() < 100:  # depends on the value
#     b = b * 2
# b.backward()
# assert a.grad.item() == b.item() / a.item()
# ```
#
# In JAX that works, too, outside `jit`. Inside, a Python loop is *unrolled*: each round is
# written down again, and the compiler sees all of them. `lax.scan` writes the body once. Its body
# takes what is carried and one input, and returns what is carried on and one output.


# %%
def unrolled(x, number):
    for _ in range(number):
        x = jnp.sin(x) + 1
    return x


def scanned(x, number):
    x, _ = lax.scan(lambda x, _: (jnp.sin(x) + 1, None), x, None, length=number)
    return x


sizes = [1, 10, 30, 100]
equations = {
    function.__name__: [len(jax.make_jaxpr(function, static_argnums=1)(1.0, n).eqns) for n in sizes]
    for function in (unrolled, scanned)
}
print(equations)
np.testing.assert_allclose(unrolled(1.0, 10), scanned(1.0, 10), rtol=1e-6)
assert equations == {"unrolled": [2, 20, 60, 200], "scanned": [1, 1, 1, 1]}

# %%
number = 100 if small else 1000


def compile_seconds(function):
    start = time.perf_counter()
    jax.jit(function, static_argnums=1).lower(1.0, number).compile()
    return time.perf_counter() - start


figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained", dpi=90)
for name, counts in equations.items():
    axis.plot(sizes, counts, marker="o", label=name)
axis.set(xlabel="number of rounds", ylabel="equations in the program")
axis.set(xscale="log", yscale="log")
axis.legend()
ratio = compile_seconds(unrolled) / compile_seconds(scanned)
print("the unrolled loop compiles more slowly:", ratio > 1)
assert small or ratio > 1

# %% [markdown]
# The program of the Python loop grows with the number of rounds; that of `scan` is one equation.
# A thousand rounds unrolled take several times as long to compile, and real networks have larger
# bodies than this one. Training loops, recurrent networks and samplers are scans; `train.run`
# runs its steps in one. What the body carries must keep its shape **and its type**, or there is
# an error:

# %%
try:
    lax.scan(lambda total, x: (total + x, None), jnp.int32(0), jnp.ones(3))  # becomes a float
except TypeError as error:
    print(str(error).splitlines()[0])
    refused = True
assert refused
total, running = lax.scan(lambda total, x: (total + x, total + x), 0.0, jnp.arange(1.0, 5.0))
print(total, running)
assert running.tolist() == [1, 3, 6, 10]

# %% [markdown]
# ## Choosing: where, cond, and a trap
#
# `jnp.where(condition, a, b)` computes both and picks, element by element. `lax.cond` takes two
# functions and runs one. Under `vmap`, where each example has its own condition, `cond` becomes a
# selection, and both are computed.


# %%
def safe_root(x):
    return lax.cond(x > 0, jnp.sqrt, lambda x: 0.0, x)


single, many = jax.make_jaxpr(safe_root)(1.0), jax.make_jaxpr(jax.vmap(safe_root))(jnp.ones(3))
names = [{str(e.primitive) for e in jaxpr.eqns} for jaxpr in (single, many)]
print("cond" in names[0], "cond" in names[1], "select_n" in names[1])
assert "cond" in names[0]
assert "cond" not in names[1]
assert "select_n" in names[1]

# %% [markdown]
# The trap: the branch that was not taken still takes part in the gradient. The slope of $\sqrt x$
# at 0 is infinite; `where` multiplies it by zero, and $\infty \cdot 0$ is not a number. *What are
# the two gradients at 0?*


# %%
def trap(x):
    return jnp.where(x > 0, jnp.sqrt(x), 0.0)


def careful(x):
    inside = jnp.where(x > 0, x, 1.0)  # a harmless number where the root is not wanted
    return jnp.where(x > 0, jnp.sqrt(inside), 0.0)


print(jax.grad(trap)(0.0), jax.grad(careful)(0.0))
assert jnp.isnan(jax.grad(trap)(0.0))
assert jax.grad(careful)(0.0) == 0

# %% [markdown]
# ## Repeating until: while_loop
#
# The number of rounds may depend on the numbers. The price: JAX can not differentiate backward
# through a loop of unknown length, because it would have to store an unknown number of values.
# PyTorch stores them as it goes. Here is the loop of a well-known exercise, halving until the sum
# of absolute values is at most 1. *How many rounds for [5, −3]?*


# %%
def halve_until_small(x):
    def is_large(carried):
        return jnp.abs(carried[0]).sum() > 1

    return lax.while_loop(is_large, lambda carried: (carried[0] / 2, carried[1] + 1), (x, 0))


halved, rounds = jax.jit(halve_until_small)(jnp.array([5.0, -3.0]))
print(halved, rounds)
assert rounds == 3
assert halved.tolist() == [0.625, -0.375]
try:
    jax.grad(lambda x: halve_until_small(x)[0].sum())(jnp.array([5.0, -3.0]))
except ValueError as error:
    print(str(error).split(".")[0])
_, slope = jax.jvp(lambda x: halve_until_small(x)[0], (jnp.array([5.0, -3.0]),), (jnp.ones(2),))
assert slope.tolist() == [0.125, 0.125]

# %% [markdown]
# Forward differentiation (`jvp`) works: it needs no storage. If you need the gradient, use `scan`
# with a fixed number of rounds and a condition inside.
#
# ## In place after all: donation
#
# Arrays never change, so a training step needs room for the old weights and the new ones. Unless
# you say that you are done with the old ones: `donate_argnums` lets XLA write the result into the
# argument's memory. It is what PyTorch's in-place operations (`add_`, `inplace=True`) are for.
# The argument is gone afterward. *What happens when it is used?*

# %%
update = jax.jit(lambda w, g: w - 0.1 * g, donate_argnums=0)
old, gradient = jnp.ones(1000), jnp.ones(1000)
new = update(old, gradient)
print("deleted:", old.is_deleted())
assert old.is_deleted()
try:
    old + 1
except RuntimeError as error:
    print(str(error)[:40])
np.testing.assert_allclose(new, 0.9, rtol=1e-6)

# %% [markdown]
# `train.run` donates its state inside, and copies the one that you passed, so that it stays valid.
#
# ## Where does the NaN come from?
#
# Compiled code does not stop at $\log(-1)$; it goes on with `nan`. Three tools, from the blunt to
# the comfortable. The setting `jax_debug_nans` checks each result and runs the function again,
# operation by operation, until it finds the one:

# %%
with jax.debug_nans(True):
    try:
        jax.jit(lambda x: jnp.log(x) * 0 + 1)(jnp.array([1.0, -1.0]))
    except FloatingPointError as error:
        print(error)
        found = str(error)
assert "log" in found

# %% [markdown]
# `checkify` puts checks of your own into the program. They are collected as a value, because a pure
# function can not raise, and raised outside:


# %%
def checked_log(x):
    checkify.check(jnp.all(x > 0), "x must be positive, the smallest is {m}", m=x.min())
    return jnp.log(x)


error, _ = jax.jit(checkify.checkify(checked_log))(jnp.array([1.0, -2.0]))
print(error.get())
assert "the smallest is -2.0" in error.get()
error, _ = jax.jit(checkify.checkify(checked_log))(jnp.array([1.0, 2.0]))
assert error.get() is None

# %% [markdown]
# And in training, `train.run` watches the loss and the weights on the device, about twice a second.
# (NaN in the *data* it refuses before the first step.) If something is not finite it goes back to
# the last good state, repeats the steps one by one, and reports the first bad batch, example and
# layer. Here somebody takes the logarithm of the pixels, and in one picture a pixel is 0:

# %%
digits = data.load("digits").train
pictures = {"image": 1 + digits["image"][:64].astype(np.float32), "label": digits["label"][:64]}
pictures["image"][40, 3, 3] = 0
loss_fn = train.supervised(models.MLP((16, 10)), losses.cross_entropy, preprocess=jnp.log)
tx = optim.sgd(0.1)
step, start = train.make_step(loss_fn, tx), train.init_state(loss_fn, tx, 0, pictures)
try:
    train.run(step, start, pictures, num_epochs=1, batch_size=8, key=0, progress=False)
except FloatingPointError as error:
    message = str(error)
    print(*message.split("; "), sep="\n")
assert "40" in message

# %% [markdown]
# ## Exercises
#
# 1. `jnp.unique` can not be compiled as it is. Find the argument that makes it work, and say why.
# 2. Write `pairwise(f)(x, y)`, the table of `f(x[i], y[j])`, with two `vmap`s.
# 3. Fit a line by 200 steps of gradient descent in a single `lax.scan` and return all the losses.
# 4. A Python loop compiles a step for each of 50 learning rates. Make it one program.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1: its length depends on the values; size= fixes it and fills up
found = jax.jit(lambda x: jnp.unique(x, size=4, fill_value=-1))(jnp.array([3, 1, 3, 1]))
assert found.tolist() == [1, 3, -1, -1]


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2
def pairwise(function):
    return jax.vmap(jax.vmap(function, (None, 0)), (0, None))


table = pairwise(jnp.subtract)(jnp.arange(3), jnp.arange(2))
assert table.tolist() == [[0, -1], [1, 0], [2, 1]]

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 3
line = data.synthetic.line(key, 50)


def squared(w):
    return losses.squared_error(w[0] * line["input"] + w[1], line["target"]).mean()


def descend(w, _):
    value, gradient = jax.value_and_grad(squared)(w)
    return w - 0.02 * gradient, value


w, values = lax.scan(descend, jnp.zeros(2), None, length=200)
assert values.shape == (200,)
assert values[-1] < values[0] / 10

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 4: the rate is an argument, so one program serves all; vmap even runs them at once
rates = jnp.linspace(0.001, 0.02, 50)


@jax.jit
@jax.vmap
def last_loss(rate):
    def one_step(w, _):
        return w - rate * jax.grad(squared)(w), None

    return squared(lax.scan(one_step, jnp.zeros(2), None, length=50)[0])


assert last_loss(rates).shape == (50,)
assert last_loss._cache_size() == 1

# %% [markdown]
# **Next**: [05 · What happens inside?](05_inside.ipynb), or go on with
# [06 · How does data reach the network?](06_data.ipynb)
