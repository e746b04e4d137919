# ---
# jupyter:
#   jaxdl:
#     covers: [V01, V02, V03, V04, V05, V06, V07, V08, V09, V10, V11, V12, V13, V14, V15, V16, V17,
#       V18, V19, V20, V21, V22, V23, V24, V25, V26, R08]
#     outputs: [72, 73]
#     mistakes: [19, 21, 22, 23, 24]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · What did the network do while it trained?
#
# A loss curve says whether a network learns, but not how. TensorBoard shows the rest: weights,
# gradients, feature maps, embeddings, settings. Here you write its files, first by hand and then
# with one option of `train.run`, and read them back with TensorBoard's own reader. So you know
# what the files hold before you open a browser.
#
# *You need*: [09 · What does a training loop do?](09_training_loop.ipynb). *Time*: 50 minutes to
# read, two minutes to run. *What comes out*: a small convolutional network that reads about 99 %
# of MNIST's test images (with the data set; without it, the same network on enlarged small
# digits), and a run folder with its curves, 19 histograms per point, pictures, and 1,024 vectors
# of 32 numbers.

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
import io
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from jax import random
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdl import data, generative, losses, metrics, models, nn, optim, plots, tensorboard
from jaxdl.tensorboard import grids, projections

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # with MNIST in it; None: enlarged small digits
plt.rcParams["figure.dpi"] = 75

# %% [markdown]
# ## A writer and a curve
#
# A **writer** appends events to a file in a run folder. An event has a **tag** (which curve), a
# **step** (where on the axis) and a value. Tags with the same beginning, `Loss/train` and
# `Loss/test`, share a section on the page. The first example logs random numbers, to have
# something to look at.
#
# A thread writes the file. `flush_seconds` says how long an event may wait, and `max_queue` how
# many may wait; a writer that is closed has written everything. In PyTorch these are `flush_secs`
# and `max_queue`.
#
# ```python
# # PyTorch
# import tempfile
#
# from torch.utils.tensorboard import SummaryWriter
#
# folder = tempfile.mkdtemp()
# writer = SummaryWriter(folder, flush_secs=30, max_queue=10)
# for step in range(100):
#     writer.add_scalar("Loss/train", torch.rand(()).item(), step)
# writer.close()
# ```

# %%
rng = np.random.default_rng(0)
tags = ("Loss/train", "Loss/test", "Accuracy/train", "Accuracy/test", "Learning Rate")
values = {tag: rng.random(100) for tag in tags}
values["Learning Rate"] = 0.1 * 0.9 ** np.arange(100)

folder = "runs/fashion_mnist_experiment_1"
with tensorboard.open_writer(folder, flush_seconds=30, max_queue=10) as writer:
    for step in range(100):
        now = {tag: values[tag][step] for tag in tags}
        tensorboard.write_scalars(writer, now, step)
print([path.name.split(".")[0] for path in Path(folder).iterdir()])

# %% [markdown]
# Now read the file with the class that TensorBoard's server uses. (By default it keeps a sample of
# each tag only; size 0 means all.) *How many steps will it find per tag, and are the values those
# that were written, or rounded?*


# %%
def read(folder):
    kinds = ("scalars", "histograms", "images", "audio", "tensors")
    return EventAccumulator(str(folder), size_guidance=dict.fromkeys(kinds, 0)).Reload()


found = read(folder)
print(found.Tags()["scalars"])
for tag in tags:
    events = found.Scalars(tag)
    assert [event.step for event in events] == list(range(100))
    np.testing.assert_array_equal([e.value for e in events], values[tag].astype(np.float32))

# %% [markdown]
# 100 each, rounded to float32: that is what an event holds. Tags are free text. This library
# writes `train/loss`, `test/accuracy` and `step/learning_rate`; other code writes
# `Learning/learning_rate`, `Gradients/norm` or `Quality/fid_score`. What counts is that all of
# your runs use the same ones, because TensorBoard draws equal tags of several runs into one panel.
#
# ## How to look at it
#
# In a terminal, on the folder that holds all runs:
#
# ```sh
# pip install tensorboard        # or: conda install -c conda-forge tensorboard
# tensorboard --logdir runs      # then open http://localhost:6006
# ```
#
# In a notebook, `%load_ext tensorboard` once and then `%tensorboard --logdir runs` show the same
# page below the cell. When the training runs on another machine, forward the port, and open the
# same address on your own:
#
# ```sh
# ssh -L 6006:localhost:6006 you@the-machine
# ```
#
# This notebook does not start the server; it shows the pictures that the files hold.
#
# ## Everything but scalars
#
# There is one function for each kind. Those that take pictures want them as JAX has them, with the
# channels last. (A PyTorch writer wants CHW unless told otherwise.) A wrong layout is refused.

# %%
query, key = rng.normal(size=(2, 6, 8))
attention = jax.nn.softmax(query @ key.T / np.sqrt(8))  # of six random words
noise = rng.random((8, 8, 3))
levels = np.linspace(1, 0, 6)[:, None, None, None]
frames = np.asarray(levels * noise + (1 - levels) * 0.5, np.float32)  # from noise to gray
tone = np.sin(2 * np.pi * 440 * np.arange(4410) / 44100)  # a tenth of a second

with tensorboard.open_writer("runs/kinds") as writer:
    weights = rng.normal(size=1000)
    tensorboard.write_histogram(writer, "weights", weights, 0)
    tensorboard.write_image(writer, "attention/head_0", attention, 0)
    tensorboard.write_image_grid(writer, "frames", frames, 0, num_columns=3)
    tensorboard.write_video(writer, "denoising", frames, 0, fps=4)
    tensorboard.write_audio(writer, "tone", tone, 0, sample_rate=44100)
    tensorboard.write_text(writer, "notes", "**Adam**, 5 epochs")
    tensorboard.write_pr_curve(writer, "pr", [1, 0, 1], [0.9, 0.2, 0.6], 0)
    tensorboard.write_embedding(writer, "codes", np.eye(3), 0, metadata=["cat", "dog", "bird"])
    try:
        tensorboard.write_image(writer, "chw", np.zeros((3, 8, 8)), 0)
    except ValueError as error:
        print(error)

# %%
found = read("runs/kinds")
histogram = found.Histograms("weights")[0].histogram_value
assert histogram.num == 1000
np.testing.assert_allclose([histogram.min, histogram.max], [weights.min(), weights.max()])
(image,) = found.Images("attention/head_0")
assert (image.height, image.width) == (6, 6)
(grid,) = found.Images("frames")
assert (grid.height, grid.width) == (2 * (8 + 2) + 2, 3 * (8 + 2) + 2)
assert found.Images("denoising")[0].encoded_image_string.startswith(b"GIF89a")
(sound,) = found.Audio("tone")
assert (sound.sample_rate, sound.length_frames, sound.content_type) == (44100, 4410, "audio/wav")
assert found.Tensors("notes")[0].tensor_proto.string_val == [b"**Adam**, 5 epochs"]
print({kind: found.Tags()[kind] for kind in ("images", "audio", "histograms")})

# %% [markdown]
# Here is the counterpart of each method of a PyTorch writer, and of each method of the logger
# classes that people write around it:
#
# | PyTorch | a logger class | jaxdl.tensorboard |
# |---|---|---|
# | `SummaryWriter(log_dir)` | `Logger()` | `open_writer(workdir)` |
# | `add_scalar(s)` | `log_scalar` | `write_scalars` |
# | `add_histogram` | `log_histogram` | `write_histogram` |
# | `add_image`, `add_images` | `log_image` | `write_image`, `write_image_grid` |
# | `add_figure` | `log_figure` | `write_figure` |
# | `add_video(fps=4)`, `add_audio(44100)` | | `write_video`, `write_audio` |
# | `add_text` | | `write_text`, `write_table` |
# | `add_graph` | `log_graph` | `write_graph` |
# | `add_embedding` | `log_embedding` | `write_embedding` |
# | `add_hparams` | `log_hparams` | `write_hparams` |
# | `add_pr_curve`, `add_custom_scalars` | | `write_pr_curve`, `write_layout` |
# | `flush`, `close` | `close` | `writer.flush()`, the end of `with` |
#
# A logger class usually makes a folder of its own, `runs/experiment_TIME_COMMENT`;
# `config.new_run_dir("comment")` does that. Of the images that people log, the library makes
# generated ones and grids; it has no diffusion model, so the frames above only fade noise to gray,
# and the attention map belongs to random words. For Weights & Biases, MLflow or Vertex AI there is
# no adapter: call their function for logging in a hook of `train.run`, which gets the row of each
# epoch.
#
# ## A network to watch
#
# The network has two convolutions with pooling and two dense layers. A **summary** tells the shape
# of each output and the parameters of each layer, without computing anything. *Images have 28 × 28
# pixels. How large are the maps of the first 3 × 3 convolution without padding?*

# %%
from jaxdl import train, transforms, tree

model = models.ConvNet(dropout_rate=0.3)
one = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
summary = nn.shapes(model, one)
print(summary)
shapes = jax.eval_shape(model.init, random.key(0), one)
assert tree.count(shapes) == 30_762
assert all(shape in summary for shape in ("26", "11", "25,632"))

# %% [markdown]
# The maps are 26 × 26, after pooling 13 × 13; then 11 × 11 and 5 × 5. `feat1`, `feat2` and `feat3`
# are not layers: the model **sows** these arrays, and `nn.features` returns them beside the
# output. A well-known network of this kind stores them on itself in `forward` (`self.feat1 = x`).
# That breaks as soon as several calls run in parallel, because all write to the same place, and
# under `jit` it stores a tracer and no numbers. A value that is returned cannot be overwritten.
#
# ```python
# # PyTorch
# net = torch.nn.Sequential(
#     torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
#     torch.nn.Conv2d(16, 32, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
#     torch.nn.Flatten(), torch.nn.Linear(800, 32), torch.nn.ReLU(),
#     torch.nn.Dropout(0.3), torch.nn.Linear(32, 10),
# )
# assert sum(p.numel() for p in net.parameters()) == 30_762
# maps = []
# net[0].register_forward_hook(lambda module, inputs, output: maps.append(output))
# net(torch.zeros(1, 1, 28, 28))
# assert maps[0].shape == (1, 16, 26, 26)
# ```

# %%
found = jax.eval_shape(lambda v, x: nn.features(model, v, x), shapes, one)
print({name: leaf.shape for name, leaf in found.items() if name.startswith("feat")})
assert found["feat1"].shape == (1, 26, 26, 16)
assert found["feat2"].shape == (1, 11, 11, 32)
assert found["feat3"].shape == (1, 32)

# %% [markdown]
# ## Grids
#
# Maps, filters and inputs are shown as grids: 8 maps in 2 columns, scaled together; 16 filters in
# rows of 8, each scaled separately; 8 inputs in a row. Each image has a border of 2 pixels. *The
# grid of the first maps has 4 rows and 2 columns of 26 pixels. How large is it?*

# %%
sizes = [
    grids.feature_grid(np.zeros((26, 26, 16))).shape,
    grids.feature_grid(np.zeros((11, 11, 32))).shape,
    grids.input_grid(np.zeros((64, 28, 28, 1))).shape,
    grids.filter_grid(np.zeros((3, 3, 1, 16))).shape,
]
print(sizes)
assert sizes == [(114, 58, 3), (54, 28, 3), (32, 242, 3), (12, 42, 3)]

# %% [markdown]
# 4 · (26 + 2) + 2 = 114 rows, 2 · (26 + 2) + 2 = 58 columns. A well-known script makes a labeled
# grid for 8 images with the side $\sqrt 8$, cut to 2: four places, and in an older version image 5
# is an error. Rows are the number of images over the columns, rounded **up**.

# %%
dataset = data.load("digits" if data_dir is None else "mnist", data_dir)
if data_dir is None:  # 8 × 8 pixels become 28 × 28

    def enlarge(split):
        images = split["image"].repeat(4, axis=1).repeat(4, axis=2)
        return split | {"image": images[:, 2:-2, 2:-2]}

    dataset = dataset._replace(train=enlarge(dataset.train), test=enlarge(dataset.test))
if small:
    few = [{name: array[:256] for name, array in split.items()} for split in dataset[1:3]]
    dataset = dataset._replace(train=few[0], test=few[1])
images, labels = dataset.train["image"], dataset.train["label"]
labeled = plots.image_grid(images[:8], titles=[str(label) for label in labels[:8]], num_columns=3)
labeled.set_size_inches(3.6, 3.8)
labeled.set_dpi(80)
display(labeled)
assert int(np.sqrt(8)) ** 2 < 8 == len(labeled.axes)

# %% [markdown]
# Eight images in three rows, the last one shorter, each with its class above.
#
# ## A training that is watched
#
# `train_mnist(hparams, workdir)` trains the network and returns the test accuracy. Watching takes
# one more argument of `train.run`: a `train.Watch`, with one field for each thing that can be
# logged. (A published version of this function takes an optimizer and a momentum among its
# settings, logs them, and then trains with Adam whatever they say. It logs the settings twice,
# once with a metric that means nothing; and its function has the parameter `hparams_dict` and
# reads `hparam_dict`, a `NameError` after the last epoch. Here the settings are written once, when
# the run starts, and the table reads the metrics from the curves.)

# %%
DEFAULTS = {
    "batch_size": 64, "learning_rate": 1e-3, "dropout_rate": 0.3, "num_epochs": 10,
    "optimizer": "adam", "momentum": 0.0, "weight_decay": 1e-5, "step_size": 5, "gamma": 0.5,
}  # fmt: skip


def make_optimizer(hparams, steps_per_epoch):
    decay = optim.step_decay(hparams["learning_rate"], hparams["step_size"], hparams["gamma"])
    rate = optim.per_epoch(decay, steps_per_epoch)
    options = {"momentum": hparams["momentum"]} if hparams["momentum"] else {}
    optimizer = getattr(optim, hparams["optimizer"])
    return optim.recipe(optimizer, rate, weight_decay=hparams["weight_decay"], **options)


# sgd with momentum .5 and gradients of 1: updates of 1 and 1.5 times the rate
chosen = DEFAULTS | {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.0}
tx, params = make_optimizer(chosen, 10), {"w": jnp.ones(1)}
opt_state, moves = tx.init(params), []
for _ in range(2):
    updates, opt_state = tx.update({"w": jnp.ones(1)}, opt_state, params)
    moves.append(float(updates["w"][0]))
print(moves)
np.testing.assert_allclose(moves, [-1e-3, -1.5e-3], rtol=1e-5)

# %%
watch = train.Watch.all(
    every=2 if small else 50 if data_dir else 10, activations=("feat1", "feat2", "feat3"),
    feature_maps=("feat1", "feat2"), filters=("Conv_0",), embeddings="feat3",
    num_embeddings=64 if small else 1024, class_names=dataset.class_names,
    hparams_metrics=("test/accuracy", "test/loss"), update_ratios=not small,
)  # fmt: skip


def train_mnist(hparams, workdir):
    hparams = DEFAULTS | hparams
    loader = data.Loader(
        data.ArraySource(dataset.train), batch_size=hparams["batch_size"], shuffle=True,
        drop_last=True, key=random.key(1), resident=True,
    )  # fmt: skip
    network = models.ConvNet(dropout_rate=hparams["dropout_rate"])
    loss_fn = train.supervised(
        network, losses.cross_entropy, metrics={"accuracy": metrics.accuracy},
        preprocess=transforms.normalize(*data.mean_and_std(images)),
    )  # fmt: skip
    tx = make_optimizer(hparams, len(loader))
    start = train.init_state(loss_fn, tx, random.key(0), dataset.train)
    options = {"eval_fn": train.make_eval(loss_fn), "eval_data": dataset.test, "progress": False}
    state, history = train.run(
        train.make_step(loss_fn, tx), start, loader, num_epochs=hparams["num_epochs"],
        workdir=workdir, watch=dataclasses.replace(watch, hparams=hparams), **options,
    )  # fmt: skip
    return history[-1]["test/accuracy"], state, history, len(loader)


# %%
accuracy, state, history, num_batches = train_mnist({"num_epochs": 2 if small else 6}, "runs/mnist")
num_epochs = len(history)
print(f"{num_epochs} epochs of {num_batches} batches, test accuracy {accuracy:.3f}")
if data_dir and not small:
    assert accuracy > 0.985

# %% [markdown]
# ## When is something logged?
#
# Statistics are computed before the batches 0, 50, 100, … of each epoch; inputs and filters are
# drawn at the first batch of an epoch; embeddings and test metrics at its end; settings at the
# start, and the status at the end of the run. *Which steps will the file hold for the gradient
# norms, if an epoch has 937 batches?*

# %%
found = read("runs/mnist")
within = range(0, num_batches, watch.every)
starts = [epoch * num_batches for epoch in range(num_epochs)]
ends = [start + num_batches for start in starts]
expected = [start + batch for start in starts for batch in within]


def steps_of(events):
    return [event.step for event in events]


assert steps_of(found.Scalars("gradient_norm/global")) == expected
assert steps_of(found.Scalars("step/loss")) == expected
assert steps_of(found.Histograms("parameters/Conv_0/kernel")) == expected
assert steps_of(found.Images("feature_maps/feat1")) == expected
assert steps_of(found.Images("inputs")) == steps_of(found.Images("filters/Conv_0")) == starts
assert steps_of(found.Scalars("test/accuracy")) == ends
vectors = sorted(path.name for path in Path("runs/mnist/projector/feat3").iterdir())
assert [int(name) for name in vectors] == ends
print(expected[:3], "…", expected[-2:])

# %% [markdown]
# 0, 50, …, 900, then 937, 987, …: the count starts again with each epoch. The network has eight
# arrays of parameters, so each point holds eight histograms of parameters, eight of gradients and
# three of layers, eight gradient norms and the norm of all.

# %%
names = tree.named_leaves(state.params)
histograms, scalars = found.Tags()["histograms"], found.Tags()["scalars"]
assert {f"parameters/{name}" for name in names} <= set(histograms)
assert {f"gradients/{name}" for name in names} <= set(histograms)
assert {f"gradient_norm/{name}" for name in names} <= set(scalars)
print(len(names), "arrays,", len(histograms), "histograms,", len(scalars), "curves")
assert len(histograms) == 8 + 8 + 3
squares = [found.Scalars(f"gradient_norm/{name}")[0].value ** 2 for name in names]
whole = found.Scalars("gradient_norm/global")[0].value
np.testing.assert_allclose(np.sqrt(sum(squares)), whole, rtol=1e-4)

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for tag in ("step/loss", "test/loss"):
    axes[0].plot(*zip(*((e.step, e.value) for e in found.Scalars(tag)), strict=True), label=tag)
axes[0].set(xlabel="step", ylabel="loss (nats)", yscale="log")
for tag in ("Conv_0/kernel", "Dense_1/kernel"):
    events = found.Scalars(f"gradient_norm/{tag}")
    axes[1].plot(steps_of(events), [e.value for e in events], label=tag)
axes[1].set(xlabel="step", ylabel="norm of the gradient", yscale="log")
rates = found.Scalars("step/learning_rate")
axes[2].plot(steps_of(rates), [e.value for e in rates], drawstyle="steps-post", label="rate")
axes[2].set(xlabel="step", ylabel="learning rate", ylim=(0, None))
for axis in axes:
    axis.legend()
plt.show()

# %% [markdown]
# Left: the loss of single batches jumps, the test loss is a mean and smooth. Middle: the gradients
# of the last layer are some five times those of the first, and both keep their size through the
# whole training; none vanishes. Right: the rate is halved after five epochs.
#
# A histogram over time is a **distribution**: for each point the range that the values span.


# %%
def spans(tag):
    events = [e.histogram_value for e in found.Histograms(tag)]
    mean = np.array([h.sum / h.num for h in events])
    deviation = np.sqrt([h.sum_squares / h.num for h in events] - mean**2)
    return mean, deviation, [h.min for h in events], [h.max for h in events]


fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for axis, tag in zip(axes, ("parameters/Conv_1/kernel", "activations/feat3"), strict=True):
    mean, deviation, low, high = spans(tag)
    axis.fill_between(expected, low, high, alpha=0.2, label="all")
    axis.fill_between(expected, mean - deviation, mean + deviation, alpha=0.5, label="mean ± std")
    axis.set(xlabel="step", ylabel="value", title=tag)
axes[0].legend()
plt.show()
kernel = np.asarray(state.params["Conv_1"]["kernel"])
assert found.Histograms("parameters/Conv_1/kernel")[0].histogram_value.num == kernel.size
if not small:
    assert spans("parameters/Conv_1/kernel")[1][-1] > spans("parameters/Conv_1/kernel")[1][0]

# %% [markdown]
# The weights of the second convolution start in a narrow band and spread; the 32 features grow
# within the first hundred steps and then stay where they are. Weights that explode, or features
# that are all zero, would be seen here long before the loss shows them.
#
# ## Pictures from the file
#
# *Which of these grids belongs to the first convolution, and why are some maps of the second
# nearly black?*


# %%
def show(tag, width):
    """The newest picture of a tag as the file holds it, a PNG, scaled to a width in pixels."""
    picture = found.Images(tag)[-1]
    image = Image.open(io.BytesIO(picture.encoded_image_string)).convert("RGB")
    how = Image.Resampling.NEAREST if width > image.width else Image.Resampling.BOX
    image = image.resize((width, round(width / image.width * image.height)), how)
    display(image.quantize(64))
    return picture.height, picture.width


assert show("inputs", 480) == (32, 242)
assert show("feature_maps/feat1", 120) == (114, 58)
assert show("feature_maps/feat2", 120) == (54, 28)
assert show("filters/Conv_0", 360) == (12, 42)

# %% [markdown]
# From above: eight inputs; maps of 26 × 26 in which you still see the digit, as edges; maps of 11
# × 11 in which you see hardly more than where something is; and the sixteen filters of 3 × 3 that
# make the first maps. A map that is black for this image belongs to a filter that does not fit it;
# one that is black for all images is dead.
#
# ## What the last layer sees
#
# The 32 features of test images go to the **projector**, with their classes and their images, as
# files of numbers and a sprite. (A well-known script asks for 1,000 vectors and always writes
# 1,024: it takes whole batches of 32, 64 or 128. An older version computes two coordinates by
# t-SNE and then logs the 32 numbers under their name; and the argument `n_iter` that it gives to
# scikit-learn's t-SNE is now called `max_iter`.) *How many rows and columns will the file have?*

# %%
assert {-(-1000 // size) * size for size in (32, 64, 128)} == {1024}
newest = Path("runs/mnist/projector/feat3") / vectors[-1]
embedded = np.loadtxt(newest / "tensors.tsv", delimiter="\t", dtype=np.float32)
classes = (newest / "metadata.tsv").read_text().splitlines()
print(embedded.shape, classes[:5])
assert embedded.shape == (min(watch.num_embeddings, len(dataset.test["label"])), 32)
assert classes == [str(label) for label in dataset.test["label"][: len(embedded)]]

# %% [markdown]
# One row per image, 32 columns. The browser turns them into a cloud by PCA, t-SNE or UMAP. The run
# also draws PCA and t-SNE (perplexity 30, seed 42, 300 iterations) itself when it ends; UMAP it
# has not.
#
# ```python
# # PyTorch
# x = torch.randn(100, 5) @ torch.diag(torch.tensor([5.0, 3.0, 1.0, 1.0, 1.0]))
# _, spread, directions = torch.pca_lowrank(x, q=2)
# centered = x - x.mean(0)
# variance = (centered @ directions).var(0)
# assert torch.allclose(variance, spread**2 / 99, rtol=1e-3)
# ```

# %%
plane = projections.pca(embedded)
centered = embedded - embedded.mean(axis=0)
spread = np.linalg.svd(centered, compute_uv=False)
np.testing.assert_allclose(plane.std(axis=0), spread[:2] / np.sqrt(len(plane)), rtol=1e-3)
print(f"two of 32 directions hold {(spread[:2] ** 2).sum() / (spread**2).sum():.0%}")
fig, axis = plt.subplots(figsize=(4, 3.4), layout="constrained")
dots = axis.scatter(*plane.T, c=[int(name) for name in classes], cmap="tab10", s=4)
axis.set(xlabel="first component", ylabel="second component")
fig.colorbar(dots, label="class", ticks=range(10))
plt.show()
assert show("embeddings/tsne", 360)

# %% [markdown]
# PCA keeps distances and mixes the classes in the middle; t-SNE keeps neighbors and shows ten
# islands. The distance *between* islands means nothing in t-SNE, and a point in the wrong island
# is worth a look.
#
# ## What it gets wrong

# %%
assert show("confusion_matrix", 380)
assert show("worst_classified", 640)

# %% [markdown]
# The confusion matrix has the true class in its rows: what is off the diagonal was mistaken. Below
# are the test images with the highest loss. For some of them a person would hesitate, too.
#
# ## The graph, the settings, the score of generated images
#
# The graph is made from the jaxpr, one node per operation in the scope of its layer. The settings
# of several runs become a table, whose rows are the run folders.

# %%
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.plugins.hparams import metadata

scopes = {node.name.split("/")[0] for node in found.Graph().node if "/" in node.name}
print(sorted(scopes))
assert scopes >= {"Conv_0", "Conv_1", "Dense_0", "Dense_1"}
start_of = "_hparams_/session_start_info"
loaders = [LegacyEventFileLoader(str(path)) for path in Path("runs/mnist").glob("events.*")]
events = [event for loader in loaders for event in loader.Load()]
all_tags = [value.tag for event in events for value in event.summary.value]
assert all_tags.count(start_of) == all_tags.count("_hparams_/session_end_info") == 1
content = found.SummaryMetadata(start_of).plugin_data.content
written = metadata.parse_session_start_info_plugin_data(content).hparams
print({name: written[name].number_value for name in ("batch_size", "learning_rate")})
assert set(written) == set(DEFAULTS)
assert written["optimizer"].string_value == "adam"
assert written["weight_decay"].number_value == 1e-5

# %% [markdown]
# A model that generates images has other settings (`num_heads`, `cfg_scale`, `sampling_steps`,
# `prompt_length`) and other metrics. They are names like all others. Two metrics deserve a word:
#
# - **FID** compares features of real and generated images: the distance between two normal
#   distributions. Here the features are those of our network, and the two sets are two halves of
#   the test images, so the distance is what chance alone gives.
# - **QICE** asks whether a model that predicts a distribution is as sure as it should be: sort its
#   samples into ten intervals of equal share; a tenth of the true values should lie in each. QICE
#   is the mean deviation from that tenth. *Which of two models is better: one with the right
#   spread, or one with half of it?*


# %%
def qice(samples, targets, num_intervals=10):
    """Mean deviation of the shares from a tenth: samples (S, N), targets (N,)."""
    edges = np.quantile(samples, np.linspace(0, 1, num_intervals + 1)[1:-1], axis=0)
    places = (targets > edges).sum(axis=0)
    shares = np.bincount(places, minlength=num_intervals) / len(targets)
    return float(np.abs(shares - 1 / num_intervals).mean())


targets, draws = rng.normal(size=1000), rng.normal(size=(200, 1000))
calibrated, too_sure = qice(draws, targets), qice(draws / 2, targets)
halves = [generative.scores.gaussian(half) for half in (embedded[::2], embedded[1::2])]
fid = generative.scores.frechet_distance(*halves)
print(f"FID {fid:.2f}; QICE {calibrated:.3f} and, with half of the spread, {too_sure:.3f}")
assert calibrated < 0.02 < too_sure
assert fid > 0
np.testing.assert_allclose(generative.scores.frechet_distance(halves[0], halves[0]), 0, atol=1e-3)

# %%
settings = {
    "learning_rate": 1e-3, "batch_size": 64, "num_heads": 8, "cfg_scale": 7.5,
    "sampling_steps": 50, "prompt_length": 77,
}  # fmt: skip
shown = ("Accuracy/test", "Loss/test", "Quality/fid_score", "Metrics/qice")
with tensorboard.open_writer("runs/scores") as writer:
    tensorboard.write_hparams(writer, settings, metrics=shown)
    scores = (accuracy, history[-1]["test/loss"], fid, calibrated)
    tensorboard.write_scalars(writer, dict(zip(shown, scores, strict=True)), 0)
found = read("runs/scores")
content = found.SummaryMetadata(start_of).plugin_data.content
written = metadata.parse_session_start_info_plugin_data(content).hparams
assert {name: value.number_value for name, value in written.items()} == settings
assert set(shown) <= set(found.Tags()["scalars"])

# %% [markdown]
# The model with the right spread has the smaller QICE. The settings are only an example of names;
# no model of this notebook has a `cfg_scale`. PyTorch's `add_hparams` wants the values of the
# metrics at once and writes into a folder of its own:
#
# ```python
# # PyTorch
# from pathlib import Path
#
# folder = tempfile.mkdtemp()
# with SummaryWriter(folder) as writer:
#     writer.add_hparams({"lr": 1e-3}, {"accuracy": 0.9}, run_name="second")
# assert (Path(folder) / "second").is_dir()
# ```
#
# If you know callbacks of Keras, these are the counterparts of TensorBoard's arguments:
#
# | Keras | here |
# |---|---|
# | `histogram_freq` | `Watch(every=…, parameters=True, gradients=True)`: batches, not epochs |
# | `write_graph`, `write_images` | `graph=True`, `filters=True` |
# | `update_freq` | `every` |
# | `profile_batch=(5, 8)` | `profile=(5, 9)`: the end is not included |
# | `embeddings_freq`, `embeddings_metadata` | `embeddings="feat3"`; each epoch, with classes |
#
# ## Pictures beside TensorBoard
#
# A picture that changes while a loop runs needs a **display handle**: the cell shows one picture
# and replaces it. Every twenty steps, the line that gradient descent has found so far:

# %%
points = data.synthetic.line(random.key(0), 20)
x, y = np.asarray(points["input"]), np.asarray(points["target"])
w, b, snapshots = 0.0, 0.0, []
fig, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.scatter(x, y, s=12)
axis.set(xlabel="x", ylabel="y", ylim=(0, 30))
plt.close(fig)  # else it is shown a second time
handle = display(fig, display_id=True)
with tensorboard.open_writer("runs/line") as writer:
    for step in range(101):
        if step % 20 == 0:
            axis.plot(x, w * x + b, color="tab:red", alpha=0.2 + 0.8 * step / 100)
            axis.set_title(f"step {step}: y = {w:.2f} x + {b:.2f}")
            handle.update(fig)
            tensorboard.write_figure(writer, "line", fig, step, dpi=60)
            snapshots.append(float(np.mean((w * x + b - y) ** 2)))
        error = w * x + b - y
        w, b = w - 0.001 * np.mean(error * x), b - 0.001 * np.mean(error)
assert steps_of(read("runs/line").Images("line")) == [0, 20, 40, 60, 80, 100]
assert snapshots == sorted(snapshots, reverse=True)

# %% [markdown]
# The darker the line, the later. In TensorBoard the same six pictures lie under a slider.
#
# ## Two players
#
# The losses of a GAN do not fall; they balance. The curve needs marks at .25, where squared errors
# balance, and at .5. The players are those of [17 · Can two networks teach each
# other?](17_first_gan.ipynb): the generator should learn the pattern 1, 0, 1, 0.

# %%
num_steps = 2_000 if small else 10_000
real = data.synthetic.pattern_1010(random.key(0), num_steps)["input"]
sizes = {"activation": jax.nn.sigmoid, "layer_norm": False}
players = train.Players(
    models.DenseGenerator((3,), (4,), 1, **sizes),
    models.DenseDiscriminator((3,), output_activation=jax.nn.sigmoid, **sizes),
    optim.sgd(0.01), optim.sgd(0.01), losses.adversarial.least_squares(),
    lambda key, shape: random.uniform(key, shape),
)  # fmt: skip
step_fn = train.make_gan_step(players, separate_updates=True)


def play(state, example):
    made = train.gan.generate(players, state, jnp.full((1, 1), 0.5))[0]
    state, found = step_fn(state, {"image": example[None]})
    return state, (found["discriminator_loss"].total, found["generator_loss"].total, made)


gan, (d_loss, g_loss, made) = jax.jit(lambda s, x: jax.lax.scan(play, s, x))(
    train.init_gan_state(players, random.key(1)), real
)
curves = {"discriminator": d_loss, "generator": g_loss}
with tensorboard.open_writer("runs/gan") as writer:
    for step in range(0, num_steps, 10):
        now = {f"Loss/{name}": curve[step] for name, curve in curves.items()}
        tensorboard.write_scalars(writer, now, step)
assert len(read("runs/gan").Scalars("Loss/generator")) == num_steps // 10

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
steps = np.arange(0, num_steps, 10)
for name, curve in curves.items():
    left.plot(steps, curve[::10], ".", markersize=2, label=name)
for mark in (0.25, 0.5):
    left.axhline(mark, color="black", linestyle="--", linewidth=0.8)
left.set(xlabel="step", ylabel="loss", ylim=(0, 1), yticks=(0, 0.25, 0.5, 1))
left.legend()
snapshots = made[:: num_steps // 10]
assert snapshots.shape == (10, 4)
picture = right.imshow(snapshots.T, vmin=0, vmax=1, cmap="Blues", aspect="auto")
right.set(xlabel=f"snapshot, every {num_steps // 10:,} steps", ylabel="output", yticks=range(4))
fig.colorbar(picture, label="value")
plt.show()
if not small:
    assert made[-1][::2].min() > 0.7 > 0.3 > made[-1][1::2].max()
    np.testing.assert_allclose(d_loss[-500:].mean(), 0.25, atol=0.05)

# %% [markdown]
# Left: both losses go to the mark .25. Right: ten snapshots; two rows become dark, two light. Made
# examples are best shown in a grid, each from other noise. Four numbers are an image of 2 × 2
# pixels; its left column should be white:

# %%
draw = jax.jit(lambda state, noise: train.gan.generate(players, state, noise))
six = draw(gan, rng.random((6, 1), np.float32))
fig, axes = plt.subplots(2, 3, figsize=(3.6, 2.4), layout="constrained")
for axis, image in zip(axes.flat, np.asarray(six).reshape(6, 2, 2), strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
plt.show()
assert six.shape == (6, 4)
if not small:
    assert six[:, 0].min() > six[:, 1].max()

# %% [markdown]
# All six are alike: a generator may ignore its noise, and here it has nothing else to tell.
#
# ## One image, ten answers
#
# For a single image the output is a distribution over classes. A bar chart shows more than the
# class: whether the second was near.

# %%
normalize = transforms.normalize(*data.mean_and_std(images))
image, label = dataset.test["image"][:1], int(dataset.test["label"][0])
logits = jax.jit(lambda params, image: model.apply({"params": params}, normalize(image)))
probabilities = jax.nn.softmax(logits(state.params, image))[0]
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained", width_ratios=(1, 2))
left.imshow(image[0, ..., 0], cmap="gray")
left.set_axis_off()
right.bar(dataset.class_names, probabilities)
right.set(xlabel="class", ylabel="probability", ylim=(0, 1))
plt.show()
np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
if not small:
    assert int(probabilities.argmax()) == label

# %% [markdown]
# One bar is near 1, all others near 0: the network is sure of this image.
#
# ## Exercises
#
# 1. Which parameter had the largest gradient in the first point of the run, and which at the last?
#    Read it from the file.
# 2. Log a curve of your own from a hook of `train.run`: the sum of the absolute weights after each
#    epoch. (A hook gets `end.writer`.)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 1
found = read("runs/mnist")
for point in (0, -1):
    norms = {name: found.Scalars(f"gradient_norm/{name}")[point].value for name in names}
    largest = max(norms, key=norms.get)
    print(largest, round(norms[largest], 3))
    assert norms[largest] <= found.Scalars("gradient_norm/global")[point].value * 1.0001


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# 2
def log_size(end):
    size = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(end.state.params))
    tensorboard.write_scalars(end.writer, {"train/sum_of_weights": size}, end.row["step"])


few = {name: array[:256] for name, array in dataset.train.items()}
loss_fn = train.supervised(models.MLP((10,)), losses.cross_entropy, preprocess=normalize)
tx = optim.sgd(0.05)
train.run(
    train.make_step(loss_fn, tx), train.init_state(loss_fn, tx, random.key(0), few), few,
    num_epochs=3, batch_size=64, key=1, workdir="runs/hook", hooks=[log_size], progress=False,
)  # fmt: skip
sizes = [event.value for event in read("runs/hook").Scalars("train/sum_of_weights")]
print(np.round(sizes, 1))
assert steps_of(read("runs/hook").Scalars("train/sum_of_weights")) == [4, 8, 12]

# %% [markdown]
# **Next**: [12 · Which settings are best?](12_sweeps.ipynb)
