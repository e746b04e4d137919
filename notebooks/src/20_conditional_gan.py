# ---
# jupyter:
#   jaxdl:
#     covers: [G16, Q11, Q12]
#     outputs: []
#     mistakes: []
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 20 · Can you order a nine?
#
# The generator of notebook 18 draws whatever its seed says. A **conditional** GAN is told which
# class to draw: the label goes into both networks. The discriminator then asks two things at
# once: is this a real image, and does it show what the label says?
#
# *You need*: [18 · GANs on digits](18_gan_digits.ipynb). *Time*: twenty minutes to read, two
# minutes to run. *What comes out*: images of the digits 9, 3, 1 and 5 on order, and a number: how
# many of the ordered images a classifier reads as what was ordered.

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

from jaxdl import data, losses, metrics, models, optim, plots, train, transforms, tree
from jaxdl.losses import adversarial

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with MNIST in it; None: scikit-learn's 8×8 digits

# %%
digits = data.load("digits" if data_dir is None else "mnist", data_dir)
images, labels = digits.train["image"], digits.train["label"]
if small:
    images, labels = images[:600], labels[:600]
shape = images.shape[1:]

# %% [markdown]
# ## Where does the label go in?
#
# As a one-hot vector, beside the other inputs: 784 pixels and 10 numbers into the discriminator,
# 100 random numbers and 10 into the generator. *By how many parameters do the networks of
# notebook 18 (157,601 and 178,184) grow?* Ten more inputs for 200 hidden units each.


# %%
def make_players(shape):
    generator = models.DenseGenerator((200,), shape, num_classes=10)
    discriminator = models.DenseDiscriminator((200,), 10, output_activation=linen.sigmoid)
    tx = optim.adam(1e-4)
    return train.Players(generator, discriminator, tx, tx, adversarial.on_probabilities())


def sizes(players):
    state = jax.eval_shape(lambda key: train.init_gan_state(players, key), random.key(0))
    return [tree.count(player.params) for player in (state.discriminator, state.generator)]


print(sizes(make_players((28, 28, 1))))
assert sizes(make_players((28, 28, 1))) == [157_601 + 2000, 178_184 + 2000]

# %% [markdown]
# ## Training
#
# The step is the one of notebook 18. The batch has a label now; for the made examples the step
# draws labels of its own, others for the discriminator and for the generator, so that neither can
# rely on the order of the data.
#
# ```python
# # PyTorch
# image, label = torch.rand(1, 784), torch.nn.functional.one_hot(torch.tensor([9]), 10)
# joined = torch.cat([image, label], dim=1)
# assert joined.shape == (1, 794)
# ```

# %%
players = make_players(shape)
step = train.make_gan_step(players, preprocess=transforms.to_float, separate_updates=True)
num_epochs = 1 if small else 4 if data_dir else 60


@jax.jit
def learn(state, images, labels):
    batch = {"image": images, "label": labels}
    return train.fit(step, state, batch, num_epochs=num_epochs, batch_size=1, key=random.key(1))


state, history = learn(train.init_gan_state(players, random.key(0)), images, labels)
print({name: round(float(values[-1]), 2) for name, values in history.items() if "loss" in name})
assert state.step == num_epochs * len(images)

# %% [markdown]
# ## The order
#
# Eight images each of 9, 3, 1 and 5. The seeds are the same in every row: only the label changes.

# %%
orders = jnp.repeat(jnp.array([9, 3, 1, 5]), 8)
seeds = jnp.tile(random.normal(random.key(2), (8, 100)), (4, 1))
made = train.gan.generate(players, state, seeds, orders)
plots.image_grid(np.clip(made, 0, 1), num_columns=8)

# %% [markdown]
# Look along a column: the same seed in four digits. Slant and weight of the stroke tend to stay,
# since they are what is left for the seed to say.
#
# ## Does it deliver?
#
# A picture convinces too easily. Train a classifier on the real digits, and ask it what the
# generated ones are.

# %%
model, tx = models.MLP((64, 10)), optim.adam(1e-3)
loss_fn = train.supervised(
    model,
    losses.cross_entropy,
    metrics={"accuracy": metrics.accuracy},
    preprocess=transforms.to_float,
)
judge, rows = train.run(
    train.make_step(loss_fn, tx),
    train.init_state(loss_fn, tx, random.key(3), digits.train),
    digits.train,
    num_epochs=5 if small else 30,
    batch_size=64,
    key=random.key(4),
    eval_fn=train.make_eval(loss_fn),
    eval_data=digits.test,
    progress=False,
)
print(f"the judge is right on {rows[-1]['test/accuracy']:.1%} of the real test images")

# %%
wanted = jnp.arange(1000) % 10
delivered = train.gan.sample(players, state, random.key(5), 1000, label=wanted)
seen = model.apply({"params": judge.params}, jnp.clip(delivered, 0, 1)).argmax(-1)
share = float((seen == wanted).mean())
print(f"{share:.0%} of the generated images show what was ordered (guessing: 10 %)")
if not small:
    assert share > 0.8

# %%
table = np.zeros((10, 10), int)
np.add.at(table, (np.asarray(wanted), np.asarray(seen)), 1)
fig, axis = plt.subplots(figsize=(4.6, 4), layout="constrained")
image = axis.imshow(table, cmap="Blues")
axis.set(xlabel="class that the judge sees", ylabel="class that was ordered")
axis.set(xticks=range(10), yticks=range(10))
fig.colorbar(image, label="images of 100")
plt.show()

# %% [markdown]
# The diagonal is what was ordered and delivered: nearly everything; a few eights pass for a one or
# a five. (Why so good? The judge is a small network too, and digits of 8 × 8 are easy.)
#
# ## Experiments of your own
#
# A list to choose from; each is a change of one line, and `experiments/cgan_mnist.py` has flags for
# most of them.
#
# - More layers: `models.DenseGenerator((200, 400), ...)`.
# - Another activation in the generator: `activation=linen.gelu`.
# - The label through *projection* instead of concatenation (`models.DCGANDiscriminator`).
# - Clothes instead of digits, or images of 32 × 32.
#
# What you should be able to do after notebooks 17 to 20: say what each player minimizes;
# recognize mode collapse by eye and by number; know the ideal losses; build both networks for a
# new image size; give the generator a condition.
#
# ## Exercise
#
# Order a digit *between* two classes: half a 3 and half an 8. `train.gan.generate` takes
# integers, so go one level down, to the generator itself, or interpolate its images. Which makes
# more sense?

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# In image space: a double exposure, which is neither digit
three, eight = (
    train.gan.generate(players, state, seeds[:4], jnp.full(4, digit)) for digit in (3, 8)
)
average = (three + eight) / 2
plots.image_grid(np.clip(jnp.concatenate([three, average, eight]), 0, 1), num_columns=4)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# In the space of conditions: the one-hot vector is one input of the first layer, whose kernel has a
# row per class, so a mixed condition is a mixed row.
params = state.generator.params
first_layer = next(name for name in params if params[name].get("kernel", jnp.zeros(())).ndim == 2)
kernel = params[first_layer]["kernel"]
assert kernel.shape[0] == 110
mixed = kernel.at[103].set((kernel[103] + kernel[108]) / 2)  # the row of the 3
mixed_params = {**params, first_layer: {**params[first_layer], "kernel": mixed}}
between = players.generator.apply({"params": mixed_params}, seeds[:4], jnp.full(4, 3))
assert not jnp.allclose(between, three)
plots.image_grid(np.clip(between, 0, 1), num_columns=4)

# %% [markdown]
# **Next**: [24 · How does a model leave the script that trained it?](24_out_of_python.ipynb)
