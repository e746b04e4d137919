# ---
# jupyter:
#   jaxdl:
#     covers: [A01, A02, A03, A04, A05, A06, A07, A08, A09, A10, A11, A12, A13, A14, A15, A16, A17,
#       A18, A19, A20, A21, A22, A23, A24, A25, A26, A27, Q03, Q09]
#     outputs: [30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41]
#     mistakes: [1, 2, 18, 44, 52, 60, 65, 66]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Where do gradients come from?
#
# PyTorch records what you do to a tensor and plays the record backward. JAX takes the *function*
# and gives you another function: its gradient. There is no flag on the array, no record to free, no
# gradient that has to be set to zero. This notebook works through every example of a first course
# of autograd in that way, up to derivatives of derivatives and rules of your own.
#
# *You need*: [01 · Arrays](01_arrays.ipynb) and the chain rule. *Time*: 45 minutes to read, ten
# seconds to run. *What comes out*: gradients that you can check by hand (14, 64, 33), and a small
# network whose ten steps of gradient descent, written in four lines, are those of Optax.

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
import optax
from jax import random
from jax.test_util import check_grads

from jaxdl import losses

small = bool(os.environ.get("JAXDL_SMALL"))  # this notebook is small anyway

# %% [markdown]
# ## One function, its value and its gradient
#
# The first example of many courses: $y = \operatorname{mean}((x - 1)^2 + 4)$ at the two values
# $x = [0, 1]$ (two numbers, not an interval). By the chain rule, with $a = x - 1$, $b = a^2$,
# $c = b + 4$:
#
# | stage | derivative | at x = [0, 1] |
# |---|---|---|
# | $a = x - 1$ | 1 | [1, 1] |
# | $b = a^2$ | $2a$ | [−2, 0] |
# | $c = b + 4$ | 1 | [1, 1] |
# | $y = \frac1N\sum c$ | $\frac1N$ | [½, ½] |
# | product | $\frac2N (x - 1)$ | **?** |
#
# *Multiply the last column before you go on.* One published text gives [−0.5, 0.5].
#
# ```python
# # PyTorch
# x = torch.tensor([0.0, 1.0], requires_grad=True)
# y = ((x - 1) ** 2 + 4).mean()
# y.backward()
# assert y.item() == 4.5
# assert x.grad.tolist() == [-1, 0]
# ```


# %%
def f(x):
    return jnp.mean((x - 1) ** 2 + 4)


value, gradient = jax.value_and_grad(f)(jnp.array([0.0, 1.0]))
print(value, gradient)
assert value == 4.5
assert gradient.tolist() == [-1, 0]

# %% [markdown]
# Each stage can be asked on its own: `jax.jvp` pushes a small change of the input forward.

# %%
x, change = jnp.array([0.0, 1.0]), jnp.ones(2)
a, da = jax.jvp(lambda x: x - 1, (x,), (change,))
b, db = jax.jvp(jnp.square, (a,), (da,))
c, dc = jax.jvp(lambda b: b + 4, (b,), (db,))
print(da, db, dc)
assert (dc / 2).tolist() == [-1, 0]

# %% [markdown]
# ## Which argument?
#
# In PyTorch a flag on the tensor (`requires_grad`) says what to differentiate, it spreads to
# everything computed from it, and only leaves keep a gradient. In JAX **you** say it when you ask,
# with `argnums`. Arrays know nothing of gradients; inside, JAX calls your function with *tracers*
# in place of the arrays that you named.
#
# ```python
# # PyTorch
# x, y, z = torch.ones(2), torch.ones(2), torch.ones(2, requires_grad=True)
# assert not (x + y).requires_grad
# assert (x + z).requires_grad
# assert z.is_leaf
# assert not (x + z).is_leaf
# ```


# %%
def mean_of(inputs, temp):
    return jnp.mean(inputs + temp + 2)


inputs, temp = jnp.ones((2, 2)), jnp.zeros((2, 2))
print(mean_of(inputs, temp), jax.grad(mean_of, argnums=1)(inputs, temp).tolist())
assert mean_of(inputs, temp) == 3
assert jax.grad(mean_of, argnums=1)(inputs, temp).tolist() == [[0.25, 0.25], [0.25, 0.25]]

# %% [markdown]
# Some that you can do in your head. *Write down each gradient first.*

# %%
assert jax.grad(lambda x: x**2 + 3 * x + 1)(2.0) == 7
assert jax.grad(jnp.sum)(jnp.array([1.0, 2.0, 3.0])).tolist() == [1, 1, 1]
average, slope = jax.value_and_grad(lambda x: jnp.mean(3 * (x + 2) ** 2))(jnp.ones((2, 2)))
print(average, slope.tolist())
assert average == 27
assert slope.tolist() == [[4.5, 4.5], [4.5, 4.5]]
np.testing.assert_allclose(jax.grad(jnp.cos)(1.0), -np.sin(1.0), rtol=1e-6)

# %% [markdown]
# The GAN book's first curve is $y = (x-1)(x-2)(x-3)$, with the slope $3x^2 - 12x + 11$. `grad` is
# for one number; `vmap` makes it a function of many, so a curve of slopes is one line.


# %%
def cubic(x):
    return (x - 1) * (x - 2) * (x - 3)


slope_at = jax.grad(cubic)
print(cubic(3.5), slope_at(3.5))
assert (cubic(3.5), slope_at(3.5)) == (1.875, 5.75)

xs = jnp.linspace(0.5, 4, 200)
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6, 4.5), sharex=True, layout="constrained")
top.plot(xs, cubic(xs), label="y")
top.plot(xs, cubic(3.5) + slope_at(3.5) * (xs - 3.5), "--", label="tangent at 3.5")
top.set(ylabel="y", ylim=(-3, 5))
top.legend()
bottom.plot(xs, jax.vmap(slope_at)(xs), color="tab:green")
bottom.axhline(0, color="gray", linewidth=0.5)
bottom.set(xlabel="x", ylabel="dy/dx")
plt.show()

# %% [markdown]
# Where the lower curve crosses zero, the upper one is flat; at 3.5 the lower one stands at 5.75,
# and that is how steep the dashed tangent is.
#
# ## The graph
#
# $x \to y = x^2 \to z = 2y + 3$. Asked is $dz/dx$ (a note on the same example asks for $dy/dx$ and
# means this): $2 \cdot 2x = 4x$. PyTorch keeps the graph in the tensors (`grad_fn`); JAX shows it
# when you ask, as a **jaxpr**: every line one operation, every name a value.


# %%
def z(x):
    y = x**2
    return 2 * y + 3


print(jax.make_jaxpr(z)(3.5))
assert (z(3.5), jax.grad(z)(3.5)) == (27.5, 14)

# %% [markdown]
# Two paths add up. With $x = 2a + 3b$, $y = 5a^2 + 3b^3$, $z = 2x + 3y$ at $a = 2$, $b = 1$ (not at
# 3.5, as one note has it), $a$ reaches $z$ through $x$ and through $y$:
# $\frac{dz}{da} = 2 \cdot 2 + 3 \cdot 10a$. *Which number is that?*


# %%
def two_paths(a, b):
    x = 2 * a + 3 * b
    y = 5 * a**2 + 3 * b**3
    return 2 * x + 3 * y


print(two_paths(2.0, 1.0), *jax.grad(two_paths, argnums=(0, 1))(2.0, 1.0))
assert two_paths(2.0, 1.0) == 83
assert jax.grad(two_paths, argnums=(0, 1))(2.0, 1.0) == (64, 33)


# %%
def draw_graph(axis, places, arrows):
    """Draws named nodes and arrows with a derivative beside each."""
    box = {"boxstyle": "round,pad=0.4", "fc": "white"}
    nodes = {
        name: axis.text(*place, name, ha="center", va="center", bbox=box).get_bbox_patch()
        for name, place in places.items()
    }
    for start, end, text in arrows:
        (x0, y0), (x1, y1) = places[start], places[end]
        ends = {"patchA": nodes[start], "patchB": nodes[end], "shrinkA": 0, "shrinkB": 2}
        axis.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", **ends})
        axis.text(x0 + 0.27 * (x1 - x0), y0 + 0.27 * (y1 - y0) + 0.08, text, color="tab:red")
    axis.set(xlim=(-0.4, 4.6), ylim=(-0.3, 1.4))
    axis.axis("off")


# %%
fig, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
places = {
    "a": (0, 1),
    "b": (0, 0),
    "x = 2a+3b": (2, 1),
    "y = 5a²+3b³": (2, 0),
    "z = 2x+3y": (4, 0.5),
}
arrows = [("a", "x = 2a+3b", "2"), ("b", "x = 2a+3b", "3"), ("a", "y = 5a²+3b³", "10a")]
arrows += [
    ("b", "y = 5a²+3b³", "9b²"),
    ("x = 2a+3b", "z = 2x+3y", "2"),
    ("y = 5a²+3b³", "z = 2x+3y", "3"),
]
draw_graph(axis, places, arrows)
plt.show()

# %% [markdown]
# To read a gradient off the picture, multiply along each path and add the paths: from $a$ to $z$
# that is $2\cdot2 + 10a\cdot3 = 64$.
#
# ## Outputs that are vectors
#
# A gradient belongs to *one* number. For a vector, PyTorch's `backward` wants a weight for each
# output; the weights are called a **cotangent**. `jax.vjp` returns the value and a function from
# cotangents to gradients. For $Q = 3a^3 - b^2$:
#
# ```python
# # PyTorch
# a = torch.tensor([2.0, 3.0], requires_grad=True)
# b = torch.tensor([6.0, 4.0], requires_grad=True)
# Q = 3 * a**3 - b**2
# Q.backward(gradient=torch.ones(2))
# assert a.grad.tolist() == [36, 81]
# assert b.grad.tolist() == [-12, -8]
# ```

# %%
Q, pull = jax.vjp(lambda a, b: 3 * a**3 - b**2, jnp.array([2.0, 3.0]), jnp.array([6.0, 4.0]))
grad_a, grad_b = pull(jnp.ones(2))
print(Q, grad_a, grad_b)
assert Q.tolist() == [-12, 65]
assert (grad_a.tolist(), grad_b.tolist()) == ([36, 81], [-12, -8])

# %% [markdown]
# `pull` is an ordinary function: it can be called as often as you like. In PyTorch a second
# `backward` fails unless the **first** kept the graph (`retain_graph=True`); asking for it in the
# second call, as some notes do, is too late.
#
# ```python
# # PyTorch
# x = torch.ones(2, requires_grad=True)
# y = (x**2).sum()
# y.backward()
# try:
#     y.backward(retain_graph=True)
#     raise AssertionError("the graph was freed by the first call")
# except RuntimeError:
#     pass
# ```

# %%
eye = jnp.eye(5)
out, pull = jax.vjp(lambda x: (x + 1) ** 2, eye)
once, twice = pull(jnp.ones((5, 5)))[0], pull(2 * jnp.ones((5, 5)))[0]
print(once[0], twice[0])
assert once[0].tolist() == [4, 2, 2, 2, 2]
assert jnp.array_equal(twice, 2 * once)

# %% [markdown]
# **All** derivatives of all outputs are the Jacobian. `jacrev` builds it row by row (a `vjp` for
# each output), `jacfwd` column by column (a `jvp` for each input): take the one with fewer calls.

# %%
wide = random.normal(random.key(0), (3, 5))


def layer(x):
    return jnp.tanh(wide @ x)


rows = jax.jacrev(layer)(jnp.ones(5))  # three calls
columns = jax.jacfwd(layer)(jnp.ones(5))  # five calls
assert rows.shape == columns.shape == (3, 5)
np.testing.assert_allclose(rows, columns, rtol=1e-5)

# %% [markdown]
# ## Derivatives of derivatives
#
# The gradient is a function, so differentiate it again. For $x^3$ at 2 the first and the second
# derivative happen to be equal. *Both are…?*


# %%
def cube(x):
    return x**3


print(jax.grad(cube)(2.0), jax.grad(jax.grad(cube))(2.0))
assert (jax.grad(cube)(2.0), jax.grad(jax.grad(cube))(2.0)) == (12, 12)
hessian = jax.hessian(lambda v: v[0] ** 2 * v[1] + v[1] ** 3)(jnp.array([1.0, 2.0]))
print(hessian.tolist())
assert hessian.tolist() == [[4, 2], [2, 12]]  # [[2y, 2x], [2x, 6y]]

# %% [markdown]
# The Hessian of a million parameters does not fit anywhere, but its product with a vector costs
# two gradients: push a direction forward through the gradient.


# %%
def rosenbrock(v):
    return jnp.sum(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2)


point, direction = jnp.arange(5.0) / 5, jnp.array([1.0, 0, -1, 0, 2])
_, product = jax.jvp(jax.grad(rosenbrock), (point,), (direction,))
np.testing.assert_allclose(product, jax.hessian(rosenbrock)(point) @ direction, rtol=1e-4)

# %% [markdown]
# ## Blocking a path
#
# | PyTorch | for what | JAX |
# |---|---|---|
# | `with torch.no_grad():` | inference | do not call `grad` |
# | `y.detach()` | a path that shall not count | `jax.lax.stop_gradient(y)` |
# | `p.requires_grad_(False)` | freezing | give `grad` only what is trained, or mask the update |
#
# $x^2 + x^3$ at 1, with the cube blocked: the value is 2 and so is the gradient. (Calling `detach`
# on a tensor that no gradient was asked of, as in one text, shows nothing: it changes nothing.)

# %%
blocked = jax.value_and_grad(lambda x: x**2 + jax.lax.stop_gradient(x**3))
print(*blocked(1.0), jax.grad(lambda x: x**2 + x**3)(1.0))
assert blocked(1.0) == (2, 2)
assert jax.grad(lambda x: x**2 + x**3)(1.0) == 5

# %% [markdown]
# **Freezing** is a mask on the update. Fine-tuning a language model often trains less than a
# hundredth of its parameters in this way.

# %%
params = {"backbone": jnp.ones(3), "head": jnp.ones(2)}
labels = {"backbone": "frozen", "head": "trained"}
tx = optax.multi_transform({"trained": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels)
grads = jax.grad(lambda p: jnp.sum(p["backbone"]) * jnp.sum(p["head"]))(params)
updates, _ = tx.update(grads, tx.init(params), params)
moved = optax.apply_updates(params, updates)
print(moved["backbone"], moved["head"])
assert jnp.array_equal(moved["backbone"], params["backbone"])
np.testing.assert_allclose(moved["head"], 0.7)

# %% [markdown]
# ## Values on the way
#
# PyTorch frees the values of inner nodes after `backward`, and keeps the gradient of one only if
# you call `retain_grad`. In JAX you return what you want to see (`has_aux`), and the gradient with
# respect to an inner value is the gradient with respect to a zero that you add there.


# %%
def with_inner(x, added):
    inner = x**2 + added
    return jnp.sum(3 * inner), inner


(loss, inner), at_inner = jax.value_and_grad(with_inner, argnums=1, has_aux=True)(
    jnp.array([1.0, 2.0]), jnp.zeros(2)
)
print(inner, at_inner)
assert inner.tolist() == [1, 4]
assert at_inner.tolist() == [3, 3]

# %% [markdown]
# ## A network without a framework
#
# Parameters are a **pytree**: dictionaries, lists and tuples with arrays in them. `grad` of a
# function of a pytree is a pytree of the same form. First one layer with the loss of a yes-or-no
# question ("binary cross entropy with logits"), five inputs and three outputs:

# %%
w_key, b_key, first_key, second_key = random.split(random.key(1), 4)
params = {"w": random.normal(w_key, (5, 3)), "b": random.normal(b_key, (3,))}


def loss_of(params):
    logits = jnp.ones(5) @ params["w"] + params["b"]
    return jnp.mean(losses.binary_cross_entropy(logits, jnp.zeros(3)))


grads = jax.grad(loss_of)(params)
print(jax.tree.map(jnp.shape, grads))
logits = jnp.ones(5) @ params["w"] + params["b"]
np.testing.assert_allclose(grads["b"], jax.nn.sigmoid(logits) / 3, rtol=1e-5)  # by hand
np.testing.assert_allclose(grads["w"], jnp.outer(jnp.ones(5), grads["b"]), rtol=1e-5)

# %% [markdown]
# What is the graph that PyTorch would walk (`loss.grad_fn.next_functions`)? The jaxpr of the
# *gradient* shows forward and backward pass as one program; notebook 05 follows it down to the
# machine.

# %%
tiny = jax.make_jaxpr(jax.grad(lambda w: jnp.mean((jax.nn.relu(2.0 * w) - 1.0) ** 2)))(jnp.ones(3))
operations = [equation.primitive.name for equation in tiny.eqns]
print(", ".join(operations))
assert "mul" in operations

# %% [markdown]
# Two layers, sigmoid, mean squared error, ten steps of gradient descent with the rate .001. The
# **gradient** comes from `grad`; the **update** $w \leftarrow w - \eta\, g$ is a line of your own.
# (`backward` does not update anything in PyTorch either, though it is sometimes said; the optimizer
# does.) Optax does the same arithmetic.

# %%
params = {
    "w1": random.normal(first_key, (5, 4)),
    "w2": random.normal(second_key, (3, 5)),
}
column, target = jnp.ones((4, 1)), jnp.full((3, 1), 0.3)


def two_layers(params):
    hidden = jax.nn.sigmoid(params["w1"] @ column)
    return jnp.mean((jax.nn.sigmoid(params["w2"] @ hidden) - target) ** 2)


by_hand, history = params, []
for _ in range(10):
    loss, grads = jax.value_and_grad(two_layers)(by_hand)
    by_hand = jax.tree.map(lambda w, g: w - 0.001 * g, by_hand, grads)
    history.append(float(loss))

tx = optax.sgd(0.001)
with_optax, state = params, tx.init(params)
for _ in range(10):
    updates, state = tx.update(jax.grad(two_layers)(with_optax), state)
    with_optax = optax.apply_updates(with_optax, updates)
jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs), by_hand, with_optax)
assert history[-1] < history[0]

# %% [markdown]
# **Nothing accumulates.** In PyTorch a second `backward` *adds* to `.grad`, which is why loops call
# `zero_grad` (and why calling it where there is no gradient yet fails). In JAX gradients are return
# values. If you want to add the gradients of several batches, add them, or let Optax do it:

# %%
tx = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)
state = tx.init(jnp.array(1.0))
first, state = tx.update(jnp.array(2.0), state, jnp.array(1.0))
second, state = tx.update(jnp.array(4.0), state, jnp.array(1.0))
print(first, second)  # nothing, then the mean gradient 3 times the rate
assert first == 0
np.testing.assert_allclose(second, -0.3, rtol=1e-6)

# %% [markdown]
# Linen keeps the parameters outside the layer, so the same three lines train a network of layers:

# %%
network = linen.Sequential([linen.Dense(5), linen.sigmoid, linen.Dense(3), linen.sigmoid])
variables = network.init(random.key(0), jnp.ones((1, 4)))
grads = jax.grad(lambda v: jnp.mean((network.apply(v, jnp.ones((1, 4))) - 0.3) ** 2))(variables)
assert jax.tree.structure(grads) == jax.tree.structure(variables)

# %% [markdown]
# ## if and for
#
# Python's control flow works in `grad`, because JAX runs your function once per call. Under `jit`
# the program is made *before* the values are known, and a branch that depends on one needs
# `lax.cond`; a loop whose length does needs `lax.while_loop` (which has no reverse gradient), and a
# loop of fixed length is a `lax.scan`. Notebook 04 has them all.


# %%
def power(x, n):
    result = 1.0
    for _ in range(n):
        result = result * x
    return result if result > 0 else -result


assert jax.grad(power)(2.0, 3) == 12
assert jax.grad(power)(-2.0, 3) == -12
scanned = jax.jit(jax.grad(lambda x: jax.lax.scan(lambda c, _: (c * x, None), 1.0, length=3)[0]))
assert scanned(2.0) == 12

# %% [markdown]
# ## Rules of your own
#
# PyTorch's `torch.autograd.Function` has a forward and a backward; `jax.custom_vjp` too. A good
# reason is a formula that the machine would evaluate badly: $\log(1 + e^x)$ overflows for large
# $x$, and its gradient with it.
#
# ```python
# # PyTorch
# class LogOnePlusExp(torch.autograd.Function):
#     @staticmethod
#     def forward(ctx, x):
#         ctx.save_for_backward(x)
#         return torch.log1p(torch.exp(x))
#
#     @staticmethod
#     def backward(ctx, g):
#         (x,) = ctx.saved_tensors
#         return g * torch.sigmoid(x)
#
#
# x = torch.tensor(100.0, requires_grad=True)
# LogOnePlusExp.apply(x).backward()
# assert x.grad == 1
# ```


# %%
def naive(x):
    return jnp.log1p(jnp.exp(x))


@jax.custom_vjp
def log_one_plus_exp(x):
    return naive(x)


def forward(x):
    return naive(x), x  # the value, and what the backward pass needs


def backward(x, g):
    return (g * jax.nn.sigmoid(x),)


log_one_plus_exp.defvjp(forward, backward)
print(jax.grad(naive)(100.0), jax.grad(log_one_plus_exp)(100.0))
assert jnp.isnan(jax.grad(naive)(100.0))
assert jax.grad(log_one_plus_exp)(100.0) == 1
check_grads(log_one_plus_exp, (0.5,), order=1, modes=["rev"])  # compared with finite differences

# %% [markdown]
# A historical note, because old code is full of it: until version 0.4 (2018) PyTorch wrapped every
# tensor in a `Variable` with the fields `data`, `grad`, `grad_fn` and `is_leaf`. They are one class
# since. JAX never had either.
#
# ## Exercises
#
# 1. What is the gradient of $x^2 + 3x + 1$ at 2, and how does JAX know what to differentiate?
# 2. The Hessian of $x^3 + y^3 + x y$ at (1, 2), by hand and by `jax.hessian`.
# 3. Newton's method: find the minimum of $x^4 - 3x^3 + 2$ from 3, using `grad` of `grad`.
# 4. A gradient penalty, as in WGAN-GP: the gradient, with respect to `w`, of the squared norm of
#    the gradient of $\tanh(w \cdot x)$ with respect to $x$.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: `argnums` (here the first argument, by default) says what to differentiate
assert jax.grad(lambda x: x**2 + 3 * x + 1)(2.0) == 7

# 2: [[6x, 1], [1, 6y]]
hessian = jax.hessian(lambda v: v[0] ** 3 + v[1] ** 3 + v[0] * v[1])(jnp.array([1.0, 2.0]))
assert hessian.tolist() == [[6, 1], [1, 12]]

# 3: the minimum is at 9/4
quartic, x = (lambda x: x**4 - 3 * x**3 + 2), 3.0
for _ in range(8):
    x = x - jax.grad(quartic)(x) / jax.grad(jax.grad(quartic))(x)
np.testing.assert_allclose(x, 9 / 4, rtol=1e-6)


# 4: a gradient of a gradient
def penalty(w, x):
    return jnp.sum(jax.grad(lambda x: jnp.tanh(jnp.vdot(w, x)))(x) ** 2)


check_grads(
    penalty, (jnp.array([0.3, -0.2]), jnp.array([1.0, 2.0])), order=1, modes=["rev"], rtol=0.02
)

# %% [markdown]
# **Next**: [04 · Why does jit need to know the shapes?](04_transformations.ipynb), or go on to
# [05 · What happens inside?](05_inside.ipynb)
