# ---
# jupyter:
#   jaxdl:
#     covers: [N01, N02, N03, N04, N05, N06, N07, N08, N09, A20, A27, F03]
#     outputs: [27, 29]
#     mistakes: [53]
#     optimized: true
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · What happens inside?
#
# You write `jnp.tanh(x)` and a processor adds and multiplies. What lies between? PyTorch looks up a
# finished kernel for every call. JAX writes the program down, translates it twice, and has XLA make
# one kernel of many operations. This notebook follows one small function all the way down and ends
# with a kernel of your own that has a gradient.
#
# *You need*: [03 · Autodiff](03_autodiff.ipynb). *Time*: 40 minutes to read, ten seconds to run.
# *What comes out*: four texts of the same function, from Python to the optimized program, in which
# three operations have become **one** kernel; and a Pallas kernel with a tested gradient.

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

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random
from jax.experimental import pallas as pl
from jax.test_util import check_grads

small = bool(os.environ.get("JAXDL_SMALL"))  # this notebook is small anyway

# %% [markdown]
# ## The bottom: memory and strides
#
# Every array library keeps a block of memory (the *storage*) and a few numbers about it: shape,
# type, strides. The element at index $(i, j)$ lies at $i \cdot s_0 + j \cdot s_1$ places from the
# start. *Where does `m[1, 0]` of a 2×2 array with strides (2, 1) lie?* (One published text computes
# 2 for the index [0, 1]; that one lies at 1.)

# %%
m = np.arange(4, dtype=np.float32).reshape(2, 2)
steps = [s // m.itemsize for s in m.strides]
offset = 1 * steps[0] + 0 * steps[1]
print(steps, offset, m.ravel()[offset] == m[1, 0])
assert steps == [2, 1]
assert offset == 2
column = m[:, 1]  # the second column: it starts at offset 1 and steps by 2
assert column.strides[0] // m.itemsize == 2
column[0] = 9  # a view shares the storage
assert m[0, 1] == 9

# %% [markdown]
# PyTorch's views are these. JAX keeps shape and type only: the *layout* of an array in memory is
# the compiler's business, and it may choose another one inside a program. That is why JAX has no
# `contiguous()` and no view that changes its source:

# %%
a = jnp.arange(5)
b = a[2:].at[1].set(0)
print(a, b)
assert a.tolist() == [0, 1, 2, 3, 4]

# %% [markdown]
# ## Three questions, and who answers them
#
# In PyTorch a call such as `torch.abs(x)` is dispatched: is the gradient to be recorded? On which
# **device** and in which **layout** (dense, sparse) does `x` lie? Which **dtype** does it have?
# Each answer picks a function from a table, and at the end stands a kernel for dense float32 on
# CUDA. New kinds of tensor extend one of these three axes, or wrap a tensor (a fourth way).
#
# JAX asks the same questions once, when a program is compiled:
#
# | question | PyTorch, at each call | JAX, once per program |
# |---|---|---|
# | gradient? | autograd key, outermost | `jax.grad` rewrites the function before |
# | batch? | `torch.func.vmap`, a key too | `jax.vmap` rewrites the function before |
# | device, layout | dispatcher, then backend | XLA's backend for the platform |
# | dtype | a `switch` in the kernel | types in the jaxpr and in StableHLO |
# | a class of your own | `__torch_function__`, subclass | a registered pytree |
#
# The last line in code: a class whose arrays JAX can see. No inheritance, and `grad`, `jit` and
# `vmap` work on it.


# %%
@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Scaled:
    """An array stored as small integers and one scale."""

    values: jax.Array
    scale: jax.Array

    def dequantize(self):
        return self.values * self.scale


weights = Scaled(jnp.array([-3, 1, 2]), jnp.array(0.5))
print(jax.jit(lambda w: w.dequantize().sum())(weights))
slope = jax.grad(lambda scale: Scaled(weights.values, scale).dequantize().sum())(0.5)
assert slope == 0  # -3 + 1 + 2

# %% [markdown]
# ## Down the stairs
#
# One function of three operations. *How many times will it go through memory?*


# %%
def f(x):
    return jnp.tanh(x) * 2 + 1


x = jnp.linspace(-1.0, 1.0, 1024)

# %% [markdown]
# **First step: the jaxpr.** JAX calls `f` once with tracers, which carry a shape and a type but no
# numbers, and writes down what happens to them. Python is gone after this: no names, no loops.

# %%
jaxpr = jax.make_jaxpr(f)(x)
print(jaxpr)
primitives = [equation.primitive.name for equation in jaxpr.eqns]
assert primitives == ["tanh", "mul", "add"]

# %% [markdown]
# **Second step: StableHLO**, the language that all of JAX, TensorFlow and PyTorch/XLA speak to
# compilers, and that jaxdl exports (notebook 24). Constants have become broadcasts.

# %%
lowered = jax.jit(f).lower(x)
print(lowered.as_text())
assert "stablehlo.tanh" in lowered.as_text()
assert "stablehlo.broadcast_in_dim" in lowered.as_text()

# %% [markdown]
# **Third step: optimized HLO.** XLA has merged the operations. Everything inside a `fusion` is one
# loop over the data: a number is loaded once, goes through all operations in a register, and is
# stored. PyTorch without `torch.compile` makes three trips through memory for this function.

# %%
compiled = lowered.compile()
lines = compiled.as_text().splitlines()
entry = lines[next(i for i, line in enumerate(lines) if line.startswith("ENTRY")) :]
calls = [line.split("metadata")[0].split("backend_config")[0].strip(" ,") for line in entry]
print("\n".join(line[:110] for line in calls if line))
assert not any("tanh(" in line for line in entry)  # it is inside a fused computation
assert sum("fusion(" in line for line in entry) == 1

# %% [markdown]
# **Last step: machine code**, for this processor and these shapes. It is kept, so the second call
# costs nothing but the computation; `jax.config` can keep it on disk for the next process too.

# %%
cost = compiled.cost_analysis()
print(f"{cost['transcendentals']:.0f} tanh, {cost['bytes accessed'] / 4:.0f} numbers moved")
np.testing.assert_allclose(compiled(x), f(x), rtol=1e-5)
assert cost["transcendentals"] == 1024
assert cost["bytes accessed"] == 4 * (1024 + 1024)  # each number read once, written once

# %%
stairs = ["Python", "jaxpr", "StableHLO", "optimized HLO", "machine code"]
who = ["tracing", "lowering", "XLA: fusion,\nlayout", "LLVM\nor PTX"]
fig, axis = plt.subplots(figsize=(9, 1.3), layout="constrained")
box = {"boxstyle": "round,pad=0.5", "fc": "white"}
texts = [axis.text(i, 0, name, ha="center", va="center", bbox=box) for i, name in enumerate(stairs)]
patches = [text.get_bbox_patch() for text in texts]
for place, name in enumerate(who):
    ends = {"patchA": patches[place], "patchB": patches[place + 1], "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (place + 1, 0), (place, 0), arrowprops={"arrowstyle": "->", **ends})
    axis.text(place + 0.5, 0.35, name, ha="center", color="tab:blue", fontsize=9)
axis.set(xlim=(-0.4, 4.4), ylim=(-0.5, 1.2))
axis.axis("off")
plt.show()

# %% [markdown]
# From left to right the program loses what people need (names, loops, classes) and gains what the
# machine needs (types, layouts, registers); each arrow names who does it.
#
# ## The gradient is a program too
#
# Reverse-mode differentiation turns a program around: the derivative of the last line first. For
# $\tanh$ PyTorch has a second kernel, `tanh_backward`, with $1 - \tanh^2$ in it. *Find the same
# formula in the jaxpr of the gradient.*

# %%
print(jax.make_jaxpr(jax.grad(jnp.tanh))(0.3))
names = [e.primitive.name for e in jax.make_jaxpr(jax.grad(jnp.tanh))(0.3).eqns]
assert names[0] == "tanh"
np.testing.assert_allclose(jax.grad(jnp.tanh)(0.3), 1 - np.tanh(0.3) ** 2, rtol=1e-6)

# %% [markdown]
# With $t = \tanh x$ the last lines are $(1 - t) + (1 - t)\,t$, which is $1 - t^2$, and they use the
# value $t$ that the forward pass has computed already.

# %% [markdown]
# ## A kernel of your own
#
# To write a kernel for PyTorch you declare its schema in a file of all functions, check the
# arguments, allocate the result, switch over the dtypes, and loop in parallel; `abs`, `abs_` and
# `abs_out` are three entries for one loop. (The old helpers for that, accessors, iterators and
# vectorized CPU loops, have no counterpart here and need none.) The parts in JAX:
#
# | part | PyTorch | JAX with Pallas |
# |---|---|---|
# | schema | `native_functions.yaml` | the Python signature |
# | checks | `TORCH_CHECK` | an exception while tracing |
# | result | `at::empty` | `out_shape` |
# | dtype switch | `AT_DISPATCH_FLOATING_TYPES` | the type of the input, when compiled |
# | parallel loop | `at::parallel_for`, CUDA grid | `grid`, one program per block |
# | backward | `derivatives.yaml` | `jax.custom_vjp` |
# | in place, `out=` | two more entries | donated buffers |
#
# Pallas compiles to Triton or Mosaic on a GPU. On a CPU it is *interpreted*: slow, and exact, which
# is how kernels are tested. Ours computes $|x|$ softly, $\sqrt{x^2 + \epsilon^2} - \epsilon$, in
# blocks of 256 numbers.

# %%
BLOCK, EPS = 256, 0.1
interpret = jax.default_backend() == "cpu"


def soft_abs_kernel(x_ref, y_ref):
    x = x_ref[...]  # a block of the input, in fast memory
    y_ref[...] = jnp.sqrt(x * x + EPS * EPS) - EPS


@jax.custom_vjp
def soft_abs(x):
    if x.ndim != 1 or x.size % BLOCK:
        raise ValueError(f"expected a vector of a multiple of {BLOCK} numbers, got {x.shape}")
    block = pl.BlockSpec((BLOCK,), lambda i: (i,))
    return pl.pallas_call(
        soft_abs_kernel,
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        grid=(x.size // BLOCK,),
        in_specs=[block],
        out_specs=block,
        interpret=interpret,
    )(x)


soft_abs.defvjp(
    lambda x: (soft_abs(x), x),
    lambda x, g: (g * x / jnp.sqrt(x * x + EPS * EPS),),
)

# %% [markdown]
# A kernel needs three tests: its values against a plain formula, its gradient against finite
# differences, and its error.

# %%
x = random.normal(random.key(0), (1024,))
np.testing.assert_allclose(soft_abs(x), np.sqrt(np.square(x) + EPS**2) - EPS, atol=1e-6)
check_grads(soft_abs, (x[:BLOCK],), order=1, modes=["rev"], atol=0.01, rtol=0.01)
try:
    soft_abs(jnp.ones(100))
except ValueError as error:
    print(error)
print(soft_abs(jnp.ones(BLOCK, jnp.bfloat16)).dtype)  # the same kernel for another type

# %%
grid = jnp.linspace(-1, 1, BLOCK)
fig, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
axis.plot(grid, jnp.abs(grid), "--", color="gray", label="|x|")
axis.plot(grid, soft_abs(grid), label="kernel")
axis.plot(
    grid, jax.vmap(jax.grad(lambda x: soft_abs(jnp.full(BLOCK, x))[0]))(grid), label="its slope"
)
axis.set(xlabel="x", ylabel="value")
axis.legend()
plt.show()

# %% [markdown]
# Away from zero the kernel follows $|x|$ a little below; at zero it is round, and its slope goes
# through zero instead of jumping from −1 to 1.
#
# For code in C++ or CUDA that exists already there is `jax.ffi`: a compiled function gets the
# buffers of the arguments and of the result, and `jax.ffi.ffi_call` puts it into a jaxpr, where
# `custom_vjp` gives it a gradient in the same way.
#
# ## The map
#
# | | PyTorch | JAX |
# |---|---|---|
# | what users import | `torch/` | `jax/` |
# | glue between Python and C++ | `torch/csrc` | `jaxlib` |
# | array operations | `aten/` | `jax.numpy`, `jax.lax` → XLA |
# | the core: types, devices, dispatch | `c10/` | XLA, PJRT |
# | its four parts | tensors, autograd, nn, optim | `jax.numpy`, `jax.grad`, Flax, Optax |
#
# Building PyTorch from source takes an hour, so its guides speak of compiler caches and of
# building only what changed. Optimizers, layers and losses of JAX are Python: edit and rerun.
# jaxdl's own
# folders are listed, with the direction of their imports, in CONTRIBUTING.md.
#
# ## Exercises
#
# 1. How many `tanh` does the *gradient* of `f` compute? Ask the compiler.
# 2. Write the kernel for `softplus`, $\log(1 + e^x)$, in blocks, with its gradient.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: as many as the function itself; the backward pass uses the value of the forward pass
x = jnp.linspace(-1.0, 1.0, 1024)
of_gradient = jax.jit(jax.grad(lambda x: f(x).sum())).lower(x).compile().cost_analysis()
assert of_gradient["transcendentals"] == 1024


# 2
def softplus_kernel(x_ref, y_ref):
    x = x_ref[...]
    y_ref[...] = jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@jax.custom_vjp
def softplus(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return pl.pallas_call(softplus_kernel, out_shape=shape, interpret=interpret)(x)


softplus.defvjp(lambda x: (softplus(x), x), lambda x, g: (g * jax.nn.sigmoid(x),))
np.testing.assert_allclose(softplus(x), jax.nn.softplus(x), atol=1e-6)
check_grads(softplus, (x[:8],), order=1, modes=["rev"], atol=0.01, rtol=0.01)

# %% [markdown]
# **Next**: [06 · How does data reach the network?](06_data.ipynb)
