# ---
# jupyter:
#   jaxdl:
#     covers: [E01, E02, E05, E08, E09, E10]
#     outputs: []
#     mistakes: [10, 51]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 24 · How does a model leave the script that trained it?
#
# A trained network is a function and some arrays. To use it elsewhere, another program needs
# both, and what PyTorch calls a *state_dict* is only the second. This notebook takes a network
# that exists nowhere but here, and hands it on four times: as arrays for PyTorch, as a compiled
# program, as a bundle that needs none of our code, and four times smaller.
#
# *You need*: [09 · The training loop](09_training_loop.ipynb). *Time*: half an hour to read, a
# minute to run. *What comes out*: a network with about 98 % on test digits, whose answers in
# another process, without the class, are the same to four digits; and int8
# weights that are 3.5 times smaller and as accurate.

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
import json
import os
import subprocess
import sys
from pathlib import Path

import flax.linen as linen
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxdl
from jaxdl import data, export, interop, losses, metrics, optim, train, transforms, tree
from jaxdl.export import quantization

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False

# %% [markdown]
# ## A network and a run
#
# The class stands in this cell and in no package.


# %%
class Net(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        for features in (32, 64):
            x = linen.Conv(features, (3, 3))(x)
            x = linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = linen.max_pool(x, (2, 2), strides=(2, 2)).reshape(x.shape[0], -1)
        return linen.Dense(10)(linen.Dropout(0.25, deterministic=not train)(x))


# %%
digits = data.load("digits")
preprocess = transforms.normalize(*data.mean_and_std(digits.train["image"]))
tx, (init_key, order_key) = optim.adam(1e-3), jax.random.split(jax.random.key(0))
loss_fn = train.supervised(
    Net(), losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
)
state, history = train.run(
    train.make_step(loss_fn, tx),
    train.init_state(loss_fn, tx, init_key, digits.train),
    digits.train,
    num_epochs=2 if small else 8,
    batch_size=64,
    key=order_key,
    eval_fn=train.make_eval(loss_fn),
    eval_data=digits.test,
    workdir="digits",
    progress=False,
)
accuracy = history[-1]["test/accuracy"]
print(f"{accuracy:.3f}", *sorted(path.name for path in Path("digits").glob("[!e]*")))
assert accuracy > (0.7 if small else 0.95)

# %% [markdown]
# The run folder describes the model: `model.json` has its shapes and classes, `forward.stablehlo`
# the compiled forward pass without weights, `checkpoints` the weights.
#
# ## 1 · Arrays
#
# Weights are a tree of arrays with names. `safetensors` holds such trees, is read by every
# framework and runs no code when opened, which a pickle does. Saving only the weights does
# **not** free you from the structure, though a course says so: whoever reads them needs a network
# of the same form, or takes a part on purpose.

# %%
variables = {"params": state.params, **state.model_state}
interop.write_variables("weights.safetensors", variables)
again = interop.read_variables("weights.safetensors")
assert all(
    jnp.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(again), strict=True)
)
print(f"{tree.count(variables):,} numbers, {Path('weights.safetensors').stat().st_size:,} bytes")

# %% [markdown]
# PyTorch's names and layouts (a kernel is (out, in, height, width) there, and `weight`) come from
# `params_to_torch`; notebook 10 goes the other way.
#
# ```python
# # PyTorch
# model = torch.nn.Sequential(torch.nn.Linear(3, 2))
# assert list(model.state_dict()) == ["0.weight", "0.bias"]
# assert model.state_dict()["0.weight"].shape == (2, 3)  # Linen's kernel is (3, 2)
# ```

# %%
torch_arrays = interop.params_to_torch(variables)
for name, array in torch_arrays.items():
    if name.startswith(("Conv", "Dense")):
        print(f"{name:28} {tuple(array.shape)}")
kernel = state.params["Conv_0"]["kernel"]
theirs = next(array for array in torch_arrays.values() if array.shape == (32, 1, 3, 3))
assert jnp.array_equal(jnp.transpose(kernel, (3, 2, 0, 1)), theirs)

# %% [markdown]
# ## 2 · A program
#
# TorchScript and `torch.export` save the computation; here it is StableHLO (notebook 05), with
# the weights and the preprocessing inside. It runs where XLA runs: in Python without Flax, in C++
# through PJRT (PyTorch's counterpart is LibTorch), ahead of time on an edge device. The batch
# size stays open. `write_stablehlo` compares the program with the function on random inputs
# before it keeps the file: *how large may the difference be?*


# %%
def forward(images):
    return Net().apply(variables, preprocess(images))


difference = export.write_stablehlo("net.stablehlo", forward, digits.test["image"].shape[1:])
program = export.load_exported("net.stablehlo")
ours = forward(jnp.asarray(digits.test["image"]))
theirs = program.call(jnp.asarray(digits.test["image"]))
assert difference < 1e-5
np.testing.assert_allclose(theirs, ours, atol=1e-4)
assert program.call(jnp.asarray(digits.test["image"][:3])).shape == (3, 10)  # another batch size

# %% [markdown]
# An input of another shape is refused, by name. (A common slip in export examples: an input three
# wide for a network that wants ten.)

# %%
try:
    program.call(jnp.zeros((1, 3, 3, 1), jnp.uint8))
except ValueError as error:
    print(error)

# %% [markdown]
# ## 3 · A bundle
#
# One folder with everything that a user of the model needs: program, weights, preprocessing,
# names of the classes, results by class, a model card. A command makes it from the run folder:

# %%
command = [sys.executable, "-m", "jaxdl", "export", "digits", "--to", "bundle", "--out", "bundle"]
subprocess.run(command, check=True, capture_output=True)
print(*sorted(path.name for path in Path("bundle").iterdir()))
config = json.loads(Path("bundle/config.json").read_text())
assert config["class_names"] == [str(digit) for digit in range(10)]
print(Path("bundle/README.md").read_text()[:400])

# %% [markdown]
# Now the test that matters: another process, which has never seen `class Net`.

# %%
np.save("images.npy", digits.test["image"])
code = """
import numpy, jaxdl
bundle = jaxdl.load_bundle("bundle")
assert bundle.model is None  # no class: it runs from its program
numpy.save("answers.npy", bundle.outputs(numpy.load("images.npy")))
"""
subprocess.run([sys.executable, "-c", code], check=True)
best = jaxdl.load_bundle("bundle")
answers = np.load("answers.npy")
np.testing.assert_allclose(answers, best.outputs(digits.test["image"]), atol=1e-4)
right = float((answers.argmax(1) == digits.test["label"]).mean())
print(f"{right:.3f} of the test images are right in the other process")
assert abs(right - accuracy) < 0.02

# %%
probabilities = best.predict(digits.test["image"][:6])
fig, axes = plt.subplots(2, 6, figsize=(9, 3), layout="constrained")
for column, (image, row) in enumerate(zip(digits.test["image"], probabilities, strict=False)):
    axes[0, column].imshow(image[..., 0], cmap="gray")
    axes[0, column].axis("off")
    axes[1, column].bar(range(10), row)
    axes[1, column].set(ylim=(0, 1), xticks=range(0, 10, 3), xlabel="class")
axes[1, 0].set_ylabel("probability")
plt.show()

# %% [markdown]
# Above the image that goes in (raw bytes: the preprocessing is part of the bundle), below the
# probability of each class that comes out.
#
# ## 4 · Smaller
#
# Most of a weight's 32 bits are not needed. `quantize` keeps eight per number and one scale per
# output channel. *How much accuracy does that cost?*


# %%
def accuracy_of(tree_of_weights):
    wide = quantization.dequantize(tree_of_weights)
    logits = Net().apply(wide, preprocess(jnp.asarray(digits.test["image"])))
    return float(metrics.accuracy(logits, jnp.asarray(digits.test["label"])).mean())


variants = {
    "float32": variables,
    "bfloat16": quantization.cast(variables, jnp.bfloat16),
    "int8": quantization.quantize(variables),
    "half pruned": quantization.prune(variables, 0.5)[0],
}
rows = {}
for name, weights in variants.items():
    path = Path(f"{name}.safetensors")
    interop.write_safetensors(path, quantization.to_arrays(weights))
    rows[name] = (path.stat().st_size, accuracy_of(weights))
    print(f"{name:12} {rows[name][0]:9,} bytes   accuracy {rows[name][1]:.3f}")
assert rows["float32"][0] / rows["int8"][0] > 3
assert abs(rows["float32"][1] - rows["int8"][1]) < 0.01

# %% [markdown]
# A pruned tree is no smaller by itself: zeros take as much room as other numbers, until the file is
# compressed or the hardware skips them.
#
# ## Where it can go
#
# | target | PyTorch's way | here |
# |---|---|---|
# | Python, other framework | state_dict | safetensors, `--to torch` |
# | Python without the class | TorchScript | bundle, StableHLO |
# | ONNX Runtime | `torch.onnx.export` | `export --to onnx` (extra `onnx`) |
# | C++ | LibTorch | StableHLO through PJRT |
# | another machine by HTTP | TorchServe, Flask | a bundle behind a server |
#
# ONNX needs the extra `onnx` in an environment of its own: `pip install "jaxdl[onnx]"`, then
# `python -m jaxdl export digits --to onnx`. The result is checked with ONNX Runtime before it is
# kept, as above.
#
# ## Exercises
#
# 1. Export the *gradient* of the loss of one class with respect to the image as a program.
# 2. Find the fraction of weights that can be pruned before accuracy falls by more than two percent.


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1: the derivative of a function is a function
def sensitivity(images):
    return jax.grad(lambda x: Net().apply(variables, x)[:, 3].sum())(images)


shape = digits.test["image"].shape[1:]
difference = export.write_stablehlo("sensitivity.stablehlo", sensitivity, shape, "float32")
assert difference < 1e-5

# 2
for fraction in (0.5, 0.6, 0.7, 0.8, 0.9):
    pruned = accuracy_of(quantization.prune(variables, fraction)[0])
    print(f"{fraction:.0%} pruned: accuracy {pruned:.2f}")
    if pruned < rows["float32"][1] - 0.02:
        break
assert fraction >= 0.5

# %% [markdown]
# **Next**: this is the last notebook for now. [00 · Where do I start?](00_start_here.ipynb) lists
# them all.
