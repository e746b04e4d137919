# ---
# jupyter:
#   jaxdl:
#     covers: [G10, G11, G12, G13, G14, G15, F07]
#     outputs: [51, 60, 61, 100]
#     mistakes: [71]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 19 · Can it draw in color?
#
# A photograph of 218×178 pixels has 116,412 numbers, a hundred and fifty times as many as a digit.
# The dense GAN of the last notebook can be made that large. This notebook counts what that costs,
# then builds the convolutional one, which is smaller and sees what a picture is: neighbors.
#
# *You need*: [18 · GANs on digits](18_gan_digits.ipynb) and [10 · Networks](10_networks.ipynb).
# *Time*: half an hour to read, two minutes to run.
# *What comes out*: the memory that both GANs need, 0.70 and 0.13 GiB, before either is run; and
# patches of photographs, drawn in color.

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

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import data, models, nn, optim, train, transforms, tree
from jaxdl.losses import adversarial
from jaxdl.models import tutorial

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## The dense one, on paper
#
# The book's first GAN of faces: the discriminator is 116,412 → 100 → 1, the generator
# 100 → 300 → 116,412, both with leaky ReLU and LayerNorm. *Which of the two is larger, and by how
# much?* `eval_shape` answers without allocating anything.


# %%
def make_players(generator, discriminator, learning_rate=1e-4):
    tx = optim.adam(learning_rate)
    return train.Players(generator, discriminator, tx, tx, adversarial.on_probabilities())


def state_shapes(players):
    return jax.eval_shape(lambda key: train.init_gan_state(players, key), random.key(0))


def sizes(players):
    state = state_shapes(players)
    return [tree.count(player.params) for player in (state.discriminator, state.generator)]


dense = make_players(
    models.DenseGenerator((300,), (218, 178, 3), num_latents=100),
    models.DenseDiscriminator((100,), output_activation=linen.sigmoid),
)
print([f"{size:,}" for size in sizes(dense)])
assert sizes(dense) == [11_641_601, 35_070_912]

# %% [markdown]
# The generator, three times, because its hidden layer is three times as wide. Memory follows from
# the count: a parameter is four bytes, its gradient four, and Adam keeps two more numbers for each.
# So training needs sixteen bytes a parameter, whatever the images are.


# %%
def gibibytes(players):
    """Parameters, gradients and optimizer state of both players."""
    state = state_shapes(players)
    gradients = sum(tree.num_bytes(p.params) for p in (state.discriminator, state.generator))
    return (tree.num_bytes((state.discriminator, state.generator)) + gradients) / 2**30


convolutional = make_players(
    models.ConvGenerator(), models.ConvDiscriminator(output_activation=linen.sigmoid)
)
print(sizes(convolutional), f"{gibibytes(dense):.2f} and {gibibytes(convolutional):.2f} GiB")
assert sizes(convolutional) == [4_294_448, 4_330_816]
assert 0.69 < gibibytes(dense) < 0.71
assert 0.12 < gibibytes(convolutional) < 0.14

# %% [markdown]
# The book measured .70 GB for the dense one on its GPU, and .14 for the convolutional one, which
# the sum explains. Peaks are higher (1.09 and .20 there), since a step also holds activations. XLA
# plans all memory when it compiles, so the peak is known before the first step, too; on a GPU
# `jax.devices()[0].memory_stats()` tells what is in use.

# %%
step = train.make_gan_step(dense, preprocess=transforms.to_float, separate_updates=True)
batch = {"image": jax.ShapeDtypeStruct((1, 218, 178, 3), jnp.uint8)}
if not small:
    plan = jax.jit(step, donate_argnums=0).lower(state_shapes(dense), batch).compile()
    memory = plan.memory_analysis()
    state_bytes, extra = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    print(f"state {state_bytes / 2**30:.2f} GiB, beside it {extra / 2**30:.2f} GiB during a step")
    assert 0.5 < state_bytes / 2**30 < 0.6  # without the gradients, which live within the step

# %% [markdown]
# ## What a convolution changes
#
# A dense layer that sees 116,412 numbers does not know which of them are neighbors. A kernel of
# 8×8 sees a place, and the same kernel is used at all places. The discriminator shrinks 128 pixels
# to 10, the generator grows 11 to 128:

# %%
image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
noise = jax.ShapeDtypeStruct((1, 100), jnp.float32)
print(nn.shapes(convolutional.discriminator, image, train=False))
print(nn.shapes(convolutional.generator, noise, train=False))

# %% [markdown]
# The book crops its photographs to the middle 128×128: rows 45 to 172, columns 25 to 152.
#
# ```python
# # PyTorch
# generator = torch.nn.Sequential(
#     torch.nn.Linear(100, 363), torch.nn.LeakyReLU(0.2), torch.nn.Unflatten(1, (3, 11, 11)),
#     torch.nn.ConvTranspose2d(3, 256, 8, 2), torch.nn.BatchNorm2d(256), torch.nn.LeakyReLU(0.2),
#     torch.nn.ConvTranspose2d(256, 256, 8, 2), torch.nn.BatchNorm2d(256), torch.nn.LeakyReLU(0.2),
#     torch.nn.ConvTranspose2d(256, 3, 8, 2, padding=1), torch.nn.BatchNorm2d(3),
#     torch.nn.Sigmoid(),
# )
# assert generator(torch.zeros(1, 100)).shape == (1, 3, 128, 128)
# assert sum(p.numel() for p in generator.parameters()) == 4_330_816
# ```
#
# BatchNorm stands before the activation here and after it in the book's classifier of digits. Both
# work; a network must be rebuilt in its own order, or its weights mean something else.
#
# Two more things that one reads: that the generator's step must not reach the discriminator
# (PyTorch's `detach` in one direction only). With pure functions each player's gradient is taken
# for its own parameters, so nothing can leak. And that images must be cropped to a square: they
# must have the size that the layers make, no more.

# %%
rows = jnp.broadcast_to(jnp.arange(218.0)[:, None, None], (218, 178, 1))
columns = jnp.broadcast_to(jnp.arange(178.0)[None, :, None], (218, 178, 1))
cut_rows, cut_columns = transforms.center_crop(rows, 128), transforms.center_crop(columns, 128)
assert (float(cut_rows[0, 0, 0]), float(cut_rows[-1, 0, 0])) == (45, 172)
assert (float(cut_columns[0, 0, 0]), float(cut_columns[0, -1, 0])) == (25, 152)

# %% [markdown]
# ## A small one, trained
#
# Faces are not in this repository, and 128 pixels take an hour on a laptop
# (`experiments/gan_faces.py` does it). The same ideas at 16 pixels: patches of two photographs, a
# Chinese temple and a flower, that come with scikit-learn.

# %%
size = 16
patches = data.synthetic.photographs(64 if small else 1024, size)
fig, axes = plt.subplots(2, 10, figsize=(9, 2), layout="constrained")
for ax, patch in zip(axes.flat, patches, strict=False):
    ax.imshow(patch)
    ax.axis("off")
plt.show()

# %% [markdown]
# Walls, leaves, sky, petals: few colors, edges, smooth areas.
#
# **The discriminator alone**, against uniform noise. The book's end near 1 for a photograph and
# near 0 for noise, dense or convolutional. *Do you expect more, or less, than on digits?* This one
# has no BatchNorm: its running statistics would be those of photographs and noise mixed, and wrong
# for both.

# %%
features = 8 if small else 16
critic = models.DCGANDiscriminator(features=features, norm="none")
noise_source = tutorial.NoiseSource((size, size, 3))
still = train.Players(
    noise_source,
    critic,
    optim.sgd(0.0),
    optim.adam(1e-3),
    adversarial.non_saturating(),
    random.uniform,
)


def learn(players, num_epochs, seed=0):
    step = train.make_gan_step(players, preprocess=transforms.to_float)
    state = train.init_gan_state(players, seed)
    return train.run(
        step, state, {"image": patches}, num_epochs=num_epochs, batch_size=32, key=seed,
        progress=False,
    )  # fmt: skip


# %%
state, _ = learn(still, 20 if small else 4)
variables = {"params": state.discriminator.params, **state.discriminator.model_state}
unseen = transforms.to_float(jnp.asarray(data.synthetic.photographs(32, size, seed=1)))
outputs = [
    jax.nn.sigmoid(critic.apply(variables, x, train=False)).mean()
    for x in (unseen, random.uniform(random.key(0), unseen.shape))
]
print("photographs {:.3f}, noise {:.3f}".format(*outputs))
assert outputs[0] > outputs[1] + (0.05 if small else 0.9)

# %% [markdown]
# More: neighboring pixels of a photograph are alike, and those of noise are not, which a
# convolution sees at once. It is an easy opponent; a generator is not.
#
# **Both players**, with ReLU as DCGAN has it, and with GELU, as the book tries in its last
# variant. GELU is smooth at zero, and costs a little more. *Will you see a difference?*


# %%
class Generator(linen.Module):
    """From 64 numbers to an image: 4 pixels, 8, 16."""

    activation: object = linen.relu
    num_latents: int = 64

    @linen.compact
    def __call__(self, noise, train=False):
        x = nn.Dense(4 * 4 * 8 * features)(noise).reshape(-1, 4, 4, 8 * features)
        for channels in (4 * features, 3):
            x = self.activation(nn.BatchNorm()(x, train=train))
            x = nn.ConvTranspose(channels, 4, stride=2, padding=1)(x)
        return linen.sigmoid(x)


gelu = functools.partial(linen.gelu, approximate=False)
discriminator = models.DCGANDiscriminator(features=features)
drawn, histories = {}, {}
for name, activation in {"ReLU": linen.relu, "GELU": gelu}.items():
    tx = optim.adam(4e-4, b1=0.5)
    loss = adversarial.non_saturating(real_target=0.9)
    players = train.Players(Generator(activation), discriminator, tx, tx, loss)
    state, histories[name] = learn(players, 1 if small else 20, seed=3)
    drawn[name] = np.asarray(train.gan.sample(players, state, 5, 200))

# %%
fig, axes = plt.subplots(2, 10, figsize=(9, 2), layout="constrained")
for row, (name, pictures) in zip(axes, drawn.items(), strict=True):
    row[0].set_title(name, loc="left", fontsize=9)
    for ax, picture in zip(row, pictures, strict=False):
        ax.imshow(picture)
        ax.axis("off")
plt.show()

# %% [markdown]
# Patches in the photographs' colors, dark green, orange, gray and sky, some with an edge between
# two of them, and with a grain of single pixels that photographs have less of. Neither activation
# is visibly better.
#
# How near is it? Three numbers that noise gets wrong: the mean color, how much a pixel differs
# from its neighbor, and how much the same pixel differs from picture to picture. *Which would be
# wrong if the generator drew one good picture again and again?*


# %%
def roughness(images):
    """Mean absolute difference of neighboring pixels."""
    return float(np.abs(np.diff(images, axis=2)).mean())


photographs = patches / 255.0
uniform = np.random.default_rng(0).random(photographs.shape)
table = {"photographs": photographs, **drawn, "noise": uniform}
for name, pictures in table.items():
    color, spread = pictures.mean((0, 1, 2)).round(2), pictures.std(axis=0).mean()
    print(f"{name:12} color {color}  roughness {roughness(pictures):.3f}  spread {spread:.3f}")
if not small:
    for pictures in drawn.values():
        assert np.abs(pictures.mean((0, 1, 2)) - photographs.mean((0, 1, 2))).max() < 0.1
        assert roughness(pictures) < roughness(uniform) / 2
        assert pictures.std(axis=0).mean() > 0.7 * photographs.std(axis=0).mean()

# %% [markdown]
# The last: mode collapse would show as a small spread. Colors come quickly; a dense generator gets
# them too. Smoothness is what the convolutions give: the generator's last kernel paints overlapping
# patches of 4×4, so that neighbors share their numbers from the first step on.
#
# ## Exercises
#
# 1. How many parameters has a dense generator 64 → 300 → 64·64·3, and how many a convolutional one
#    for the same images?
# 2. Which of the three numbers does an untrained generator get right?

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1
inputs = jax.ShapeDtypeStruct((1, 64), jnp.float32)
dense_one = models.DenseGenerator((300,), (64, 64, 3), num_latents=64)
conv_one = models.DCGANGenerator((64, 64, 3), num_latents=64, features=16)
counts = [
    tree.count(jax.eval_shape(model.init, random.key(0), inputs)["params"])
    for model in (dense_one, conv_one)
]
print(counts)
assert counts[0] > 4 * counts[1]

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: the smoothness; it is gray, and always nearly the same
untrained = train.init_gan_state(players, 3)
gray = np.asarray(train.gan.sample(players, untrained, 5, 200))
print(gray.mean((0, 1, 2)).round(2), f"{roughness(gray):.3f} {gray.std(axis=0).mean():.3f}")
assert abs(gray.mean() - 0.5) < 0.1
assert roughness(gray) < roughness(uniform) / 2

# %% [markdown]
# **Next**: [20 · Can you order a nine?](20_conditional_gan.ipynb)
