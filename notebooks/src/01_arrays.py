# ---
# jupyter:
#   jaxdl:
#     covers: [T01, T02, T03, T04, T05, T06, T07, T08, T09, T10, T11, T12, T13, T14, T15, T16, T17,
#       T18, T19, T20, T21, T22, T23, T24, T25, T26, T27, T28, T29, T30, T31, T32, T33, T34, T35,
#       T36, T37, T38, T39, T40, T41, T42, T43, T44, T45, T46, T47, T48, T49, T50, T51, Q01, Q07]
#     outputs: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
#       24, 25, 26, 27, 28, 29, 69]
#     mistakes: [3, 4, 5, 6, 26, 27, 28, 29, 30, 53, 74]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · What changes when a tensor becomes an array?
#
# Everything that a PyTorch course does with tensors, done with `jax.numpy`: creating, indexing,
# reshaping, multiplying, moving. Most of it has the same name. Three things differ, and they come
# back in every later notebook:
#
# 1. **An array never changes.** There is no `x[0] = 1`, no `add_`, no shared memory.
# 2. **Random numbers need a key.** There is no global generator.
# 3. **Shapes are fixed under `jit`.** What depends on values, such as a Boolean mask, has to
#    become `jnp.where`.
#
# *You need*: NumPy, or a first course of PyTorch. *Time*: an hour to read, ten seconds to run.
# *What comes out*: nothing is trained; the last cell multiplies matrices in three ways and shows
# a factor of thousands between them. Read each cell, **say what it will print**, then look.

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
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## Creating arrays
#
# An array is a grid of numbers with any number of axes: a scalar has none, a vector one, a matrix
# two. A batch of images has four. PyTorch puts the channels second, `(batch, channel, height,
# width)`; JAX, Flax and jaxdl put them **last**, `(batch, height, width, channel)`. Text has three:
# `(batch, length, embedding)`.

# %%
images = jnp.zeros((4, 28, 28, 3))
text = jnp.zeros((4, 16, 64))
print(images.ndim, text.ndim, jnp.array(3.5).ndim)
assert (images.ndim, text.ndim) == (4, 3)

# %% [markdown]
# **Uninitialized memory.** `torch.empty(3, 2, 4)` shows whatever lay in memory: tiny numbers, huge
# numbers, `nan`. (A source of this course calls that "random"; it is not, it is garbage.) JAX has
# no uninitialized arrays: `jnp.empty` is full of zeros.

# %%
print(jnp.empty((3, 2, 4)).sum())
assert jnp.all(jnp.empty((3, 2, 4)) == 0)

# %% [markdown]
# **From lists.** `torch.Tensor([[1, 2], [3, 4]])` makes float32, `torch.tensor(...)` keeps int64.
# `jnp.array` infers the type too, but its integers have **32 bits** unless 64-bit numbers are
# switched on.
#
# ```python
# # PyTorch
# assert torch.Tensor([[1, 2], [3, 4]]).dtype == torch.float32
# assert torch.tensor([[1, 2], [3, 4]]).dtype == torch.int64
# ```

# %%
whole = jnp.array([[1, 2], [3, 4]])
real = jnp.array([[1, 2], [3, 4]], dtype=jnp.float32)
print(whole.dtype, real.dtype)
assert (whole.dtype, real.dtype) == (jnp.int32, jnp.float32)

# %% [markdown]
# **Copy or share?** `torch.from_numpy` shares memory with NumPy: change one and the other changes.
# `jnp.array` copies, and since arrays never change there is nothing to share.
#
# ```python
# # PyTorch
# import numpy
# source = numpy.array([[1, 2], [3, 4]])
# shared, copied = torch.from_numpy(source), torch.tensor(source)
# source[0, 0] = 100
# assert shared[0, 0] == 100 and copied[0, 0] == 1
# ```

# %%
source = np.array([[1, 2], [3, 4]])
copied = jnp.array(source)
source[0, 0] = 100
print(copied[0, 0])
assert copied[0, 0] == 1

# %% [markdown]
# **Constructors.** The deterministic ones are NumPy's. `logspace(2, 10, 6)` runs from 10² to 10¹⁰.

# %%
assert jnp.zeros((2, 3)).shape == jnp.ones((2, 3)).shape == (2, 3)
print(jnp.arange(2, 10, 2), jnp.linspace(2, 10, 6))
print(jnp.logspace(2, 10, 6))
print(jnp.full((3, 3), 5), jnp.eye(3, 4), sep="\n")
np.testing.assert_allclose(jnp.linspace(2, 10, 6), [2, 3.6, 5.2, 6.8, 8.4, 10], rtol=1e-6)
np.testing.assert_allclose(
    jnp.logspace(2, 10, 6), [1e2, 3.9811e3, 1.5849e5, 6.3096e6, 2.5119e8, 1e10], rtol=1e-4
)
assert jnp.arange(2, 10, 2).tolist() == [2, 4, 6, 8]

# %% [markdown]
# The random ones take a **key**. `random.key(7)` is the counterpart of `torch.manual_seed(7)`, but
# nothing is global: the same key gives the same numbers, however often and in whatever order it is
# asked. New numbers need a new key, and `random.split` makes them. Two mistakes are common in
# notes: `randn` is *not* limited to [0, 1), and the upper bound of `randint` is *not* included.

# %%
key = random.key(7)
uniform, normal, whole_numbers, order = random.split(key, 4)
print(random.uniform(uniform, (2, 3)))
print(random.normal(normal, (2, 3)) * jnp.array([1.0, 2.0, 3.0]) + 10)  # a scale per column
print(random.randint(whole_numbers, (3, 4), 2, 6))
print(random.permutation(order, 4), random.bernoulli(key, 0.5, (4,)))

assert jnp.array_equal(random.uniform(uniform, (2, 3)), random.uniform(uniform, (2, 3)))
many = random.randint(whole_numbers, (10_000,), 2, 6)
assert (int(many.min()), int(many.max())) == (2, 5)
assert jnp.abs(random.normal(normal, (10_000,))).max() > 3

# %% [markdown]
# **Like another.** `zeros_like` and `ones_like` take shape and type from a template; PyTorch's
# `new_ones(size)`, which takes only the type, is `jnp.ones(size, template.dtype)`. **Empty arrays**
# are written with their shape: `(0,)` has one axis of length zero, `()` is a scalar.

# %%
template = jnp.ones((2, 3), jnp.float16)
assert jnp.zeros_like(template).dtype == jnp.ones((5,), template.dtype).dtype == jnp.float16
print(jnp.zeros((0,)).size, jnp.zeros(()).size)
assert (jnp.zeros((0,)).size, jnp.zeros(()).size) == (0, 1)

# %% [markdown]
# **Attributes.** `shape` and `dtype` are PyTorch's; `tensor.device` becomes `array.devices()`, a
# set, because an array may lie on many devices at once (notebook 23).

# %%
x = jnp.ones((2, 3))
print(x.shape, x.dtype, x.ndim, x.size, len(x.devices()))
assert x.dtype == jnp.float32

# %% [markdown]
# ## Indexing
#
# Rows, columns and ellipses are NumPy's, as in PyTorch:

# %%
t = jnp.arange(1, 13).reshape(3, 4)
print(t[0], t[:, 0], t[..., -1])
assert t[0].tolist() == [1, 2, 3, 4]
assert t[..., -1].tolist() == [4, 8, 12]

# %% [markdown]
# A batch of images in PyTorch's layout, because the sources use it. *What shape has each line?*

# %%
a = random.uniform(key, (4, 3, 28, 28))
shapes = {
    "a[0]": a[0],
    "a[0, 0]": a[0, 0],
    "a[:2]": a[:2],
    "a[:2, :1]": a[:2, :1],
    "a[:2, 1:]": a[:2, 1:],
    "a[:2, -2:]": a[:2, -2:],
    "a[..., ::2, ::2]": a[..., ::2, ::2],
    "take(a, [0, 2], axis=1)": jnp.take(a, jnp.array([0, 2]), axis=1),
    "take(a, 0..7, axis=2)": jnp.take(a, jnp.arange(8), axis=2),
    "a[..., :2]": a[..., :2],
}
for name, part in shapes.items():
    print(f"{name:25} {part.shape}")
assert shapes["a[:2, -2:]"].shape == (2, 2, 28, 28)
assert shapes["a[..., ::2, ::2]"].shape == (4, 3, 14, 14)
assert shapes["take(a, [0, 2], axis=1)"].shape == (4, 2, 28, 28)
assert shapes["take(a, 0..7, axis=2)"].shape == (4, 3, 8, 28)

# %% [markdown]
# `torch.take` counts in the flattened tensor; `jnp.take` without an axis does too. **A trap**: an
# index beyond the end is an error in PyTorch; `jnp` on its own fills with `nan` or clamps to the
# last element, because a compiled program cannot raise. jaxdl's loaders check before they index.

# %%
flat = jnp.array([[3, 7, 2], [2, 8, 3]])
print(jnp.take(flat, jnp.array([0, 1, 5])), jnp.arange(3)[10])
assert jnp.take(flat, jnp.array([0, 1, 5])).tolist() == [3, 7, 3]
assert jnp.arange(3)[10] == 2

# %% [markdown]
# **Masks.** `a[a >= 0.5]` (PyTorch's `masked_select`) has a length that depends on the numbers. It
# works outside `jit`; inside, write `jnp.where`, which keeps the shape.

# %%
t = jnp.array([1, 5, 2, 4])
print(t[t > 3], jnp.where(t > 3, t, 0))
assert t[t > 3].tolist() == [5, 4]
centered = a - 0.5
assert a[a >= 0.5].size == int((centered >= 0).sum())
try:
    jax.jit(lambda t: t[t > 3])(t)
except jax.errors.NonConcreteBooleanIndexError as error:
    print(str(error).splitlines()[0][:70], "…")

# %% [markdown]
# **Assignment** makes a new array. `x.at[0, 1].set(100)` reads like PyTorch's `x[0, 1] = 100`;
# under `jit` XLA reuses the memory where it can, so nothing is copied that need not be.

# %%
x = jnp.array([[1, 2], [3, 4]])
y = x.at[0, 1].set(100).at[:, 0].set(0)
print(y.tolist(), "and x is still", x.tolist())
assert y.tolist() == [[0, 100], [0, 4]]
assert x[0, 1] == 2

# %% [markdown]
# ## Reshaping
#
# `reshape` takes -1 for what is left over. PyTorch's `permute` is `transpose`:

# %%
t = jnp.arange(12).reshape(3, 4)
print(t.T.tolist())
assert t.T.tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
assert jnp.zeros((2, 3, 5)).transpose(2, 0, 1).shape == (5, 2, 3)
square = jnp.arange(16).reshape(4, 4)
assert (square.reshape(-1).shape, square.reshape(2, -1).shape) == ((16,), (2, 8))

# %% [markdown]
# ### What PyTorch does underneath: storage and strides
#
# A tensor is one block of memory and a rule for walking through it. The **strides** say how many
# elements to step for one step along each axis. `view` changes only the rule, so it shares memory
# and needs a fitting (contiguous) layout; `reshape` copies if it must; `resize_` ignores the number
# of elements and is best forgotten. NumPy shows the strides, in bytes:

# %%
m = np.arange(12, dtype=np.int32).reshape(3, 4)


def strides(array):
    """Strides in elements."""
    return tuple(s // array.itemsize for s in array.strides)


print(strides(m), strides(m.T), m.T.flags.c_contiguous)
six = np.arange(6)
assert (strides(m), strides(m.T)) == ((4, 1), (1, 4))
assert not m.T.flags.c_contiguous
assert (strides(six.reshape(2, 3)), strides(six.reshape(3, 2))) == ((3, 1), (2, 1))
# The element at [1, 0] of a (3, 2) array lies 1*2 + 0*1 = 2 places on; [0, 1] would be 1.
assert six.reshape(3, 2)[1, 0] == six[2]

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
for axis, (title, array) in zip(axes, {"m": m, "m.T": m.T}.items(), strict=True):
    axis.imshow(array, cmap="Blues", vmax=20, aspect="auto")
    for (row, column), place in np.ndenumerate(array):
        axis.text(column, row, place, ha="center", va="center")
    axis.set(title=f"{title}: strides {strides(array)}", xlabel="axis 1", ylabel="axis 0")
    axis.set(xticks=range(array.shape[1]), yticks=range(array.shape[0]))

# %% [markdown]
# The numbers are places in memory. Both pictures show the same twelve places; only the order in
# which the axes walk through them differs, and with it the color gradient.
#
# A slice shares the storage, and a change shows in both. An array of JAX has no strides to look at
# and nothing to share: a slice is a new value.
#
# ```python
# # PyTorch
# a = torch.arange(5)
# b = a[2:]
# b[1] = 0
# assert a.tolist() == [0, 1, 2, 0, 4] and b.tolist() == [2, 0, 4]
# ```

# %%
a = jnp.arange(5)
b = a[2:].at[1].set(0)
print(a, b)
assert a.tolist() == [0, 1, 2, 3, 4]
assert b.tolist() == [2, 0, 4]

# %% [markdown]
# **Axes of length one.** `torch.squeeze(x, 1)` on an axis that is longer silently returns `x`;
# `jnp.squeeze` raises, which has found many a bug. `unsqueeze` is `expand_dims`, or `x[:, None]`.

# %%
x = jnp.zeros((2, 1, 2, 1, 2))
print(x.squeeze().shape, x.squeeze(1).shape, x.squeeze(3).shape)
assert (x.squeeze().shape, x.squeeze(1).shape) == ((2, 2, 2), (2, 2, 1, 2))
try:
    x.squeeze(0)
except ValueError as error:
    print(error)
vector = jnp.arange(4)
places = {place: jnp.expand_dims(vector, place).shape for place in (0, 1, -1, -2)}
print(places)
assert places == {0: (1, 4), 1: (4, 1), -1: (4, 1), -2: (1, 4)}

# %% [markdown]
# **Swapping axes.** `swapaxes` exchanges two (PyTorch's `transpose`, which works for any number of
# axes, not only for two); three swaps make any permutation of four.

# %%
x = jnp.zeros((2, 3, 4, 5))
swapped = x.swapaxes(0, 3).swapaxes(1, 2)
print(swapped.shape, x.transpose(3, 2, 0, 1).shape)
assert x.transpose(3, 2, 0, 1).shape == (5, 4, 2, 3)
assert x.swapaxes(0, 3).swapaxes(1, 2).swapaxes(2, 3).shape == (5, 4, 2, 3)
assert x.swapaxes(0, 1).swapaxes(1, 3).shape == (3, 5, 4, 2)
assert x.swapaxes(0, 1).swapaxes(1, 3).swapaxes(2, 3).shape == (3, 5, 2, 4)

# %% [markdown]
# **Joining and cutting.** `concatenate` (PyTorch: `cat`) extends an axis, `stack` makes a new one.
# `torch.chunk(x, 3, 1)` of seven columns makes widths 3, 3, 1; `jnp.array_split` would make 3, 2,
# 2, and `jnp.split` takes the *places* of the cuts instead of the widths.

# %%
two = jnp.ones((2, 3))
pair = [two, two]
assert jnp.concatenate(pair).shape == (4, 3)
assert jnp.concatenate(pair, 1).shape == (2, 6)
assert jnp.stack([two] * 2).shape == (2, 2, 3)
assert jnp.stack([two] * 3, 2).shape == (2, 3, 3)
tall = [jnp.ones((10, 5))] * 3
assert jnp.concatenate(tall).shape == (30, 5)
assert jnp.stack(tall).shape == (3, 10, 5)

wide = jnp.arange(14).reshape(2, 7)
chunks = jnp.split(wide, [3, 6], axis=1)  # torch.chunk: ceil(7 / 3) columns each
parts = jnp.split(wide, np.cumsum([2, 3, 2])[:-1], axis=1)  # torch.split(wide, [2, 3, 2], 1)
print([chunk.shape[1] for chunk in chunks], [part.shape[1] for part in parts])
assert [chunk.shape[1] for chunk in chunks] == [3, 3, 1]
assert [part.shape[1] for part in parts] == [2, 3, 2]

# %% [markdown]
# **Repeating.** `broadcast_to` is `expand` and `tile` is `repeat`. (NumPy's and JAX's `repeat`
# repeats *elements*: a false friend.)

# %%
features = jnp.ones((64, 512))
assert jnp.broadcast_to(features[..., None, None], (64, 512, 7, 7)).shape == (64, 512, 7, 7)
print(jnp.tile(jnp.array([11, 10]), (3, 2)))
assert jnp.tile(jnp.array([11, 10]), (3, 2)).tolist() == [[11, 10, 11, 10]] * 3

# %% [markdown]
# **Triangles, positions, equality, one-hot, order.** A flip is a slice with a negative step, which
# PyTorch does not have.

# %%
assert (int(jnp.triu(jnp.ones((4, 4))).sum()), int(jnp.tril(jnp.ones((4, 4))).sum())) == (10, 10)
sparse = jnp.array([[0, 3], [5, 0]])
print(jnp.argwhere(sparse).tolist(), jnp.argwhere(sparse == 0).tolist())
assert jnp.argwhere(sparse).tolist() == [[0, 1], [1, 0]]
assert jnp.count_nonzero(sparse) == 2
assert jnp.array_equal(sparse, sparse)
assert jnp.allclose(0.1 + 0.2, 0.3)

one_hot = jax.nn.one_hot(jnp.array([0, 2, 1, 3]), 4)
print(one_hot)
assert jnp.array_equal(one_hot, jnp.eye(4)[jnp.array([0, 2, 1, 3])])

batch = jnp.arange(24).reshape(4, 1, 2, 3)
shuffled, flipped = random.permutation(key, batch), batch[..., ::-1]
assert sorted(shuffled[:, 0, 0, 0].tolist()) == [0, 6, 12, 18]
assert flipped[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]

# %% [markdown]
# ### clone, detach, in-place
#
# | PyTorch | new memory? | still in the graph? | JAX |
# |---|---|---|---|
# | `x.clone()` | yes | yes | `x` (nothing can change it) |
# | `x.detach()` | no | no | `jax.lax.stop_gradient(x)` |
# | `x.detach().clone()` | yes | no | `jax.lax.stop_gradient(x)` |
# | `x.add_(1)` | no | yes, and the version counter goes up | `x = x + 1` |
#
# PyTorch counts the in-place operations of a tensor to notice when a value that the backward pass
# needs has been overwritten. Without in-place operations there is nothing to count. Memory is
# reused all the same: with `jax.jit(step, donate_argnums=0)` the new state takes the old one's
# place.

# %%
step = jax.jit(lambda x: x + 1, donate_argnums=0)
x = jnp.zeros(1_000)
y = step(x)
print(x.is_deleted(), float(y[0]))
assert x.is_deleted()
assert y[0] == 1

# %% [markdown]
# ## Types
#
# | | PyTorch | JAX |
# |---|---|---|
# | default | float32, int64 | float32, **int32** |
# | int16 with int64 | int64 | int32 (int64 with `jax_enable_x64`) |
# | int with float32 | float32 | float32 |
# | float32 with float64 | float64 | float32 (float64 with `jax_enable_x64`) |
# | float16 with bfloat16 | float32 | float32 |
#
# An int64 that you ask for becomes an int32, with a warning. float32 is the right default: double
# precision is many times slower on a GPU.
#
# ```python
# # PyTorch
# assert (torch.ones(2, dtype=torch.int16) + torch.ones(2, dtype=torch.int64)).dtype == torch.int64
# pair = [torch.ones(2, 2, dtype=torch.int16), torch.ones(2, 2).long()]
# assert torch.cat(pair).dtype == torch.int64
# ```

# %%
short = jnp.ones((2, 2), jnp.int16)
print(jnp.concatenate([short, jnp.ones((2, 2), int)]).dtype, (short + 1.5).dtype)
assert jnp.concatenate([short, jnp.ones((2, 2), int)]).dtype == jnp.int32
assert (jnp.ones(2, jnp.float16) + jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
kinds = [jnp.uint8, jnp.int8, jnp.int16, jnp.int32, jnp.float16, jnp.bfloat16, jnp.float32]
assert [jnp.ones(2).astype(kind).dtype for kind in kinds] == kinds
with jax.enable_x64():
    assert (jnp.ones(2, jnp.int16) + jnp.ones(2, jnp.int64)).dtype == jnp.int64

# %% [markdown]
# `torch.set_default_dtype` and `torch.set_default_device` are global; their counterparts are the
# settings `jax_enable_x64` and `jax_default_device`, best used with `with` as above.
#
# ## Arithmetic
#
# The everyday example of the GAN book: $3.5 \cdot 3.5 + 2$.

# %%
x = jnp.array(3.5)
print(x * x + 2, x + 3, x * x, float(x), x.item())
assert (float(x * x + 2), float(x + 3), float(x * x)) == (14.25, 6.5, 12.25)

# %% [markdown]
# **Broadcasting** stretches axes of length one. In PyTorch the in-place `m.sub_(n)` fails here,
# because the result is larger than `m`; a new array has no such limit.

# %%
M, N = jnp.array([[1, 2, 3]]), jnp.array([[4], [5]])
print((M - N).tolist())
assert (M - N).tolist() == [[-3, -2, -1], [-4, -3, -2]]

# %%
u, v = jnp.array([1.0, 2, 3]), jnp.array([4.0, 5, 6])
print(u * v, u / v)  # there is no out=: the result is the return value
assert (u * v).tolist() == [4, 10, 18]
np.testing.assert_allclose(u / v, [0.25, 0.4, 0.5])
np.testing.assert_allclose(jnp.exp(u), [2.7183, 7.3891, 20.0855], rtol=1e-5)
assert (u**2).tolist() == [1, 4, 9]
assert jnp.sqrt(jnp.array([1.0, 4, 9])).tolist() == [1, 2, 3]

# %% [markdown]
# **Statistics.** PyTorch's `std` and `var` divide by n − 1; NumPy's and JAX's by n unless `ddof=1`.
# *Which of the two numbers is PyTorch's?*

# %%
s = jnp.array([[1.0, 2], [3, 4]])
print(f"{s.std():.4f} {s.std(ddof=1):.4f}")
assert (float(s.mean()), float(s.sum()), float(s.max()), float(s.min())) == (2.5, 10, 4, 1)
np.testing.assert_allclose([s.std(ddof=1), s.var(ddof=1)], [1.2910, 1.6667], rtol=1e-4)

# %% [markdown]
# ## Products
#
# Notes mix these up, so here they are once:
#
# | name | operands | PyTorch | JAX |
# |---|---|---|---|
# | elementwise (Hadamard) | same shape | `*`, `mul` | `*` |
# | inner product | two vectors | `dot` | `jnp.vdot` |
# | outer product | two vectors | `outer` | `jnp.outer` |
# | matrix product | two matrices | `mm` | `@` |
# | batch of matrix products | (B, m, k) and (B, k, n) | `bmm` | `@` |
# | any of the last, leading axes broadcast | any | `matmul`, `@` | `@` |
#
# PyTorch's `mm` and `bmm` refuse other ranks. If you want that guard, say it with `einsum`, whose
# letters fix the ranks.

# %%
p, q = jnp.array([[1, 2], [3, 4]]), jnp.array([[2, 1], [4, 3]])
print((p * q).tolist(), (p @ q).tolist(), (p @ q.T).tolist())
assert (p * q).tolist() == [[2, 2], [12, 12]]
assert (p @ q).tolist() == [[10, 7], [22, 15]]
assert (p @ q.T).tolist() == [[4, 10], [10, 24]]
assert p.sum() == 10
assert jnp.vdot(jnp.array([2, 3]), jnp.array([2, 1])) == 7

# %%
first, second = jnp.arange(6).reshape(2, 3), jnp.arange(12).reshape(3, 4)
print((first @ second).tolist())
assert (first @ second).tolist() == [[20, 23, 26, 29], [56, 68, 80, 92]]
pair, grid = jnp.arange(2), jnp.arange(4).reshape(2, 2)
assert pair @ pair == 1
assert (pair @ grid).tolist() == [2, 3]
stack = jnp.arange(18).reshape(3, 2, 3)
assert (stack @ jnp.arange(18).reshape(3, 3, 2)).tolist() == [
    [[10, 13], [28, 40]],
    [[172, 193], [244, 274]],
    [[550, 589], [676, 724]],
]
shared = stack @ jnp.arange(6).reshape(3, 2)
assert shared.tolist() == [[[10, 13], [28, 40]], [[46, 67], [64, 94]], [[82, 121], [100, 148]]]

# %% [markdown]
# Which shapes go together? *Fill in the third column before you run the cell.*

# %%
cases = [
    ((4,), (4,), ()),
    ((3, 4), (4,), (3,)),
    ((3, 4), (4, 5), (3, 5)),
    ((4,), (4, 5), (5,)),
    ((10, 3, 4), (4,), (10, 3)),
    ((10, 3, 4), (10, 4, 5), (10, 3, 5)),
    ((6,), (2, 6, 3), (2, 3)),
    ((10, 3, 4), (4, 2), (10, 3, 2)),
    ((2, 5, 3), (1, 3, 4), (2, 5, 4)),
    ((2, 1, 3, 4), (5, 4, 2), (2, 5, 3, 2)),
]
for left, right, expected in cases:
    result = jax.eval_shape(jnp.matmul, jnp.zeros(left), jnp.zeros(right))  # computes nothing
    print(f"{left!s:14} @ {right!s:12} → {result.shape}")
    assert result.shape == expected

# %% [markdown]
# ## einsum
#
# One rule: **a letter that is missing on the right is summed over.** With it every product above is
# one function, and attention, bilinear forms and recurrent cells are one line each.

# %%
b, c = jnp.arange(6).reshape(2, 3), jnp.arange(15).reshape(3, 5)
table = {
    "ij->": (jnp.einsum("ij->", b), 15),
    "ij->j": (jnp.einsum("ij->j", b), [3, 5, 7]),
    "ij->i": (jnp.einsum("ij->i", b), [3, 12]),
    "ij,j->i": (jnp.einsum("ij,j->i", b, b[0]), [5, 14]),
    "ij,jk->ik": (jnp.einsum("ij,jk->ik", b, c), [[25, 28, 31, 34, 37], [70, 82, 94, 106, 118]]),
    "ij,ij->": (jnp.einsum("ij,ij->", b, b + 6), 145),
    "i,j->ij": (
        jnp.einsum("i,j->ij", jnp.arange(3), jnp.arange(3, 7)),
        [[0, 0, 0, 0], [3, 4, 5, 6], [6, 8, 10, 12]],
    ),
}
for rule, (result, expected) in table.items():
    print(f"{rule:10} {result.tolist()}")
    assert result.tolist() == expected

# %%
nine = jnp.arange(9).reshape(3, 3)
rows = nine.sum(1)
assert jnp.einsum("ij->ji", nine).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
assert jnp.einsum("ij->", nine) == 36
assert jnp.einsum("ij->i", nine).tolist() == [3, 12, 21]
assert jnp.einsum("ij,j->ij", nine, rows).tolist() == [[0, 12, 42], [9, 48, 105], [18, 84, 168]]
assert jnp.einsum("ij,j->i", nine, rows).tolist() == [54, 162, 270]
assert jnp.einsum("ij,ij->", nine, nine) == (nine * nine).sum()  # both operands are matrices
assert jnp.einsum("ii->", nine) == jnp.trace(nine) == 12

# %% [markdown]
# Three mistakes that stand in published notes, and what is right:
#
# - `"...ij->...i"` sums over the **last** axis only, not the last two: (3, 4, 5, 6) → (3, 4, 5).
# - The bilinear form `"i,ijk,j->k"` needs `W` of shape (I, **J**, K): with `x` (3,) and `y` (4,)
#   that is (3, 4, K); (5, 3, 4) is an error.
# - `"bi,bj,ijk->bk"` needs the same `b` twice; (3, 4) with (4, 5) is an error.

# %%
deep = jnp.ones((3, 4, 5, 6))
print(jnp.einsum("...ij->...i", deep).shape, jnp.einsum("...ij->...", deep).shape)
assert jnp.einsum("...ij->...i", deep).shape == (3, 4, 5)
assert jnp.einsum("i,ijk,j->k", jnp.ones(3), jnp.ones((3, 4, 5)), jnp.ones(4)).shape == (5,)
try:
    jnp.einsum("i,ijk,j->k", jnp.ones(3), jnp.ones((5, 3, 4)), jnp.ones(4))
except ValueError as error:
    print(str(error).splitlines()[0])
bilinear = jnp.einsum("bn,nkm,bm->bk", jnp.ones((2, 5)), jnp.ones((5, 3, 4)), jnp.ones((2, 4)))
assert bilinear.tolist() == [[20.0] * 3] * 2
assert jnp.einsum("bij,bjk->bik", jnp.ones((3, 2, 5)), jnp.ones((3, 5, 3))).shape == (3, 2, 3)
high = jnp.einsum(
    "ijklno,ijlmno->ijkmno", jnp.ones((2, 3, 4, 5, 2, 2)), jnp.ones((2, 3, 5, 6, 2, 2))
)
assert high.shape == (2, 3, 4, 6, 2, 2)

# %% [markdown]
# ### A model in index notation
#
# Attention is three lines. `q`, `k`, `v` are queries, keys and values; the letters name batch,
# head, time and depth.

# %%
query, keys, value = random.normal(key, (3, 2, 4, 5, 8))  # batch 2, heads 4, time 5, depth 8
scores = jnp.einsum("bhqd,bhkd->bhqk", query, keys) / jnp.sqrt(8)
mixed = jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), value)
library = jax.nn.dot_product_attention(*(z.swapaxes(1, 2) for z in (query, keys, value)))
np.testing.assert_allclose(mixed, library.swapaxes(1, 2), atol=1e-5)

# One step of a recurrent cell, and of BatchNorm, in the same notation
inputs, hidden = jnp.ones((2, 3)), jnp.zeros((2, 4))
w_x, w_h = random.normal(key, (3, 4)), random.normal(key, (4, 4))
hidden = jnp.tanh(jnp.einsum("bi,ih->bh", inputs, w_x) + jnp.einsum("bh,hk->bk", hidden, w_h))
mean = jnp.einsum("bhwc->c", deep) / (3 * 4 * 5)
assert hidden.shape == (2, 4)
assert jnp.allclose(mean, 1)

# %% [markdown]
# Axes have no names in JAX, and PyTorch's `names=("N", "C", "H", "W")` never left its prototype.
# The letters of `einsum` do their work: `sum("C")` is `einsum("nchw->nhw")` and `align_to` is
# `einsum("nchw->nhwc")`. `jit` compiles an einsum at its first call and reuses the program after:

# %%
compiled = jax.jit(lambda x, y: jnp.einsum("ij,jk->ik", x, y))
left, right = random.normal(key, (10, 20)), random.normal(key, (20, 30))
assert compiled(left, right).shape == (10, 30)
assert compiled._cache_size() == 1
compiled(left + 1, right)
assert compiled._cache_size() == 1  # same shapes: no second compilation

# %% [markdown]
# ## Distances without loops
#
# All distances between two sets of points: broadcast, or write the distance of *one* pair and let
# `vmap` make a table of it. The second says what it means.

# %%
points, centers = random.normal(key, (5, 2)), random.normal(random.key(1), (3, 2))
broadcast = jnp.linalg.norm(points[:, None] - centers[None], axis=-1)


def distance(p, q):
    return jnp.linalg.norm(p - q)


mapped = jax.vmap(jax.vmap(distance, (None, 0)), (0, None))(points, centers)
np.testing.assert_allclose(broadcast, mapped, rtol=1e-6)
print(mapped.shape)

# %% [markdown]
# ## Pictures
#
# A photograph is (height, width, channel) in 0…255. Networks want floats, and PyTorch wants the
# channels first. Back again: clamp, scale, round. jaxdl keeps the bytes on the device and
# normalizes there (notebook 07); with the mean .2860 and deviation .3530 of Fashion-MNIST a black
# pixel becomes −.81026 and a white one 2.02241.

# %%
from jaxdl import transforms

photograph = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
chw = jnp.transpose(photograph, (2, 0, 1)).astype(jnp.float32) / 255
back = jnp.round(jnp.clip(chw, 0, 1) * 255).astype(jnp.uint8).transpose(1, 2, 0)
assert chw.shape == (3, 6, 5)
assert jnp.array_equal(back, photograph)

normalize = transforms.normalize([0.28604059], [0.35302424])  # the more exact values
black_white = normalize(jnp.array([0, 255], jnp.uint8).reshape(1, 1, 2, 1)).ravel()
print(black_white)
np.testing.assert_allclose(black_white, [-0.81026, 2.02241], rtol=1e-5)

# %% [markdown]
# ## Devices
#
# | PyTorch | JAX |
# |---|---|
# | `torch.cuda.is_available()` | `jax.default_backend() == "gpu"` |
# | `torch.cuda.device_count()` | `jax.device_count()` |
# | `torch.cuda.get_device_name(0)` | `jax.devices()[0].device_kind` |
# | `x.to("cuda")` | `jax.device_put(x, jax.devices("gpu")[0])` |
# | `x.cpu().numpy()` | `np.asarray(x)` or `jax.device_get(tree)` |
# | `x.to("cuda", torch.float16)` | `jax.device_put(x.astype(jnp.float16), device)` |
# | `non_blocking=True` | always: JAX waits only when you look |
#
# New arrays go to the fastest device there is, so most programs never mention one.

# %%
device = jax.devices()[0]
moved = jax.device_put(np.ones(3), device)
print(jax.default_backend(), jax.device_count())
assert moved.devices() == {device}
assert isinstance(jax.device_get(moved), np.ndarray)

# %% [markdown]
# ## How fast is a matrix product?
#
# The GAN book climbs a ladder: a 600×600 product takes 3 min 20 s in pure Python, 13 ms in NumPy
# and 75 µs on a GPU. A benchmark must **wait for the result**: JAX returns at once and computes in
# the background, as CUDA does; `block_until_ready` is its `torch.cuda.synchronize`.
# Pure Python gets a smaller matrix here and its time is scaled up by the number of products. *How
# many times faster is the last than the first?*

# %%
size, tiny = (200, 20) if small else (600, 60)
matrix = np.random.default_rng(0).random((size, size), np.float32)


def seconds(function):
    """Shortest time of three calls."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return min(times)


def by_hand():
    rows, columns = matrix[:tiny, :tiny].tolist(), matrix[:tiny, :tiny].T.tolist()
    return [[sum(x * y for x, y in zip(r, c, strict=True)) for c in columns] for r in rows]


on_device, product = jnp.array(matrix), jax.jit(jnp.matmul)
ladder = {
    "Python loops": seconds(by_hand) * (size / tiny) ** 3,
    "NumPy": seconds(lambda: matrix @ matrix),
    "JAX": seconds(lambda: product(on_device, on_device)),
}
np.testing.assert_allclose(by_hand(), matrix[:tiny, :tiny] @ matrix[:tiny, :tiny], rtol=1e-4)
np.testing.assert_allclose(product(on_device, on_device), matrix @ matrix, rtol=1e-4)

# %%
times = ladder["Python loops"] / ladder["JAX"]
print(f"Python loops take about 10^{np.log10(times):.0f} times as long as JAX")
assert times > 100

# %% [markdown]
# Python is thousands of times slower than either library; between NumPy and JAX there is little on
# a CPU, because both end in the same kind of kernel. A GPU adds another factor for large matrices
# (a course of PyTorch measured 2.34 s on a CPU and .14 s on a GPU for 10,000 × 10,000, a ratio of
# 16; your ratio is your machine's).
#
# ## Exercises
#
# 1. Take `[1, 2, 3]` to NumPy, to JAX and back to NumPy. Which of the three can you change?
# 2. With `einsum`: a matrix product, a transpose, a product of batches and a bilinear form, for
#    `A` (3, 4), `B` (4, 5), batches (2, 3, 4) and (2, 4, 5), and `W` (4, 5, 6).
# 3. Center each column of a matrix and scale it to (sample) standard deviation one, in one line.
# 4. Write `chunk(x, n, axis)` with PyTorch's rounding.
# 5. Compute the matrix of cosines between the rows of `x`.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1: only the NumPy array that we made ourselves
numbers = np.array([1, 2, 3])
array = jnp.asarray(numbers)
back = np.asarray(array)
numbers[0] = 100
assert array.tolist() == back.tolist() == [1, 2, 3]
assert not back.flags.writeable

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2
A, B = jnp.arange(12.0).reshape(3, 4), jnp.arange(20.0).reshape(4, 5)
assert jnp.allclose(jnp.einsum("ij,jk->ik", A, B), A @ B)
assert jnp.allclose(jnp.einsum("ij->ji", A), A.T)
assert jnp.einsum("bij,bjk->bik", jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))).shape == (2, 3, 5)
W = random.normal(key, (4, 5, 6))
form = jnp.einsum("bi,ijk,bj->bk", A, W, B[:3])  # the same batch of 3 on both sides
np.testing.assert_allclose(form[1, 2], A[1] @ W[:, :, 2] @ B[1], rtol=1e-4)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solutions of 3 to 5
x = random.normal(key, (6, 7))
standard = (x - x.mean(0)) / x.std(0, ddof=1)
np.testing.assert_allclose(standard.std(0, ddof=1), 1, rtol=1e-5)


def chunk(x, n, axis=0):
    width = -(-x.shape[axis] // n)  # rounded up
    return jnp.split(x, list(range(width, x.shape[axis], width)), axis)


assert [part.shape[1] for part in chunk(x, 3, 1)] == [3, 3, 1]
unit = x / jnp.linalg.norm(x, axis=1, keepdims=True)
cosines = jnp.einsum("id,jd->ij", unit, unit)
np.testing.assert_allclose(jnp.diag(cosines), 1, rtol=1e-5)

# %% [markdown]
# **Next**: [02 · Randomness with keys](02_randomness.ipynb), then
# [03 · Where do gradients come from?](03_autodiff.ipynb)
