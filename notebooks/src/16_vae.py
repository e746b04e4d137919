# ---
# jupyter:
#   jaxdl:
#     covers: [M19, M20]
#     outputs: [48, 55]
#     mistakes: []
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 16 · How can a network draw what it has never seen?
#
# An **autoencoder** squeezes an image through a few numbers, its *code*, and draws it again. Feed
# the second half a code of your own and you have a generator, only nobody knows which codes are
# good ones. A **variational** autoencoder (VAE) makes the codes follow a normal distribution, so
# any draw from that is a good one.
#
# *You need*: [09 · The training loop](09_training_loop.ipynb). *Time*: half an hour to read, a
# minute to run. *What comes out*: images from random codes; a loss in nats that is a bound on the
# probability of the data; and the sum of its two parts, checked against a closed form.

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

from jaxdl import data, losses, metrics, models, optim, plots, train, transforms, tree

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with MNIST in it; None: scikit-learn's 8×8 digits

# %% [markdown]
# ## The plain autoencoder
#
# 784 → 400 → 400 → **20** → 400 → 400 → 784 with ReLU. *How many parameters?* (Count the six
# layers: $784 \cdot 400 + 400$, and so on.)

# %%
plain = models.Autoencoder()
variables = plain.init(random.key(0), jnp.zeros((1, 28, 28, 1)))
print(f"{tree.count(variables):,}")
assert tree.count(variables) == 965_604
assert plain.apply(variables, jnp.zeros((10, 28, 28, 1))).shape == (10, 28, 28, 1)

# %% [markdown]
# ## The variational one
#
# The encoder answers with *two* vectors, the mean $\mu$ and the logarithm of the variance of a
# normal distribution; the code is drawn from it. A draw has no gradient, but
# $z = \mu + \sigma\,\epsilon$ with $\epsilon$ from the standard normal distribution does: that is
# the **reparameterization** trick.
#
# ```python
# # PyTorch
# mean, log_variance = torch.zeros(2, 20, requires_grad=True), torch.zeros(2, 20)
# code = mean + torch.exp(0.5 * log_variance) * torch.randn(2, 20)
# code.sum().backward()
# assert mean.grad.eq(1).all()
# ```
#
# In JAX the noise comes from a key that is handed in, so the same key gives the same code.

# %%
vae = models.VAE()
variables = vae.init(random.key(0), jnp.zeros((1, 28, 28, 1)))
print(f"{tree.count(variables):,}")
assert tree.count(variables) == 652_824
logits, mean, log_variance = vae.apply(variables, jnp.zeros((10, 28, 28, 1)))
assert (logits.shape, mean.shape, log_variance.shape) == ((10, 28, 28, 1), (10, 20), (10, 20))

twice = [
    vae.apply(variables, jnp.ones((1, 28, 28, 1)), sample=True, rngs={"dropout": random.key(1)})[0]
    for _ in range(2)
]
assert jnp.array_equal(*twice)

# %% [markdown]
# ## The loss
#
# The *evidence lower bound* has two parts, both in nats per image: how many nats it costs to
# describe the image given its code (cross entropy, summed over the pixels), and how many to
# describe the code (the Kullback–Leibler divergence from the standard normal distribution),
# $\frac12 \sum (\mu^2 + \sigma^2 - 1 - \ln \sigma^2)$. Many programs have only the network and
# forget the second part; the codes then drift apart, and random codes draw nothing.

# %%
mean, log_variance = jnp.array([[0.5, -1.0]]), jnp.array([[0.0, 1.0]])
divergence = float(losses.kl_to_standard_normal(mean, log_variance)[0])
by_hand = 0.5 * (0.25 + 1 - 1 - 0 + 1 + np.e - 1 - 1)
draws = mean + jnp.exp(log_variance / 2) * random.normal(random.key(0), (200_000, 2))


def log_normal(x, mean, log_variance):
    return jnp.sum(-0.5 * ((x - mean) ** 2 / jnp.exp(log_variance) + log_variance), axis=-1)


by_draws = jnp.mean(log_normal(draws, mean, log_variance) - log_normal(draws, 0.0, jnp.zeros(2)))
print(f"formula {divergence:.4f}, by hand {by_hand:.4f}, by 200,000 draws {by_draws:.2f}")
np.testing.assert_allclose(divergence, by_hand, rtol=1e-5)
np.testing.assert_allclose(by_draws, by_hand, atol=0.02)

# %% [markdown]
# A loss of your own is a function of parameters, model state and batch (see docs/custom_loss.md):


# %%
def loss_fn(params, model_state, batch, *, key, train):
    images, mask = transforms.to_float(batch["image"]), batch.get("mask")
    logits, mean, log_variance = model.apply(
        {"params": params}, images, sample=True, rngs={"dropout": key}
    )
    bound = metrics.mean(losses.negative_elbo(logits, images, mean, log_variance), mask)
    kl = metrics.mean(losses.kl_to_standard_normal(mean, log_variance), mask)
    return bound.total / bound.count, (model_state, {"loss": bound, "kl": kl})


# %%
digits = data.load("digits" if data_dir is None else "mnist", data_dir)
shape = digits.train["image"].shape[1:]
model, num_epochs = models.VAE(num_latents=8, shape=shape), 2 if small else 8 if data_dir else 60
num_steps = num_epochs * data.num_batches(len(digits.train["image"]), 64)
tx = optim.adam(optim.warmup_cosine(3e-3, num_steps))
state, history = train.run(
    train.make_step(loss_fn, tx),
    train.init_state(model, tx, random.key(0), jnp.zeros((1, *shape))),
    {"image": digits.train["image"]},
    num_epochs=num_epochs,
    batch_size=64,
    key=random.key(1),
    eval_fn=train.make_eval(loss_fn),
    eval_data={"image": digits.test["image"]},
    progress=False,
)
first, last = history[0], history[-1]
print({name: (round(first[name], 1), round(last[name], 1)) for name in ("test/loss", "test/kl")})
assert last["test/loss"] < first["test/loss"]

# %% [markdown]
# The loss falls while the divergence *rises*: at first the code says nothing, then the network
# finds that it pays to spend a few nats on it.

# %%
fig, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name, label in (("test/loss", "bound"), ("test/kl", "its divergence")):
    axis.plot([row["epoch"] for row in history], [row[name] for row in history], label=label)
axis.set(xlabel="epoch", ylabel="nats per image")
axis.legend()
plt.show()

# %% [markdown]
# ## Four pictures of a VAE
#
# **Reconstructions**: originals above, what comes out of their codes below. *Will the lower row be
# sharper or softer?*

# %%
images = transforms.to_float(jnp.asarray(digits.test["image"][:12]))
logits, codes, _ = model.apply({"params": state.params}, images)
error = float(jnp.mean((jax.nn.sigmoid(logits) - images) ** 2))
print(f"mean squared error {error:.3f}, variance of the pixels {float(images.var()):.3f}")
assert error < (1 if small else 0.4) * images.var()
plots.image_grid(np.concatenate([images, jax.nn.sigmoid(logits)]), num_columns=12)

# %% [markdown]
# Softer: where the code leaves a pixel open, the mean is gray. **Samples**, from codes drawn from
# the standard normal distribution; none of these images is in the data.


# %%
def decode(codes):
    return jax.nn.sigmoid(model.apply({"params": state.params}, codes, method="decode"))


plots.image_grid(np.asarray(decode(random.normal(random.key(2), (24, 8)))), num_columns=12)

# %% [markdown]
# **A walk** from the code of one test image to that of another: the shapes in between are plausible
# too, because the codes fill the space without gaps.

# %%
share = jnp.linspace(0, 1, 12)[:, None]
plots.image_grid(np.asarray(decode((1 - share) * codes[0] + share * codes[1])), num_columns=12)

# %% [markdown]
# **The map** of all codes, by their two widest directions. The network has never seen a label; the
# colors are added afterwards.

# %%
everything = transforms.to_float(jnp.asarray(digits.test["image"][:1000]))
labels = np.asarray(digits.test["label"][:1000])
all_codes = model.apply({"params": state.params}, everything)[1]
centered = all_codes - all_codes.mean(0)
_, _, directions = jnp.linalg.svd(centered, full_matrices=False)
plane = centered @ directions[:2].T
fig, axis = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
dots = axis.scatter(*plane.T, c=labels, cmap="tab10", s=8)
fig.colorbar(dots, label="digit", ticks=range(10))
axis.set(xlabel="first direction (standard deviations)", ylabel="second direction")
plt.show()

# %% [markdown]
# Digits of one kind lie together, and kinds that look alike are neighbors.
#
# ## Exercises
#
# 1. Leave the divergence out of the loss, train again, and draw from random codes.
# 2. How far are the codes of the test images from a standard normal distribution? Compare mean and
#    variance of each number.

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 2: what matters to the image has a wide mean code; the total variance is near one
_, mean, log_variance = model.apply({"params": state.params}, everything)
total = mean.var(0) + jnp.exp(log_variance).mean(0)
print("variance of each number of the code:", total.round(2))
assert jnp.all((total > 0.3) & (total < 3))


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: reconstructions get better, samples worse
def without_divergence(params, model_state, batch, *, key, train):
    images = transforms.to_float(batch["image"])
    outputs = model.apply({"params": params}, images, sample=True, rngs={"dropout": key})
    logits, mean, log_variance = outputs
    bound = losses.negative_elbo(logits, images, mean, log_variance)
    cost = metrics.mean(bound - losses.kl_to_standard_normal(mean, log_variance), batch.get("mask"))
    return cost.total / cost.count, (model_state, {"loss": cost})


tx = optim.adam(3e-3)
other, _ = train.run(
    train.make_step(without_divergence, tx),
    train.init_state(model, tx, random.key(0), jnp.zeros((1, *shape))),
    {"image": digits.train["image"]},
    num_epochs=2 if small else 20,
    batch_size=64,
    key=random.key(1),
    progress=False,
)
spread = model.apply({"params": other.params}, everything)[1].var(0)
print("variance of the mean codes without the divergence:", spread.round(0))
assert spread.max() > total.max()

# %% [markdown]
# **Next**: [17 · Can two networks teach each other?](17_first_gan.ipynb)
