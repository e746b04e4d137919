# ---
# jupyter:
#   jaxdl:
#     covers: [M01, M02, M03, M04, M05, M06, M07, M08, M09, M10, M11, M12, M13, M14, M15, M16, M17,
#       M21, M22, M23, M24, M25, M26, M28, M29, M31, M34, M35, M36, M37, M38, M39, L01, L02, L03,
#       L04, L05, L06, L07, L08, L09, L11, L12, L13, L14, L15, L16, L17, L18, L19, L20, L21, L22,
#       L25, Q02, Q05, K08, K09, K10, K11, K12]
#     outputs: [42, 43, 44, 45, 46, 47, 49, 51, 52, 53, 56, 57, 58, 59, 60, 61, 92]
#     mistakes: [14, 36, 37, 38, 40, 46, 56, 61]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · What does a network consist of?
#
# A network is a function and a tree of arrays. This notebook opens both: it counts parameters
# before anything is computed, follows the sizes of images through convolutions, shows where
# weights begin, and what BatchNorm and dropout keep or draw while they train. At the end a trained
# network gives its lower layers to another one.
#
# *You need*: [09 · The training loop](09_training_loop.ipynb). *Time*: an hour to read, half a
# minute to run. *What comes out*: the parameter counts of twenty networks of the courses, from 3
# to 35,070,912, without computing one of them.

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

from jaxdl import data, interop, losses, metrics, models, nn, optim, train, transforms, tree
from jaxdl.models import tutorial

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## Counting before computing
#
# A dense layer from *n* to *m* units has *n·m* weights and *m* biases. *How many parameters has the
# network 784 → 512 → 512 → 10?* Work it out first.
#
# `jax.eval_shape` calls a function with shapes in place of numbers. Nothing is computed, so even
# the largest network costs milliseconds.


# %%
def shapes_of(model, *shape, **options):
    """The parameters of a model, as shapes."""
    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(functools.partial(model.init, **options), random.key(0), inputs)["params"]


mlp = shapes_of(models.MLP((512, 512, 10)), 28, 28, 1)
print(f"{tree.count(mlp):,}")
assert tree.count(mlp) == 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10 == 669_706

# %% [markdown]
# ```python
# # PyTorch
# network = torch.nn.Sequential(
#     torch.nn.Flatten(), torch.nn.Linear(784, 512), torch.nn.ReLU(),
#     torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10),
# )
# assert sum(p.numel() for p in network.parameters()) == 669_706
# assert network[1].weight.shape == (512, 784)  # (out, in)
# ```
#
# PyTorch stores a weight as (out, in) and multiplies by its transpose; Flax stores the kernel as
# (in, out) and multiplies by it. The names are paths: `Dense_0/kernel` is the first layer's.

# %%
for name, leaf in tree.named_leaves(mlp).items():
    print(f"{name:16} {leaf.shape}")
toy = shapes_of(models.MLP((30, 20, 3)), 50)
assert toy["Dense_0"]["kernel"].shape == (50, 30)  # (30, 50) in PyTorch
assert tree.count(toy) == 2213

# %% [markdown]
# 2,213 is the network 50 → 30 → 20 → 3. (A well-known text prints this number under a network of
# one layer, which has 153.) Here are all networks of the courses. *Which of them has most
# parameters in a single layer?*

# %%
small_nets = {
    "one layer 50-3": (models.MLP((3,)), (50,), 153),
    "two layers 50-128-3": (models.MLP((128, 3)), (50,), 6_915),
    "toy network 2-30-20-2": (models.MLP((30, 20, 2)), (2,), 752),
    "logistic regression 2-1": (nn.Dense(1), (2,), 3),
    "sequential 20-256-10": (models.MLP((256, 10)), (20,), 7_946),
    "tanh 100-1024-1024-20": (models.MLP((1024, 1024, 20)), (100,), 1_173_524),
    "512-256-256-2": (models.MLP((256, 256, 2)), (512,), 197_634),
    "sine, five coefficients": (tutorial.PolynomialRegressor(), (100,), 505),
    "fixed weights, one layer twice": (tutorial.FixedWeightMLP(), (20,), 420),
    "10-5-1": (models.MLP((5, 1)), (10,), 61),
}


def count_all(networks):
    for name, (model, shape, expected) in networks.items():
        count = tree.count(shapes_of(model, *shape))
        print(f"{name:32} {count:>12,}")
        assert count == expected, name


count_all(small_nets)

# %%
image_nets = {
    "LeNet-5": (models.LeNet5(), (28, 28, 1), 61_706),
    "ConvNet with dropout": (models.ConvNet(), (28, 28, 1), 30_762),
    "CNN of PyTorch's MNIST example": (models.MnistCNN(), (28, 28, 1), 1_199_882),
    "tutorial network, max-pool": (models.LeNetMaxPool(), (32, 32, 1), 61_706),
    "the same for color": (models.LeNetMaxPool(), (32, 32, 3), 62_006),
    "BatchNorm ConvNet": (models.BatchNormConvNet(), (28, 28, 1), 29_034),
    "GAN book's classifier": (models.MLP((200, 10)), (28, 28, 1), 159_010),
    "conv. discriminator, faces": (models.ConvDiscriminator(), (128, 128, 3), 4_294_448),
    "conv. generator, faces": (models.ConvGenerator(), (100,), 4_330_816),
    "dense generator, faces": (
        models.DenseGenerator((300,), (218, 178, 3), num_latents=100),
        (100,),
        35_070_912,
    ),
}
count_all(image_nets)

# %% [markdown]
# The dense generator's last layer alone, 300 hidden units to 116,412 numbers of an image, has 35
# million. The convolutional one draws faces with an eighth of that, because its kernel is used at
# every place: a dense layer has to learn an edge anew at each position, a convolution learns it
# once.
#
# ## One example is a batch of one
#
# A model takes a batch (B, ...). A single image needs an axis: `image[None]`. The output is a batch
# of **logits**, numbers of any size; softmax turns them into probabilities, and the largest stays
# the largest.

# %%
logits = jnp.array(
    [0.0464, -0.0368, 0.0447, -0.0640, -0.0253, 0.0242, 0.0378, -0.1139, 0.0005, 0.0299]
)
probabilities = jax.nn.softmax(logits)
print(probabilities.round(4), probabilities.argmax())
printed = [0.1052, 0.0968, 0.1050, 0.0942, 0.0979, 0.1029, 0.1043, 0.0896, 0.1005, 0.1035]
np.testing.assert_allclose(probabilities, printed, atol=1e-4)
three = jax.nn.softmax(jnp.array([-0.1262, 0.1080, -0.1792]))
np.testing.assert_allclose(three, [0.3113, 0.3935, 0.2952], atol=1e-4)

# %% [markdown]
# An untrained network gives every digit about a tenth. The loss of such a guess is log 10 = 2.303:
# a first loss far from it means that something is wrong.
#
# ## Four ways to write one network
#
# The network 20 → 256 → 10, in Flax. *Which of them need the number of inputs?*


# %%
class Compact(linen.Module):
    """Layers stand where they are used; the usual way."""

    @linen.compact
    def __call__(self, x):
        x = linen.relu(nn.Dense(256)(x))
        return nn.Dense(10)(x)


class Setup(linen.Module):
    """Layers have names and can be used by several methods, as in ``__init__`` of PyTorch."""

    def setup(self):
        self.hidden, self.head = nn.Dense(256), nn.Dense(10)

    def __call__(self, x):
        return self.head(linen.relu(self.hidden(x)))


sequential = linen.Sequential([nn.Dense(256), linen.relu, nn.Dense(10)])

# %% [markdown]
# None: a layer sees its input when it is first called (PyTorch's `LazyLinear`). In `Compact` layers
# are numbered in the order in which they are *made*: in `Dense(10)(Dense(256)(x))` the outer one
# would be `Dense_0`. The fourth way is no module at all. Parameters are a dictionary, and the
# network a function of it: this is what the other three become.


# %%
def functional(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


x = random.normal(random.key(1), (4, 20))
variables = Compact().init(random.key(0), x)
first, second = variables["params"]["Dense_0"], variables["params"]["Dense_1"]
params = {"w1": first["kernel"], "b1": first["bias"], "w2": second["kernel"], "b2": second["bias"]}
expected = Compact().apply(variables, x)
np.testing.assert_allclose(functional(params, x), expected, rtol=1e-5, atol=1e-6)
renamed = {"params": {"hidden": first, "head": second}}
np.testing.assert_allclose(Setup().apply(renamed, x), expected, rtol=1e-5, atol=1e-6)
in_order = {"params": {"layers_0": first, "layers_2": second}}
np.testing.assert_allclose(sequential.apply(in_order, x), expected, rtol=1e-5, atol=1e-6)

# %% [markdown]
# What has weights goes into a module; what has none (an activation, a reshape, pooling) may be a
# function. A list or dictionary of layers in `setup` is PyTorch's `ModuleList` or `ModuleDict`. A
# `View` helper for a Sequential is a lambda: `lambda x: x.reshape(len(x), 8, 8, 1)`.
#
# ```python
# # PyTorch
# class Net(torch.nn.Module):
#     def __init__(self):
#         super().__init__()
#         self.layers = torch.nn.ModuleList([torch.nn.Linear(20, 256), torch.nn.Linear(256, 10)])
#
#     def forward(self, x):
#         return self.layers[1](torch.relu(self.layers[0](x)))
#
# network = Net()  # not inside the class body, where the class does not exist yet
# assert network(torch.zeros(4, 20)).shape == (4, 10)
# ```
#
# A network may also hold constants, use one layer twice, or loop over it. This one multiplies by a
# fixed random matrix, uses one dense layer twice and halves the result until its sum is at most 1.
# The matrix is no parameter: it is in a collection of its own, and no optimizer sees it.

# %%
fixed = tutorial.FixedWeightMLP()
variables = fixed.init(random.key(0), jnp.ones((2, 20)))
print({name: tree.count(part) for name, part in variables.items()})
assert tree.count(variables["params"]) == 420
nested = shapes_of(tutorial.NestedMLP(), 20)
print({name: tree.count(part) for name, part in nested.items()})
assert tree.count(nested["net"]) == 3_952

# %% [markdown]
# ## Sizes of images
#
# A kernel of *k* pixels at stride *s*, with *p* pixels of padding on both sides, fits
# $\lfloor (n + 2p - k) / s \rfloor + 1$ times into *n* pixels. *What becomes of 6 pixels with a
# kernel of 2: at stride 1, at stride 2, at stride 2 with padding 1?*


# %%
def size_after(n, kernel_size, stride=1, padding=0):
    conv = nn.Conv(1, kernel_size, stride=stride, padding=padding)
    variables = jax.eval_shape(conv.init, random.key(0), jnp.ones((1, n, n, 1)))
    return jax.eval_shape(conv.apply, variables, jnp.ones((1, n, n, 1))).shape[1]


sizes = [size_after(6, 2), size_after(6, 2, 2), size_after(6, 2, 2, 1)]
print(sizes, size_after(5, 2, 2))
assert sizes == [5, 3, 4]
assert size_after(5, 2, 2) == 2  # the last row and column are never seen

# %%
fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, (n, stride, pad) in zip(axes, [(6, 1, 0), (6, 2, 0), (6, 2, 1), (5, 2, 0)], strict=True):
    seen = np.zeros((n + 2 * pad, n + 2 * pad))
    for row in range(0, n + 2 * pad - 1, stride):
        for column in range(0, n + 2 * pad - 1, stride):
            seen[row : row + 2, column : column + 2] += 1
    ax.imshow(seen, cmap="Blues", vmin=0, vmax=4)
    ax.add_patch(plt.Rectangle((pad - 0.5, pad - 0.5), n, n, fill=False, edgecolor="tab:red"))
    ax.set(title=f"{n} pixels, stride {stride}, pad {pad}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# How often a kernel of 2 sees each pixel, from never (white) to four times; the red square is the
# image. At stride 1 the middle counts four times as much as the corners. With padding 1 the kernel
# sees corners of the image together with three zeros. The last picture has a gap: 5 pixels at
# stride 2 leave out a row and a column, silently.
#
# LeNet-5 from layer to layer, and the CNN of the GAN book. `nn.shapes` prints such a table for any
# model, and computes nothing either.

# %%
images = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
print(nn.shapes(models.LeNet5(), images))
lenet = shapes_of(models.LeNet5(), 28, 28, 1)
assert [tree.count(layer) for layer in lenet.values()] == [156, 2_416, 48_120, 10_164, 850]
assert [size_after(28, 5, 2), size_after(12, 3, 2)] == [12, 5]  # 10 maps of 5x5: 250 features

# %% [markdown]
# The number of features before the first dense layer is where most mistakes are made: 28 → 26 → 13
# → 11 → 5 gives 32·5·5 = 800, and not what was right for another image size. In Flax the dense
# layer reads it from its input. (One published network flattens *before* its convolutions, and its
# functional twin feeds the input in place of the last result to every layer; neither can run.)
#
# A **transposed** convolution goes the other way: $(n - 1)s - 2p + k$. The generator of faces grows
# from 11 to 128 pixels with kernels of 8 at stride 2; the discriminator shrinks 128 to 10. *With
# which padding does the last layer end at 128, not 130?*


# %%
def size_after_transposed(n, kernel_size, stride, padding=0):
    conv = nn.ConvTranspose(1, kernel_size, stride=stride, padding=padding)
    inputs = jnp.ones((1, n, n, 1))
    return jax.eval_shape(lambda key: conv.init_with_output(key, inputs)[0], random.key(0)).shape[1]


assert [size_after_transposed(3, 2, s, p) for s, p in [(2, 0), (1, 0), (2, 1)]] == [6, 4, 4]
growing, shrinking = [11], [128]
for padding in (0, 0, 1):
    growing.append(size_after_transposed(growing[-1], 8, 2, padding))
    shrinking.append(size_after(shrinking[-1], 8, 2))
print(growing, shrinking)
assert growing == [11, 28, 62, 128]
assert shrinking == [128, 61, 27, 10]
face = jnp.arange(218.0)[:, None] * jnp.ones((1, 178))
cut = transforms.center_crop(face[..., None], 128)[..., 0]
assert (int(cut[0, 0]), int(cut[-1, 0])) == (45, 172)  # the rows that a crop of 218 keeps

# %% [markdown]
# ## Where weights begin
#
# If all weights of a layer begin equal, all its units compute the same and get the same gradient:
# they stay equal forever. *How many different hidden units has a network of eight after a hundred
# steps, from constants and from random numbers?*

# %%
points = {"x": random.normal(random.key(2), (64, 2))}
points["label"] = (points["x"].prod(axis=1) > 0).astype(jnp.int32)


def trained_units(kernel_init):
    zeros = jax.nn.initializers.zeros  # PyTorch's default, random biases, breaks the symmetry too
    model = models.MLP((8, 2), kernel_init=kernel_init, bias_init=zeros)
    loss_fn = train.supervised(model, losses.cross_entropy, inputs="x")
    tx = optim.sgd(0.5)
    state = train.init_state(loss_fn, tx, 0, points)
    step = train.make_step(loss_fn, tx)
    state, _ = jax.lax.scan(lambda state, _: (step(state, points)[0], None), state, length=100)
    kernel = state.params["Dense_0"]["kernel"]
    return len(np.unique(np.asarray(kernel).round(5), axis=1).T)


constant = jax.nn.initializers.constant(0.1)
units = trained_units(constant), trained_units(nn.initializers.xavier_normal())
print(units)
assert units == (1, 8)

# %% [markdown]
# One. Random numbers break the symmetry, and a fixed key makes them repeatable.
#
# How large should they be? If a layer of *n* inputs is to keep the size of its input, its weights
# need a variance of about 1/n. PyTorch's `Linear` and `Conv2d` draw from
# U(−1/√n, 1/√n); `nn.Dense` does the same. Xavier takes the mean of inputs and outputs, Kaiming
# doubles the variance, because ReLU drops half of it.

# %%
depth, width = 12, 256
x = random.normal(random.key(3), (200, width))
draws = {
    "PyTorch's default": nn.initializers.uniform_fan_in(),
    "Xavier normal": nn.initializers.xavier_normal(),
    "Kaiming normal": nn.initializers.kaiming_normal(),
    "N(0, 0.01²)": jax.nn.initializers.normal(0.01),
}
spread = {}
for name, draw in draws.items():
    h, spread[name] = x, []
    for key in random.split(random.key(4), depth):
        h = jax.nn.relu(h @ draw(key, (width, width)))
        spread[name].append(float(jnp.sqrt(jnp.mean(h**2))))
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in spread.items():
    ax.semilogy(range(1, depth + 1), values, marker=".", label=name)
ax.set(xlabel="layer", ylabel="size of the activations")
ax.legend()
plt.show()
assert 0.5 < spread["Kaiming normal"][-1] < 2
assert spread["N(0, 0.01²)"][-1] < 1e-10

# %% [markdown]
# Only Kaiming keeps its size through twelve ReLU layers; Xavier halves the variance in each of
# them, and a small constant deviation ends in nothing: so deep a network would not begin to learn.
# (Glorot's distribution in `jax.nn.initializers` is a truncated normal; `nn.initializers.xavier_*`
# are PyTorch's.)
#
# ```python
# # PyTorch
# network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8))
# for module in network.modules():
#     if isinstance(module, torch.nn.Conv2d):
#         torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
#     elif isinstance(module, torch.nn.BatchNorm2d):
#         torch.nn.init.ones_(module.weight)
# assert abs(network[0].weight.std().item() - (2 / 72) ** 0.5) < 0.06
# ```
#
# Flax has no loop over modules: the distribution is an argument of the layer, or of the model. A
# single weight is overwritten by making a new tree.

# %%
conv = nn.Conv(64, 3, kernel_init=nn.initializers.kaiming_normal("fan_out"))
kernel = conv.init(random.key(0), jnp.ones((1, 8, 8, 3)))["params"]["kernel"]
deviation, expected = float(kernel.std()), (2 / (64 * 9)) ** 0.5
print(f"{deviation:.4f}, expected {expected:.4f}")
assert abs(deviation / expected - 1) < 0.1
variables = nn.Dense(2).init(random.key(0), jnp.ones((1, 3)))
changed = {"params": {**variables["params"], "kernel": jnp.eye(3, 2)}}
np.testing.assert_array_equal(
    nn.Dense(2, use_bias=False).apply(
        {"params": {"kernel": changed["params"]["kernel"]}}, jnp.array([[1.0, 2.0, 3.0]])
    ),
    [[1.0, 2.0]],
)

# %% [markdown]
# ## Activations
#
# A class, a function and a method of the same activation are three ways to write one thing in
# PyTorch. Here it is a function. Slopes of the leaky ReLU differ from course to course: 0.01 is the
# default, 0.02 and 0.2 are those of the GANs. GELU has an exact and an approximate form; PyTorch's
# default is the exact one, Flax's the other.

# %%
z = jnp.linspace(-3, 3, 121)
curves = {
    "relu": jax.nn.relu(z),
    "leaky_relu 0.2": jax.nn.leaky_relu(z, 0.2),
    "gelu": jax.nn.gelu(z, approximate=False),
    "sigmoid": jax.nn.sigmoid(z),
    "tanh": jnp.tanh(z),
}
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, values in curves.items():
    ax.plot(z, values, label=name)
ax.set(xlabel="input", ylabel="output", ylim=(-1.2, 2.5))
ax.legend()
plt.show()
approximation = jax.nn.gelu(z, approximate=True)
error = float(jnp.abs(curves["gelu"] - approximation).max())
print(f"exact and approximate gelu differ by up to {error:.1e}")
assert 1e-4 < error < 1e-3

# %% [markdown]
# ReLU is flat on one side: a unit that is negative for all examples gets no gradient. The leaky
# one has a slope there, which is why GANs like it. Sigmoid and tanh are flat on both sides.
#
# ## BatchNorm: parameters, and a memory
#
# BatchNorm subtracts the mean of a batch and divides by its deviation, per channel, then scales and
# shifts. Scale and shift are **learned** parameters (one set of notes denies it). It also keeps
# running statistics, which no gradient touches, for evaluation.

# %%
batch = 5.0 + 2.0 * random.normal(random.key(5), (256, 4))
norm = nn.BatchNorm()
variables = norm.init(random.key(0), batch, train=False)
print(jax.tree.map(jnp.shape, variables))
normalized, new = norm.apply(variables, batch, train=True, mutable=["batch_stats"])
running = new["batch_stats"]["mean"]
print(running, "after one batch, of", batch.mean(axis=0).round(2))
np.testing.assert_allclose(running, 0.1 * batch.mean(axis=0), rtol=1e-4)
np.testing.assert_allclose(normalized.mean(axis=0), np.zeros(4), atol=1e-5)

# %% [markdown]
# The running mean moved a tenth of the way (PyTorch's momentum of .1; Flax would call it .9). The
# call returned the new statistics: nothing was changed in place. In `train.TrainState` they are
# `model_state`, and `train.make_step` puts them there.
#
# In evaluation BatchNorm is **not off**, as one often reads; it uses the running statistics. *What
# does it return for the same batch now?*

# %%
early = norm.apply({**variables, **new}, batch, train=False)
stats = new["batch_stats"]
for _ in range(60):
    _, updated = norm.apply(
        {"params": variables["params"], "batch_stats": stats},
        batch,
        train=True,
        mutable=["batch_stats"],
    )
    stats = updated["batch_stats"]
late = norm.apply({"params": variables["params"], "batch_stats": stats}, batch, train=False)
print(f"mean of the output {early.mean():.2f} after one batch, {late.mean():.4f} after sixty")
assert early.mean() > 3
assert abs(float(late.mean())) < 0.05

# %% [markdown]
# After one batch the statistics are still near their start, 0 and 1, and the output is far off:
# evaluate a network after few steps, and BatchNorm may make it look worse than it is.
#
# On several devices PyTorch's BatchNorm uses the statistics of each device's part of the batch, and
# `SyncBatchNorm` those of all. (The converter that one set of notes prints has an assignment to a
# call and an unmatched bracket; PyTorch has `convert_sync_batchnorm`.) In JAX a batch that is
# sharded over devices is still one array, and its mean is the mean of all of it. LayerNorm needs
# none of this: it normalizes each example by itself.

# %%
layer_norm = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False)
out = layer_norm.apply(layer_norm.init(random.key(0), batch), batch)
np.testing.assert_allclose(out.mean(axis=1), np.zeros(256), atol=1e-5)
alone = layer_norm.apply(layer_norm.init(random.key(0), batch), batch[:1])
np.testing.assert_allclose(alone, out[:1], atol=1e-5)

# %% [markdown]
# ## Dropout: random, and only in training
#
# Dropout sets units to zero and scales the others up, so that the sum stays the same on average. It
# needs a key, and it must be told when it trains. PyTorch's `F.dropout(x, 0.5)` stays on in
# evaluation, because a function does not know the mode of the module around it; one published
# network applies it so, and to its logits. (A second one uses `Dropout2d` on a matrix: plain
# dropout is meant.)
#
# ```python
# # PyTorch
# x = torch.ones(1000)
# module = torch.nn.Dropout(0.5).eval()
# assert torch.equal(module(x), x)
# assert not torch.equal(torch.nn.functional.dropout(x, 0.5), x)  # on, whatever the mode
# ```

# %%
ones = jnp.ones(1000)
dropout = linen.Dropout(0.5)
first = dropout.apply({}, ones, deterministic=False, rngs={"dropout": random.key(0)})
again = dropout.apply({}, ones, deterministic=False, rngs={"dropout": random.key(0)})
off = dropout.apply({}, ones, deterministic=True)
print(np.unique(first), f"mean {first.mean():.2f}")
assert jnp.array_equal(first, again)
assert jnp.array_equal(off, ones)
assert abs(float(first.mean()) - 1) < 0.1

# %% [markdown]
# ## Layers in the middle
#
# PyTorch registers a hook to see what a layer returns. `nn.features` returns it beside the output;
# a test image through the ConvNet has three stations. Bilinear pooling turns feature maps into the
# products of all pairs of channels.

# %%
digits = data.load("digits")
convnet = models.CNN(num_classes=10, features=(8, 16), dropout_rate=0.0)
preprocess = transforms.normalize(*data.mean_and_std(digits.train["image"]))
loss_fn = train.supervised(
    convnet, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
)
tx = optim.adam(3e-3)
state, history = train.run(
    train.make_step(loss_fn, tx),
    train.init_state(loss_fn, tx, 0, digits.train),
    digits.train,
    num_epochs=1 if small else 5,
    batch_size=64,
    key=1,
    eval_fn=train.make_eval(loss_fn),
    eval_data=digits.test,
    progress=False,
)
print(history[-1]["test/accuracy"])
assert history[-1]["test/accuracy"] > (0.5 if small else 0.9)

# %%
variables = {"params": state.params, **state.model_state}
picture = preprocess(digits.test["image"][:1])
maps = nn.features(convnet, variables, picture)
for name, value in maps.items():
    print(f"{name:16} {value.shape}")
pooled = nn.bilinear_pool(maps["Conv_0"])
assert pooled.shape == (1, 8 * 8)
kernels = [leaf for name, leaf in tree.named_leaves(state.params).items() if "Conv" in name]
assert len(kernels) >= 2  # all convolutions: a filter over names, not over modules

# %%
fig, axes = plt.subplots(1, 9, figsize=(9, 1.3), layout="constrained")
axes[0].imshow(digits.test["image"][0, ..., 0], cmap="gray_r")
for ax, feature_map in zip(
    axes[1:], np.moveaxis(np.asarray(maps["Conv_0"][0]), -1, 0), strict=True
):
    ax.imshow(feature_map)
for ax in axes:
    ax.axis("off")
plt.show()

# %% [markdown]
# The digit, and eight maps of 4×4 numbers: convolution and pooling in one. Each channel is bright
# at another part of the stroke: a layer of features, which the next layer combines.
#
# ## Weights that travel
#
# A state is names and arrays, so parts of it can be given to another network. Keep the
# convolutions of this one and put a new head on them, for five classes. The report says what was
# loaded and what begins anew. Here the weights first take PyTorch's names and layouts, as they
# would come from a file of PyTorch.

# %%
other = models.CNN(num_classes=5, features=(8, 16), dropout_rate=0.0)
fresh = other.init(random.key(7), picture, train=False)
weights = interop.params_to_torch(variables)
print([f"{name} {array.shape}" for name, array in list(weights.items())[:3]])
loaded, report = interop.load_state_dict(weights, fresh, leave_out="Dense_0")
print(report)
np.testing.assert_array_equal(
    loaded["params"]["Conv_0"]["kernel"], state.params["Conv_0"]["kernel"]
)

# %% [markdown]
# Three rules for weights that others will use:
#
# - *A suffix says nothing.* `.pt`, `.pth` and `.bin` are pickles, which run code when they are
#   loaded by `torch.load`; `interop.read_weights` reads them without running any. safetensors holds
#   arrays and nothing else. Names with `module.` in front come from `DataParallel`:
#   `interop.load_state_dict(..., prefix="module.")` takes it off.
# - *Evaluate as in training's evaluation.* `train=False`, and the same preprocessing. Here both are
#   part of the run folder.
# - *Ship what repeats the result*: the code's version, weights and optimizer state, the data or
#   their split, and the command. A run folder has all but the data.
#
# Models have names, not registry strings: `models.ResNet18(num_classes=5)`. ResNet, VGG and the
# Vision Transformer are in [the zoo](https://github.com/jaxdl/jaxdl/tree/main/src/jaxdl/models);
# BERT, GPT and Llama come with the language notebooks. `getattr(models, "ResNet18")` chooses by
# name, where a flag must.

# %%
for name in ("ResNet18", "VGG16", "VisionTransformer"):
    model = getattr(models, name)(num_classes=1000)
    print(f"{name:18} {tree.count(shapes_of(model, 224, 224, 3)):>12,}")

# %% [markdown]
# ## Exercises
#
# 1. Write the network 3 → 64 convolution (3×3, padding 1), BatchNorm, ReLU, pooling, dense 512 for
#    images of 28×28. It has 6,424,960 parameters, most of them where?
# 2. Count all convolutions' parameters of a ResNet-18, and those of BatchNorm.
# 3. Make a layer that keeps the running mean of its inputs in a collection of its own.


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
class MyNetwork(linen.Module):
    """Solution of 1: the dense layer from 64·14·14 = 12,544 features has 6.4 million."""

    @linen.compact
    def __call__(self, x):
        x = linen.relu(nn.BatchNorm()(nn.Conv(64, 3, padding=1)(x), train=False))
        return nn.Dense(512)(nn.flatten(nn.max_pool(x)))


solution = shapes_of(MyNetwork(), 28, 28, 3)
assert tree.count(solution) == 6_424_960
assert tree.count(solution["Dense_0"]) == 6_423_040

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: a filter over shapes and names
resnet = tree.named_leaves(shapes_of(models.ResNet18(num_classes=1000), 64, 64, 3))
convs = sum(leaf.size for leaf in resnet.values() if leaf.ndim == 4)  # a kernel has four axes
scales = sum(2 * leaf.size for name, leaf in resnet.items() if name.endswith("scale"))
print(f"{convs:,} in convolutions, {scales:,} in BatchNorm")
assert (convs, scales) == (11_166_912, 9_600)


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
class RunningMean(linen.Module):
    """Solution of 3: a variable of its own collection, PyTorch's buffer."""

    @linen.compact
    def __call__(self, x, train=False):
        mean = self.variable("memory", "mean", jnp.zeros, x.shape[-1:])
        if train and not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * x.mean(axis=0)
        return x - mean.value[None]


memory = RunningMean().init(random.key(0), batch)
_, memory = RunningMean().apply(memory, batch, train=True, mutable=["memory"])
np.testing.assert_allclose(memory["memory"]["mean"], 0.1 * batch.mean(axis=0), rtol=1e-5)

# %% [markdown]
# **Next**: [11 · What did the network do while it trained?](11_tensorboard.ipynb)
