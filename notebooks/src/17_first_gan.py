# ---
# jupyter:
#   jaxdl:
#     covers: [G01, G02, G03, G04, G17, G18, G19, G20, G21, G22, G24]
#     outputs: [88, 89, 90, 98]
#     mistakes: [67, 69]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Can two networks teach each other?
#
# In 2014 Ian Goodfellow let two networks play against each other. The **discriminator** sees an
# example and says how likely it is real. The **generator** makes examples from noise and wants the
# discriminator to take them for real. No one tells the generator what a good example is; it learns
# that from its opponent alone. This notebook does it with 41 numbers in all, small enough to watch,
# and then looks at why it is hard: the players go in circles.
#
# *You need*: [09 · The training loop](09_training_loop.ipynb). *Time*: 45 minutes to read, half a
# minute to run. *What comes out*: a generator whose output is near (0.95, 0.05, 0.9, 0.05); losses
# near 0.25, which is the best that both can do; and a spiral whose radius grows from 0.922 to
# 11.038, to six digits.
#
# The examples of notebooks 17 to 20 are those of Tariq Rashid's book *Make Your First GAN With
# PyTorch*.

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
import math
import os

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax import random

from jaxdl import data, models, optim, train, tree
from jaxdl.losses import adversarial
from jaxdl.models import tutorial

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
num_steps = 2_000 if small else 10_000

# %% [markdown]
# ## Real examples
#
# Four numbers: high, low, high, low, with a little noise.

# %%
real = data.synthetic.pattern_1010(random.key(0), num_steps)["input"]
print(real[:3].round(2))
assert real.shape == (num_steps, 4)
assert real[:, 0].min() >= 0.8
assert real[:, 1].max() < 0.2

# %% [markdown]
# ## Two networks
#
# The discriminator goes 4 → 3 → 1 and the generator 1 → 3 → 4, all sigmoids. *How many parameters
# have they?* (A layer from $m$ to $n$ numbers has $mn + n$.)

# %%
options = {"activation": linen.sigmoid, "layer_norm": False}
discriminator = models.DenseDiscriminator((3,), output_activation=linen.sigmoid, **options)
generator = models.DenseGenerator((3,), (4,), 1, **options)
tx, loss = optim.sgd(0.01), adversarial.least_squares()


def half(key, shape):
    """Noise that is none: the generator always starts from 0.5."""
    return jnp.full(shape, 0.5)


players = train.Players(generator, discriminator, tx, tx, loss, half)
start = train.init_gan_state(players, random.key(1))
sizes = [tree.count(player.params) for player in (start.discriminator, start.generator)]
print(sizes)
assert sizes == [19, 22]

# %% [markdown]
# **Look before you train.** The generator's first output should have the right shape and be near
# one half, because nothing has been learned. jaxdl keeps the batch axis everywhere; code that drops
# it, as much GAN code does, works for one example at a time only.

# %%
first = train.gan.generate(players, start, jnp.full((1, 1), 0.5))
print(first.round(2))
assert first.shape == (1, 4)
assert jnp.all((first > 0.1) & (first < 0.9))

# %% [markdown]
# ## One step
#
# A step shows the discriminator a real example (target 1) and a made one (target 0), then lets the
# generator learn *through* the discriminator (target 1). In PyTorch three calls of `backward` share
# the networks, so the made example is detached in the second and the discriminator's gradients of
# the third are thrown away:
#
# ```python
# # PyTorch
# import torch.nn as nn
#
# torch.manual_seed(0)
# D = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
# G = nn.Sequential(nn.Linear(1, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.Sigmoid())
# d_optimizer = torch.optim.SGD(D.parameters(), lr=0.01)
# g_optimizer = torch.optim.SGD(G.parameters(), lr=0.01)
# real, seed = torch.tensor([[0.9, 0.1, 0.95, 0.05]]), torch.tensor([[0.5]])
# before = [p.clone() for p in D.parameters()]
# for x, target in ((real, 1.0), (G(seed).detach(), 0.0)):
#     d_optimizer.zero_grad()
#     ((D(x) - target) ** 2).mean().backward()
#     d_optimizer.step()
# g_optimizer.zero_grad()
# ((D(G(seed)) - 1.0) ** 2).mean().backward()
# g_optimizer.step()
# assert any((p != q).any() for p, q in zip(before, D.parameters()))
# assert sum(p.numel() for p in D.parameters()) == 19
# ```
#
# In JAX a gradient is asked for by name, so there is nothing to detach or to throw away:
# `make_gan_step(players)` is one pure function from state and batch to state and metrics.
# `separate_updates` makes two updates of the discriminator, one for the real and one for the made
# example, as above.

# %%
step = train.make_gan_step(players, separate_updates=True)
state, metrics = jax.jit(step)(start, {"image": real[:1]})
print({name: round(float(total / count), 3) for name, (total, count) in metrics.items()})
assert state.step == 1
assert not jnp.array_equal(
    jax.tree.leaves(state.generator.params)[0], jax.tree.leaves(start.generator.params)[0]
)

# %% [markdown]
# ## First the discriminator alone
#
# Before you let them play, see whether the discriminator can learn at all: real examples against
# uniform noise. Ten thousand steps are one `scan`, compiled once. *Where will its answers for real
# examples and for noise end, if it is good but not certain?*


# %%
def play(players, start, examples):
    """Makes one step for each example; returns the state and both losses after each step."""
    step = train.make_gan_step(players, separate_updates=True)

    def one(state, example):
        state, metrics = step(state, {"image": example[None]})
        made = train.gan.generate(players, state, jnp.full((1, players.num_latents), 0.5))[0]
        curves = [metrics[f"{name}_loss"].total for name in ("discriminator", "generator")]
        return state, (jnp.stack(curves), made)

    return jax.lax.scan(one, start, examples)


noise = tutorial.NoiseSource((4,))  # a "generator" that hands its noise on
alone = train.Players(noise, discriminator, optim.sgd(0.0), tx, loss, random.uniform)
state, (curves_alone, _) = jax.jit(lambda s, x: play(alone, s, x))(
    train.init_gan_state(alone, random.key(1)), real
)
fresh = data.synthetic.pattern_1010(random.key(2), 1000)["input"]
answers = [
    float(discriminator.apply({"params": state.discriminator.params}, x).mean())
    for x in (fresh, random.uniform(random.key(3), (1000, 4)))
]
print(f"real {answers[0]:.2f}, noise {answers[1]:.2f}")
assert answers[0] > answers[1]
if not small:
    np.testing.assert_allclose(answers, [0.82, 0.22], atol=0.08)

# %% [markdown]
# The book measures .82 and .22. Noise looks like the pattern now and then, so certainty would be
# wrong.
#
# ## Now both

# %%
state, (curves, made) = jax.jit(lambda s, x: play(players, s, x))(start, real)
print(made[-1].round(2))
if not small:
    np.testing.assert_array_less([0.8, 0.8], made[-1, ::2])
    np.testing.assert_array_less(made[-1, 1::2], [0.2, 0.2])

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for axis, losses, title in zip(axes, (curves_alone, curves), ("alone", "both"), strict=True):
    smooth = losses.reshape(100, -1, 2).mean(1)
    steps = np.arange(1, 101) * (num_steps // 100)
    axis.plot(steps, smooth[:, 0], label="discriminator")
    if title == "both":
        axis.plot(steps, smooth[:, 1], label="generator")
    axis.axhline(0.25, color="black", linestyle="--", linewidth=0.8, label="ideal 0.25")
    axis.set(xlabel="step", ylabel="loss (mean of 1 %)", title=title, ylim=(0, 0.6))
axes[1].legend()
plt.show()

# %% [markdown]
# Alone, the discriminator's loss falls far below 0.25: it can tell the two apart. With an
# opponent that learns, both losses end near 0.25. That is not failure but the goal, as the next
# section shows.

# %%
picture = made[:: num_steps // 10].T
fig, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
image = axis.imshow(picture, aspect="auto", vmin=0, vmax=1, cmap="Blues")
axis.set(xlabel=f"time (one column = {num_steps // 10:,} steps)", ylabel="output", yticks=range(4))
fig.colorbar(image, label="value")
plt.show()

# %% [markdown]
# Four outputs, from the first steps (left) to the last (right): the pattern 1010 comes out of gray.
#
# ## The best loss is the worst guess
#
# When the generator is perfect, real and made examples come from the same distribution, and the
# best that a discriminator can do is to answer ½ every time. With squared errors that costs
# $(1 - ½)^2 = ¼$; with cross entropy it costs $-\ln ½ = 0.693$. *A loss near zero therefore
# means…?*

# %%
half_sure = jnp.full((1,), 0.5)
squared = adversarial.least_squares()
entropy = adversarial.on_probabilities()
for game, ideal in ((squared, 0.25), (entropy, math.log(2))):
    losses = [float(game.real(half_sure)[0]), float(game.fake(half_sure)[0])]
    print(losses)
    np.testing.assert_allclose(losses, ideal, rtol=1e-6)

# %% [markdown]
# …that one player has won, and the other learns nothing any more. The remedies have their place in
# the next notebooks: another loss, LeakyReLU, normalization, noise with more dimensions, Adam. When
# the generator finds *one* image that always passes, and makes only that, it is called **mode
# collapse**; notebook 18 shows it on digits.
#
# ## A GAN learns a distribution, not examples
#
# Eight black-and-white images of 3 × 3 pixels. The generator that would be ideal knows for each
# pixel only *how often* it is white, and draws new images from that. *Are all images that it
# draws among the eight?*

# %%
counts = jnp.array([[6, 0, 1], [0, 7, 0], [2, 0, 1]])
probabilities = counts / 8
drawn = random.bernoulli(random.key(4), probabilities, (24, 3, 3))
np.testing.assert_allclose(probabilities, [[0.75, 0, 0.125], [0, 0.875, 0], [0.25, 0, 0.125]])
assert not jnp.any(drawn[:, counts == 0])  # what never was white never becomes white

fig, axes = plt.subplots(3, 8, figsize=(8, 3.1), layout="constrained")
for axis, image in zip(axes.ravel(), drawn, strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# The center and the upper left corner are usually white, the other corners come and go, and
# combinations appear that no example had: new images, from the same distribution.
#
# ## Why is it so hard?
#
# Gradient descent goes *downhill*. A game has no hill: what is down for one is up for the other.
# The smallest game is $f = x\,y$: the first player wants it large and moves $x$ by $+\eta\, y$,
# the second wants it small and moves $y$ by $-\eta\, x$. The fair end would be $(0, 0)$. *Sketch
# the first three steps from (0.6, 0.7) with $\eta = 0.1$.*


# %%
def descend(point, _):
    x, y = point
    point = jnp.array([x + 0.1 * y, y - 0.1 * x])  # both at the same time
    return point, point


_, path = jax.lax.scan(descend, jnp.array([0.6, 0.7]), length=499)
path = np.concatenate([[[0.6, 0.7]], path])
radius = np.linalg.norm(path, axis=1)
print(path[1:4].round(4).tolist())
print(f"radius {radius[0]:.6f} → {radius[-1]:.6f}, growth per step {radius[1] / radius[0]:.8f}")
np.testing.assert_allclose(path[1:4], [[0.67, 0.64], [0.734, 0.573], [0.7913, 0.4996]], rtol=1e-5)
np.testing.assert_allclose(radius[[0, -1]], [0.921954, 11.038047], rtol=2e-5)
np.testing.assert_allclose(path[-1], [1.95226, 10.86403], rtol=1e-4)
np.testing.assert_allclose(radius[1] / radius[0], math.sqrt(1 + 0.1**2), rtol=1e-6)
np.testing.assert_allclose(2 * math.pi / math.atan(0.1), 63.04, rtol=1e-4)  # steps per turn

# %% [markdown]
# The radius grows by $\sqrt{1 + \eta^2} = 1.00498756$ at *every* step: no rate is small enough.
# The step is at a right angle to the way to the center, so it always ends farther out. Updates
# that look ahead do better: *optimistic* descent adds the change of the gradient.


# %%
def optimistic(point, tx):
    def one(carry, _):
        point, state = carry
        gradient = jnp.array([-point[1], point[0]])
        updates, state = tx.update(gradient, state, point)
        return (optax.apply_updates(point, updates), state), point

    return jax.lax.scan(one, (point, tx.init(point)), length=499)[1]


inward = optimistic(jnp.array([0.6, 0.7]), optax.optimistic_gradient_descent(0.1))
fig, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
surface = np.linspace(-1, 1, 50)
height = axes[0].contourf(surface, surface, np.outer(surface, surface), 20, cmap="coolwarm")
fig.colorbar(height, label="x·y")
axes[1].plot(*path.T, linewidth=0.8)
axes[2].plot(*inward.T, linewidth=0.8, color="tab:green")
for axis, title in zip(axes, ("the game x·y", "simultaneous", "optimistic"), strict=True):
    axis.set(xlabel="x", ylabel="y", title=title, aspect="equal")
plt.show()
assert jnp.linalg.norm(inward[-1]) < 0.5 * radius[0]

# %% [markdown]
# Left: a saddle; there is no valley to roll into. Middle: simultaneous descent circles outward.
# Right: the optimistic update circles inward. `experiments/tutorials/gan_game.py` compares six
# kinds.
#
# ## Exercises
#
# 1. What is the period of the spiral for $\eta = 0.01$, in steps, and the growth of one turn?
# 2. Give the discriminator cross entropy instead of squares. What is its ideal loss, and does
#    the generator still learn the pattern?

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: smaller steps turn more slowly, and a turn grows less
period = 2 * math.pi / math.atan(0.01)
growth = math.sqrt(1 + 0.01**2) ** period
print(f"{period:.0f} steps, × {growth:.3f}")
assert round(period) == 628
np.testing.assert_allclose(growth, 1.032, atol=1e-3)

# 2
options = (tx, tx, adversarial.on_probabilities(), half)
rivals = train.Players(generator, discriminator, *options)
state, (curves, made) = jax.jit(lambda s, x: play(rivals, s, x))(start, real)
print(made[-1].round(2), f"ideal {math.log(2):.3f}")
assert made[-1, 0] > made[-1, 1]

# %% [markdown]
# **Next**: [18 · Why do all its digits look the same?](18_gan_digits.ipynb)
