# ---
# jupyter:
#   jaxdl:
#     covers: [R10, R11, R12]
#     outputs: [83, 84, 85, 86, 87, 96]
#     mistakes: [39, 48, 54]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · What does gradient descent find?
#
# Three problems with two, three and five unknowns. They are small enough to know the right answer
# by other means, so that you can see how near gradient descent comes, how fast, and why it
# sometimes stops short: a line through points, a border between two clouds, a polynomial through
# a sine.
#
# *You need*: [03 · Autodiff](03_autodiff.ipynb). *Time*: 40 minutes to read, half a minute to
# run. *What comes out*: a line that gradient descent finds to three digits, a border that is right
# for 99 % of the points, and a polynomial that after 30,000 steps is still twice as far from the
# sine as the best one, 0.004756.

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

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import losses, metrics, optim, train
from jaxdl.data import synthetic
from jaxdl.models.tutorial import PolynomialRegressor

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## A line through points
#
# Twenty points near $y = 2x + 5$. The loss is half the mean squared error, a function of two
# numbers: a landscape that can be drawn.

# %%
points = synthetic.line(random.key(0), 20)
x, y = points["input"], points["target"]


def loss_of(params):
    w, b = params
    return 0.5 * jnp.mean((w * x + b - y) ** 2)


start = jnp.array([0.0, 0.0])
print(loss_of(start), jax.grad(loss_of)(start))
by_hand = jnp.array([jnp.mean((0 - y) * x), jnp.mean(0 - y)])
np.testing.assert_allclose(jax.grad(loss_of)(start), by_hand, rtol=1e-5)

# %% [markdown]
# Gradient descent is one line, and a thousand steps are one `scan`. The rate must stay below two
# over the largest curvature; the Hessian says what that is. *Is .05 below the limit?*

# %%
curvatures = jnp.linalg.eigvalsh(jax.hessian(loss_of)(start))
rate = 0.9 / float(curvatures[-1])
print(f"curvatures {curvatures.round(2)}, limit {2 / float(curvatures[-1]):.3f}")


def descend(params, _):
    new = params - rate * jax.grad(loss_of)(params)
    return new, new


found, path = jax.lax.scan(descend, start, length=1000)
exact = jnp.linalg.lstsq(jnp.stack([x, jnp.ones_like(x)], 1), y)[0]
print(found.round(4), exact.round(4))
np.testing.assert_allclose(found, exact, rtol=1e-3)

# %%
w, b = jnp.meshgrid(jnp.linspace(-0.5, 3, 80), jnp.linspace(-1, 8, 80))
heights = jax.vmap(jax.vmap(lambda w, b: loss_of((w, b))))(w, b)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.scatter(x, y, s=12)
ends = jnp.array([0.0, 10.0])
left.plot(ends, found[0] * ends + found[1], color="tab:red")
left.set(xlabel="x", ylabel="y")
lines = right.contour(w, b, jnp.log10(heights), 20, cmap="viridis")
right.plot(*path.T, color="tab:red", marker=".", markersize=3, linewidth=0.8)
right.set(xlabel="w", ylabel="b")
fig.colorbar(lines, label="log₁₀ loss")
plt.show()

# %% [markdown]
# Left: the line. Right: the way there. The valley is long and narrow, so the first steps go down
# its side, and hundreds of small ones along its floor: one curvature is far larger than the
# other, and the rate must fit the larger.
#
# The courses' loop stops when the loss is below 1, which is after about a hundred steps, long
# before the line is found: *a small loss is not yet an answer*.

# %%
below_one = int(jnp.argmax(jax.vmap(loss_of)(path) < 1)) + 1
print(
    f"below 1 after {below_one} steps: b = {path[below_one - 1][1]:.2f}, in the end {found[1]:.2f}"
)
assert abs(path[below_one - 1][1] - found[1]) > 10 * abs(path[-1][1] - found[1])

# %% [markdown]
# ## A border between two clouds
#
# **Logistic** regression answers yes or no: a line again, then a sigmoid that turns its value
# into a probability. (A model without the sigmoid is linear regression, with it logistic; a
# well-known set of notes has the names the other way round. The sigmoid belongs into the loss,
# which is more exact.) The targets are of shape (200,), like the logits; (200, 1) against (200,)
# would broadcast to a table.
#
# ```python
# # PyTorch
# logits, target = torch.zeros(200), torch.ones(200)
# loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
# assert abs(loss.item() - 0.693147) < 1e-6
# assert (logits[:, None] - target).shape == (200, 200)  # the trap
# ```

# %%
clouds = synthetic.two_gaussians(random.key(1))
inputs, labels = clouds["input"], clouds["label"]


def loss_fn(params, model_state, batch, *, key, train):
    logits = batch["input"] @ params["w"] + params["b"]
    loss = metrics.mean(losses.binary_cross_entropy(logits, batch["label"].astype(jnp.float32)))
    right = metrics.mean((logits > 0) == (batch["label"] == 1))
    return loss.total / loss.count, (model_state, {"loss": loss, "accuracy": right})


from jaxdl.types import TrainState

tx = optim.sgd(0.01, momentum=0.9)
params = {"w": jnp.zeros(2), "b": jnp.zeros(())}
state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), random.key(0))
step = train.make_step(loss_fn, tx)
state, history = jax.jit(
    lambda state, data: train.fit(
        step, state, data, num_epochs=400, batch_size=200, key=random.key(2)
    )
)(state, clouds)
accuracy = history["train/accuracy"]
print(f"accuracy {accuracy[-1]:.3f} after {len(accuracy)} steps")
assert accuracy[-1] > 0.98

# %%
fig, axis = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
axis.scatter(*inputs.T, c=labels, cmap="coolwarm", s=10)
w, b = state.params["w"], state.params["b"]
across = jnp.array([-3.0, 5.0])
axis.plot(across, -(w[0] * across + b) / w[1], color="black")
axis.set(xlabel="first feature", ylabel="second feature", ylim=(-4, 6))
plt.show()

# %% [markdown]
# The border is where the logit is zero: $w_1 x_1 + w_2 x_2 + b = 0$, solved for $x_2$. The few
# points on the wrong side lie where the clouds overlap; no line gets them all.
#
# ## A polynomial through a sine
#
# A quartic has five coefficients. The best one is a linear problem, solved at once; gradient
# descent takes 30,000 steps (one `scan`) through a layer that makes the coefficients, and is not
# done then.

# %%
curve = synthetic.sine(random.key(3))
basis = jnp.stack([curve["input"] ** k for k in range(5)], axis=1)
best = jnp.linalg.lstsq(basis, curve["clean"])[0]
floor = float(jnp.mean((basis @ best - curve["clean"]) ** 2))
print(f"the best quartic: {floor:.6f}")
np.testing.assert_allclose(floor, 0.004756, atol=2e-6)

# %%
model, tx = PolynomialRegressor(4), optim.sgd(1e-3, momentum=0.9)
data = {name: array[None] for name, array in curve.items()}  # one example: the whole curve
loss_fn = train.supervised(model, losses.squared_error, inputs="input", targets="clean")
step = train.make_step(loss_fn, tx)
state = train.init_state(model, tx, random.key(4), data["input"])
num_steps = 3_000 if small else 30_000
state, history = jax.jit(
    lambda state, data: train.fit(
        step, state, data, num_epochs=num_steps, batch_size=1, key=random.key(5)
    )
)(state, data)
fitted = model.apply({"params": state.params}, data["input"])[0]
error = float(jnp.mean((fitted - curve["clean"]) ** 2))
print(f"after {num_steps:,} steps: {error:.4f}")
assert error > floor
if not small:
    assert error < 0.012

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(curve["input"], curve["clean"], "--", color="gray", label="sine")
left.plot(curve["input"], fitted, label="gradient descent")
left.plot(curve["input"], basis @ best, label="best quartic")
left.set(xlabel="x", ylabel="y")
left.legend()
right.loglog(np.arange(1, num_steps + 1), history["train/loss"])
right.axhline(floor, color="black", linestyle="--", linewidth=0.8, label="best possible")
right.set(xlabel="step", ylabel="mean squared error")
right.legend()
plt.show()

# %% [markdown]
# The right picture is what "it has converged" often looks like: the loss is flat to the eye, and
# yet twice the best. (The source of this example draws noise and then trains on the clean curve,
# and it seeds NumPy while the noise comes from PyTorch. Here the key of the noise is the argument
# of the function that draws it.)
#
# ## Losses, by hand
#
# Every loss of jaxdl returns one number per example, never a mean. *Compute each before you look.*

# %%
a, b = jnp.array([0.0, 1.0]), jnp.array([1.0, 3.0])
assert float(losses.absolute_error(a, b).mean()) == 1.5
assert float(losses.squared_error(a, b).mean()) == 2.5
divergence = losses.kl_divergence(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[0.25, 0.75]]))
print(divergence)
np.testing.assert_allclose(divergence, 0.13081, atol=1e-5)

anchor, positive = jnp.zeros((2, 2)), jnp.array([[1.0, 0.0], [1.0, 0.0]])
negative = jnp.array([[0.0, 3.0], [0.0, 1.5]])
triplet = losses.triplet_margin(anchor, positive, negative)
print(triplet)
np.testing.assert_allclose(triplet, [0, 0.5], atol=1e-5)
ranking = losses.margin_ranking(jnp.array([0.2]), jnp.array([0.5]), jnp.array([1.0]))
np.testing.assert_allclose(ranking, [0.3], rtol=1e-6)
hinge = losses.hinge_embedding(jnp.array([0.5, 2.0]), jnp.array([1.0, -1.0]))
np.testing.assert_allclose(hinge.mean(), 0.25)

# %% [markdown]
# ## Exercises
#
# 1. Fit the line with `optim.adam(0.1)` instead of plain descent. How many steps until `b` is right
#    to two digits?
# 2. Standardize `x` first. What happens to the two curvatures, and to the number of steps?

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 2: with standardized inputs both curvatures are 1, and one step of rate 1 arrives
mean, deviation = x.mean(), x.std()


def standard_loss(params):
    return 0.5 * jnp.mean((params[0] * (x - mean) / deviation + params[1] - y) ** 2)


np.testing.assert_allclose(jnp.linalg.eigvalsh(jax.hessian(standard_loss)(start)), 1, rtol=1e-4)
one = start - jax.grad(standard_loss)(start)
np.testing.assert_allclose(one[0] / deviation, exact[0], rtol=1e-3)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: Adam scales each parameter by itself
tx = optim.adam(0.1)


def adam_step(carry, _):
    params, state = carry
    updates, state = tx.update(jax.grad(loss_of)(params), state, params)
    return (params + updates, state), params + updates


_, steps = jax.lax.scan(adam_step, (start, tx.init(start)), length=1000)
near = jnp.abs(steps[:, 1] - exact[1]) < 0.01
print("steps of Adam:", int(jnp.argmax(near)))
assert near.any()

# %% [markdown]
# **Next**: [09 · What does a training loop do?](09_training_loop.ipynb)
