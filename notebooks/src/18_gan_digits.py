# ---
# jupyter:
#   jaxdl:
#     covers: [G05, G06, G07, G08, G09, G23]
#     outputs: [99]
#     mistakes: [68, 70]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 18 · Why do all its digits look the same?
#
# The recipe of notebook 17, taken over to images of digits, fails in the way that GANs are known
# for: the generator finds one image that passes and draws nothing else. This notebook shows the
# collapse, measures it, and cures it with five changes. Then it walks through the space of seeds.
#
# *You need*: [17 · The first GAN](17_first_gan.ipynb). *Time*: half an hour to read, two minutes
# to run. *What comes out*: a generator whose images differ by next to nothing, and one whose
# images differ nearly as much as real ones do; and a discriminator that, alone, tells digits from
# noise with more than 99 % certainty.

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

from jaxdl import data, models, optim, plots, train, transforms, tree
from jaxdl.losses import adversarial
from jaxdl.models import tutorial

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with MNIST in it; None: scikit-learn's 8×8 digits

# %% [markdown]
# ## The images
#
# Without a data folder these are 1,438 small digits (8 × 8); with one, MNIST's 60,000 (28 × 28).
# The bytes stay bytes; the step turns them into numbers from 0 to 1.

# %%
digits = data.load("digits" if data_dir is None else "mnist", data_dir)
images = digits.train["image"][: 400 if small else None]
shape = images.shape[1:]
print(images.shape, images.dtype, jax.default_backend())
plots.image_grid(images[:16])

# %% [markdown]
# ## First attempt
#
# As in notebook 17: one hidden layer, sigmoids, squared errors, plain gradient descent, one number
# from which the generator starts, one image per step. For MNIST that is 784-200-1 against 1-200-784
# (157,201 and 157,984 parameters), which the next cell counts whatever the data are.


# %%
def first_players(shape):
    options = {"activation": linen.sigmoid, "layer_norm": False}
    generator = models.DenseGenerator((200,), shape, 1, **options)
    discriminator = models.DenseDiscriminator((200,), output_activation=linen.sigmoid, **options)
    tx = optim.sgd(0.01)
    return train.Players(
        generator, discriminator, tx, tx, adversarial.least_squares(), random.uniform
    )


def sizes(players):
    state = jax.eval_shape(lambda key: train.init_gan_state(players, key), random.key(0))
    return [tree.count(player.params) for player in (state.discriminator, state.generator)]


print(sizes(first_players((28, 28, 1))))
assert sizes(first_players((28, 28, 1))) == [157_201, 157_984]


# %%
def learn(players, num_epochs, seed=0):
    """Trains with one image per step; returns the state and a row of metrics per epoch."""
    step = train.make_gan_step(players, preprocess=transforms.to_float, separate_updates=True)
    start_key, order_key = random.split(random.key(seed))

    @jax.jit
    def all_of_it(state, images):
        return train.fit(
            step, state, {"image": images}, num_epochs=num_epochs, batch_size=1, key=order_key
        )

    return all_of_it(train.init_gan_state(players, start_key), images)


epochs = 1 if data_dir else 5 if small else 20  # as many steps for few images as for many

# %% [markdown]
# **The discriminator alone.** Real digits against uniform noise. *Which of its two outputs will
# be near 1, and how near?* (The noise for the images is uniform; the seeds of the better
# generator below will be normal. Uniform noise looks like an image's range of values; a normal
# seed has no corners.)


# %%
def alone(players):
    noise = tutorial.NoiseSource(shape)
    none = optim.sgd(0.0)
    tx, loss = players.discriminator_tx, players.loss
    rival = train.Players(noise, players.discriminator, none, tx, loss, random.uniform)
    state, _ = learn(rival, epochs)
    variables = {"params": state.discriminator.params}
    fresh = transforms.to_float(jnp.asarray(digits.test["image"][:300]))
    fake = random.uniform(random.key(9), fresh.shape)
    return [float(rival.discriminator.apply(variables, x).mean()) for x in (fresh, fake)]


real_output, noise_output = alone(first_players(shape))
print(f"real {real_output:.3f}, noise {noise_output:.3f}")
assert real_output > noise_output + 0.2
if not small:
    assert real_output > 0.9
    assert noise_output < 0.1

# %% [markdown]
# So the discriminator can learn; now both play.

# %%
players = first_players(shape)
collapsed, _ = learn(players, epochs)
made = train.gan.sample(players, collapsed, random.key(5), 16)
plots.image_grid(np.clip(made, 0, 1))


# %% [markdown]
# Sixteen different seeds, one image. How alike are they? The standard deviation of a pixel *across*
# images is zero when all images are the same.


# %%
def variety(images):
    """Mean over the pixels of their standard deviation across images."""
    return float(jnp.std(jnp.asarray(images, jnp.float32), axis=0).mean())


real = transforms.to_float(jnp.asarray(images[:300]))
many = train.gan.sample(players, collapsed, random.key(6), 300)
print(f"variety: real {variety(real):.3f}, generated {variety(many):.3f}")
assert variety(many) < 0.25 * variety(real)

# %% [markdown]
# ## Five changes
#
# | | before | after | why |
# |---|---|---|---|
# | loss | squared error | cross entropy | large gradients for large mistakes |
# | activation | sigmoid | LeakyReLU | gradients do not vanish |
# | normalization | none | LayerNorm | signals keep their size |
# | optimizer | SGD .01 | Adam 1e-4 | a step size of its own per parameter |
# | seed | 1 uniform number | 100 normal numbers | room for many different images |
#
# That makes 157,601 and 178,184 parameters for MNIST.


# %%
def improved_players(shape):
    generator = models.DenseGenerator((200,), shape)
    discriminator = models.DenseDiscriminator((200,), output_activation=linen.sigmoid)
    tx, loss = optim.adam(1e-4), adversarial.on_probabilities()
    return train.Players(generator, discriminator, tx, tx, loss, random.normal)


print(sizes(improved_players((28, 28, 1))))
assert sizes(improved_players((28, 28, 1))) == [157_601, 178_184]
real_output, noise_output = alone(improved_players(shape))
print(f"discriminator alone: real {real_output:.4f}, noise {noise_output:.1e}")
assert real_output > noise_output + 0.2
if not small:
    assert real_output > 0.99
    assert noise_output < 0.01

# %%
players = improved_players(shape)
state, history = learn(players, epochs)
made = train.gan.sample(players, state, random.key(5), 16)
plots.image_grid(np.clip(made, 0, 1))

# %%
many = train.gan.sample(players, state, random.key(6), 300)
print(f"variety: real {variety(real):.3f}, generated {variety(many):.3f}")
if not small:
    assert variety(many) > 0.5 * variety(real)

# %% [markdown]
# The images are rough, but there are several digits among them, and the variety is of the order
# of the real one. Experiments on your own: more epochs, other widths, `separate_updates=False`,
# larger batches; `experiments/gan_mnist.py` has the strongest settings that jaxdl knows, and
# measures them.
#
# ## A walk through the seeds
#
# The generator is a function of the seed, so what lies between two seeds? Twelve steps from one to
# the other, $s_1 + \frac{k}{11}(s_2 - s_1)$, all generated in one call. *Will the images fade into
# each other like slides, or change shape?*


# %%
def between(first, second, num_steps=12):
    return first + jnp.linspace(0, 1, num_steps)[:, None] * (second - first)


first, second = random.normal(random.key(7), (2, 100))
path = train.gan.generate(players, state, between(first, second))
plots.image_grid(np.clip(path, 0, 1), num_columns=12)

# %% [markdown]
# No slides: the strokes move, and the images on the way look as if they were digits too.
#
# Seeds are vectors, so they can be added and multiplied. The sum and the difference of two seeds
# are again possible seeds (a little longer); the product is not normal any more, and nothing
# promises that its image is good.

# %%
seeds = jnp.stack([first, second, first + second, first - second, first * second])
combined = train.gan.generate(players, state, seeds)
names = ["first", "second", "sum", "difference", "product"]
plots.image_grid(np.clip(combined, 0, 1), titles=names, num_columns=5)

# %%
fig, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name in ("discriminator_loss", "generator_loss"):
    values = np.asarray(history[f"train/{name}"])
    axis.plot(np.arange(1, len(values) + 1), values, marker="o", label=name.replace("_", " "))
axis.axhline(np.log(2), color="black", linestyle="--", linewidth=0.8, label="ideal 0.693")
axis.set(xlabel="epoch", ylabel="loss (mean of an epoch)")
axis.legend()
plt.show()

# %% [markdown]
# The discriminator's loss stays below the ideal 0.693 and the generator's above it: the
# discriminator is ahead, but not so far that the generator learns nothing.
#
# ## Exercises
#
# 1. Undo one of the five changes (take the seed of one number) and measure the variety again.
# 2. A book's code picks a training image by `random.randint(0, 60000)`. In Python that includes the
#    upper bound: what happens, how often, and why can it not happen here?

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: with one number the seeds lie on a line, and the images on a curve
generator = models.DenseGenerator((200,), shape, 1)
tx, loss = optim.adam(1e-4), adversarial.on_probabilities()
narrow = train.Players(generator, players.discriminator, tx, tx, loss, random.normal)
state_narrow, _ = learn(narrow, 1 if small else max(1, epochs // 4))
print(f"variety {variety(train.gan.sample(narrow, state_narrow, random.key(6), 300)):.3f}")

# 2: an IndexError at one draw in 60,001, so in most passes over the data. A loop that goes
# through a permutation of 0 … N-1 cannot make the mistake:
order = np.asarray(random.permutation(random.key(0), len(images)))
assert sorted(order) == list(range(len(images)))

# %% [markdown]
# **Next**: [19 · Can it draw in color?](19_gan_color.ipynb)
