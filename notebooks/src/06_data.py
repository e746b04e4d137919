# ---
# jupyter:
#   jaxdl:
#     covers: [D01, D02, D03, D04, D05, D06, D07, D08, D09, D10, D11, D12, D13, D14, D15, D16, D17,
#       D18, D19, D20, D21, D22, D23, D24, D25, D26, D27, D28, D29, D30, D31, D32, D33, D34, D35,
#       D36, D37, D38, D39, D40, D41, D42, D43, D44, D45, F05, Q04]
#     outputs: [62, 63, 64, 65, 66, 67, 68, 71]
#     mistakes: [20, 25, 32, 42, 49, 50, 57, 59, 62, 63, 64, 68, 73]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · How does data reach the network?
#
# PyTorch's `Dataset` and `DataLoader` are two good ideas: something with a length and an index,
# and something that makes batches of it. jaxdl keeps both, under the names *source* and *loader*,
# and changes three things. An example is a dictionary of arrays, not a tuple. The order of an
# epoch is a function of its number. And data that fits into memory needs no loader at all.
#
# *You need*: [02 · Randomness](02_randomness.ipynb). *Time*: an hour to read, half a minute to
# run. *What comes out*: arrays, streams, tables, folders of images, text and videos, all as
# batches; and a run over a file on disk that is stopped in the middle of an epoch and continues
# with the very next batch.

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
import contextlib
import gzip
import io
import os
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import random

from jaxdl import data, losses, models, optim, plots, text, train, transforms
from jaxdl.data import sources

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
data_dir = os.environ.get("JAXDL_DATA_DIR")  # a folder with fashion_mnist/ and mnist/
key = random.key(0)

# %% [markdown]
# Whatever the data, the steps are the same: **collect** it, **split** it, **read** it,
# **prepare** it (numbers of the right type and range), and hand it over in batches. This notebook
# goes through them from the simplest data to the largest.
#
# ## Arrays by name
#
# The smallest data set of the course: five points in the plane, two classes. As a data set it is a
# dictionary of two arrays, and `data.ArraySource` gives it a length and an index. (PyTorch:
# `TensorDataset`.)

# %%
training, test = data.synthetic.toy_points()
points = data.ArraySource(training)
print(points)
print(points[0], len(points))
assert len(points) == 5
assert points[0]["input"].tolist() == np.float32([-1.2, 3.1]).tolist()
assert training["label"].tolist() == [0, 0, 0, 1, 1]
assert test["label"].tolist() == [0, 1]

# %% [markdown]
# The article that these points come from has a second set, in which the point [2.6, −1.6] has
# label 0 for training and label 1 for testing. No network can learn that; look for such pairs
# before you train. `data.describe` counts equal examples; the cell below joins both parts and
# finds them. (The same article makes its data set without the arguments that the class wants,
# uses a name that was never defined, and trains five examples in batches of 32, which is one
# batch, not a mini-batch.)

# %%
second = {
    "input": np.float32([[-0.8, 2.8], [2.6, -1.6], [0.2, 1.1], [1.5, -2.3], [2.1, 0.5]]),
    "label": np.int32([0, 0, 0, 1, 1]),
}
second_test = {"input": np.float32([[-0.8, 2.8], [2.6, -1.6]]), "label": np.int32([0, 1])}
both = np.concatenate([second["input"], second_test["input"]])
labels = np.concatenate([second["label"], second_test["label"]])
print(data.describe({"input": both}).splitlines()[-1])
same = np.flatnonzero((both == both[1]).all(1))
print("point", both[1], "has the labels", labels[same])
assert labels[same].tolist() == [0, 1]

# %% [markdown]
# **Made-up data** for the first experiments of every course is in `data.synthetic`: a noisy line, a
# noisy sine, two Gaussian clouds, and the pattern 1010 for the first GAN. Each takes a key.

# %%
line = data.synthetic.line(key)  # 20 points, y = 2 x + 5 + noise
clouds = data.synthetic.two_gaussians(key)  # 100 points a class, centers 2.7 and -0.7
sine = data.synthetic.sine(key)  # 100 points, noise 0.05
real, noise = data.synthetic.pattern_1010(key, 3), data.synthetic.uniform_noise(key, 3)
print(real["input"].round(2), noise["input"].round(2), sep="\n")
assert jnp.all(real["input"][:, ::2] >= 0.8)
assert jnp.all(real["input"][:, 1::2] < 0.2)

figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained", dpi=90)
axes[0].scatter(line["input"], line["target"], s=12)
axes[0].set(title="line", xlabel="x", ylabel="y")
axes[1].scatter(*clouds["input"].T, c=clouds["label"], cmap="coolwarm", s=8)
axes[1].set(title="two_gaussians", xlabel="first feature", ylabel="second feature")
axes[2].plot(sine["input"], sine["clean"], color="black")
axes[2].scatter(sine["input"], sine["target"], s=8)
axes[2].set(title="sine", xlabel="x", ylabel="y")
assert clouds["input"].shape == (200, 2)

# %% [markdown]
# Left, the points scatter around a straight line, right around a sine, by their noise; in the
# middle, the clouds hardly overlap, so that a straight line separates about 99 of 100 points.
#
# **Labels start at 0** and stay below the number of outputs. PyTorch's loss raises an error that
# speaks of an assertion in a kernel; a JAX program can not raise at all, and clamps the index. So
# jaxdl's `run` looks at the labels when the loss is not finite, and says what it found:

# %%
counted_from_one = {"image": np.zeros((5, 2), np.float32), "label": np.array([1, 2, 3, 4, 5])}
loss_fn = train.supervised(models.MLP((5,)), losses.cross_entropy)
tx = optim.sgd(0.1)
state = train.init_state(loss_fn, tx, 0, counted_from_one)
try:
    step = train.make_step(loss_fn, tx)
    train.run(step, state, counted_from_one, num_epochs=1, batch_size=5, key=0, progress=False)
except ValueError as error:
    message = str(error)
    print(message)
assert "labels must lie in 0 to 4, got 5" in message

# %% [markdown]
# ## A source of your own
#
# If data does not come as arrays, write a class with a length and an index. Here is the Dirichlet
# set of the course: each example is a row of ten numbers that sum to one, and its label marks the
# largest. Examples are *computed* when they are asked for, each from its own number.
#
# ```python
# # PyTorch
# from torch.utils.data import DataLoader, Dataset
#
# class RandomData(Dataset):
#     def __init__(self, feature, length):
#         self.rows = torch.distributions.Dirichlet(torch.ones(feature)).sample((length,))
#
#     def __len__(self):
#         return len(self.rows)
#
#     def __getitem__(self, index):
#         row = self.rows[index]
#         return row, torch.nn.functional.one_hot(row.argmax(), len(row))
#
# loader = DataLoader(RandomData(10, 100), batch_size=4, shuffle=True, num_workers=0)
# features, labels = next(iter(loader))
# assert features.shape == labels.shape == (4, 10)
# ```


# %%
class RandomData(data.BaseSource):
    def __init__(self, num_features, length):
        self.num_features, self.length = num_features, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(index)  # ends "for example in source"
        row = np.random.default_rng(index).dirichlet(np.ones(self.num_features))
        one_hot = np.eye(self.num_features, dtype=np.int32)[row.argmax()]
        return {"input": row.astype(np.float32), "target": one_hot}


random_data = RandomData(10, 100)
batch = next(iter(data.Loader(random_data, batch_size=4, shuffle=True)))
print(random_data)
print({name: array.shape for name, array in batch.items()})
assert batch["input"].shape == batch["target"].shape == (4, 10)
np.testing.assert_allclose(batch["input"].sum(1), 1, rtol=1e-5)
assert np.array_equal(batch["input"].argmax(1), batch["target"].argmax(1))

# %% [markdown]
# **The end of a source.** Python's `for` asks for index 0, 1, 2, … until it meets an
# `IndexError`. A class that forgets to raise one loops forever, or, with `jnp` inside, returns
# the last example again and again, because JAX clamps. For the same reason a random index must be
# drawn below the length: there is no image 60,000 in a set of 60,000. All of jaxdl's sources
# check.

# %%
assert len(list(random_data)) == 100
try:
    points[5]
except IndexError as error:
    print(error)
    refused = True
assert refused
assert points[-1]["label"] == 1  # counts from the end

# %% [markdown]
# ## Batches
#
# Three words that notes mix up. The **batch size** is the number of examples in a batch; it is
# *not* the number of batches that the data is divided into. An **iteration** is one batch, one
# update. An **epoch** is one pass over all examples. *How many batches are in an epoch of 100
# examples with batches of 6, and how long is the last?*
#
# ```python
# # PyTorch
# hundred = DataLoader(list(range(100)), batch_size=6)
# assert len(hundred) == 17
# assert len(list(hundred)[-1]) == 4
# try:
#     DataLoader(list(range(10)), sampler=[1, 2], shuffle=True)
#     raise AssertionError
# except ValueError:
#     pass  # the sampler is the order
# ```


# %%
def sizes(loader):
    return [len(next(iter(batch.values()))) for batch in loader]


hundred = data.from_grain(range(100), names=["number"])  # anything with a length and an index
print(sizes(data.Loader(hundred, batch_size=6)))
assert sizes(data.Loader(hundred, batch_size=6)) == [6] * 16 + [4]
assert data.num_batches(100, 6) == 17

names = data.from_grain({0: "cat", 1: "dog", 2: "bird", 3: "fish"}, names=["name"])
print([batch["name"].tolist() for batch in data.Loader(names, batch_size=2)])
assert sizes(data.Loader(names, batch_size=2)) == [2, 2]

# %% [markdown]
# **`drop_last`** leaves out a short last batch. That is harmless for 60,000 examples, since another
# order drops others in the next epoch. It is not for few, and never in an evaluation:

# %%
print(sizes(data.Loader(hundred, batch_size=64, drop_last=True)), "and 36 examples are lost")
print(sizes(data.Loader(points, batch_size=2)))
assert sizes(data.Loader(hundred, batch_size=64, drop_last=True)) == [64]
assert sizes(data.Loader(points, batch_size=2)) == [2, 2, 1]
assert sizes(data.Loader(points, batch_size=2, drop_last=True)) == [2, 2]

sixty, ten = np.zeros(60_000, np.int8), np.zeros(10_000, np.int8)  # MNIST's sizes
counts = [len(data.Loader({"x": x}, batch_size=64, drop_last=True)) for x in (sixty, ten)]
print(counts, "batches; the test sees", counts[1] * 64, "of 10,000 images")
assert counts == [937, 156]
assert counts[1] * 64 == 9_984
assert data.num_batches(60_000, 32) == 1_875
assert data.num_batches(10_000, 32) == 313

# %% [markdown]
# One published training script does both: it drops the last 16 test images and then divides the
# number of right answers by 10,000. Its accuracy can not exceed .9984. The same script logs every
# 50 batches, from batch 0 on. *How many points is that in ten epochs, and what is the last step?*

# %%
logged = [epoch * 937 + batch for epoch in range(10) for batch in range(0, 937, 50)]
print(len(logged), "points in 10 epochs, the last at step", logged[-1])
assert (len(logged), logged[-1]) == (190, 9_333)
assert 10_000 % 32 == 16  # the last of the 313 batches

# %% [markdown]
# **A ragged batch is another shape**, and `jit` would compile the step again for it. The loader
# can fill the last batch up, with a mask that says what counts. `train.run` and `train.evaluate`
# always do that, so a result never depends on the batch size.

# %%
for batch in data.Loader({"x": np.arange(10)}, batch_size=4, pad_last=True):
    print(batch["x"], batch["mask"])
assert batch["x"].tolist() == [8, 9, 0, 1]
assert batch["mask"].tolist() == [1, 1, 0, 0]

# %% [markdown]
# ## Order: samplers
#
# Training shuffles: examples that stand together in a file are alike, and a network that sees all
# zeros first and all nines last learns the nines. (A demonstration that is widely copied forgets
# it.) Evaluation keeps the order. What gives the order is a **sampler**. It can be iterated as
# often as you like: it is an *iterable*. What `iter()` makes of it, and `next()` uses up, is an
# *iterator*; a list is the former, not the latter.

# %%
samplers = {
    "sequential": data.SequentialSampler(10),
    "random": data.RandomSampler(10, key=1),
    "with replacement": data.RandomSampler(10, replacement=True, key=1),
    "a random subset": data.SubsetRandomSampler([7, 3, 5], key=1),
    "weighted": data.WeightedRandomSampler([9, 1, 0], num_samples=10, key=1),
}
for name, sampler in samplers.items():
    print(f"{name:17} {list(sampler)}")
assert sorted(samplers["random"]) == list(range(10))
assert sorted(samplers["a random subset"]) == [3, 5, 7]
assert 2 not in list(samplers["weighted"])
assert list(samplers["random"]) == list(samplers["random"])  # an iterable: again the same
assert samplers["random"].order(1).tolist() != samplers["random"].order(0).tolist()

# %% [markdown]
# A **batch sampler** cuts an order into batches; the loader makes one by itself. So these are the
# stages of every loader, in PyTorch and here: sampler → lists of indices → examples by index →
# `collate` → batch. Arguments that contradict each other are refused:

# %%
batches = data.BatchSampler(data.SequentialSampler(100), 4)
print(len(batches), list(batches)[:2])
assert len(batches) == 25
contradictions = [
    {"sampler": [1, 2], "shuffle": True},
    {"batch_sampler": batches, "batch_size": 4},
    {"batch_sampler": batches, "drop_last": True, "shuffle": True},
    {"batch_size": 4, "num_workers": 2, "multiprocessing_context": "fork"},
]
for options in contradictions:
    try:
        data.Loader(hundred, **options)
    except ValueError as error:
        print("-", str(error).split(":")[0].split(". ")[0])
        options["refused"] = True
assert all(options["refused"] for options in contradictions)

# %% [markdown]
# **Many processes** share the order: each takes its part, and no two take the same example.
# `DistributedSampler` is PyTorch's. With a mesh of devices `Loader(shard="process")` cuts every
# batch instead, so that a run on eight machines sees the batches of a run on one (notebook 23).

# %%
parts = [list(data.DistributedSampler(10, num_replicas=2, rank=rank, key=3)) for rank in (0, 1)]
print(parts)
assert sorted(parts[0] + parts[1]) == list(range(10))

# %% [markdown]
# ## Streams
#
# Some data has no index: a log, a socket, a generator. `data.from_iterable` takes a function that
# begins anew in each epoch. A stream has its own order, so `shuffle` is refused, and no length,
# unless you give `epoch_size`. *Count from 1 to 99 in batches of 5: how many batches, how long
# the last?*
#
# ```python
# # PyTorch
# from torch.utils.data import IterableDataset
#
# class Counting(IterableDataset):
#     def __iter__(self):
#         return iter(range(1, 100))
#
# counted = list(DataLoader(Counting(), batch_size=5))
# assert len(counted) == 20 and len(counted[-1]) == 4
# ```

# %%
counting = data.from_iterable(lambda: range(1, 100), names=["number"])
stream = data.Loader(counting, batch_size=5)
lengths = sizes(stream)
print(len(lengths), "batches, the last of", lengths[-1])
assert lengths == [5] * 19 + [4]
try:
    len(stream)
except TypeError as error:
    print(error)
assert len(data.Loader(counting, batch_size=5, epoch_size=99)) == 20

# %% [markdown]
# ## Examples of different shapes
#
# The default collate stacks arrays, so they must have one shape. Boxes around objects are a
# typical case where they have not: two in this picture, one in that. Your own `collate_fn` takes
# the list of examples and returns the batch; `data.PadCollate` is one that pads and says what is
# padding.

# %%
scenes = [
    {"image": np.zeros((8, 8, 3), np.uint8), "boxes": np.float32([[0, 0, 2, 2], [1, 1, 5, 5]])},
    {"image": np.ones((8, 8, 3), np.uint8), "boxes": np.float32([[3, 3, 7, 7]])},
]
loader = data.Loader(
    data.from_grain(scenes), batch_size=2, collate_fn=data.PadCollate(["boxes"], boundaries=(4,))
)
batch = loader.first_batch()
print({name: array.shape for name, array in batch.items()}, batch["boxes_length"])
assert batch["boxes"].shape == (2, 4, 4)
assert batch["boxes_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
try:
    data.Loader(data.from_grain(scenes), batch_size=2).first_batch()
except ValueError as error:
    print(str(error)[:96])
    refused = "boxes" in str(error)
assert refused

# %% [markdown]
# For sequences, examples of similar length are put together first, so that little is padded.
# `boundaries` keeps the number of shapes small, because every shape is a compilation (notebook 04).

# %%
lengths = np.random.default_rng(0).integers(1, 33, 64)
waste = {}
for name, batches in {
    "as they come": data.BatchSampler(data.RandomSampler(64), 8),
    "by length": data.BucketBatchSampler(lengths, 8, boundaries=[8, 16, 24, 32]),
}.items():
    padded = sum(len(batch) * lengths[batch].max() for batch in batches.batches(0))
    waste[name] = 1 - lengths.sum() / padded
print({name: f"{share:.0%} padding" for name, share in waste.items()})
assert waste["by length"] < waste["as they come"] / 2

# %% [markdown]
# ## Splitting
#
# Three parts: the training set changes the weights, the validation set chooses among runs, the
# test set is looked at once. *MNIST has 60,000 training images. Split 80 to 20, how many batches
# of 64 and of 32?*
#
# ```python
# # PyTorch
# from torch.utils.data import random_split
# parts = random_split(range(60000), [0.8, 0.2], generator=torch.Generator().manual_seed(0))
# assert [len(part) for part in parts] == [48000, 12000]
# ```

# %%
images, held_out = data.random_split({"x": sixty}, [0.8, 0.2], 0)
print(len(images["x"]), len(held_out["x"]), len(data.Loader(images, batch_size=64, shuffle=True)))
assert (len(images["x"]), len(held_out["x"])) == (48_000, 12_000)
assert len(data.Loader(images, batch_size=64, shuffle=True)) == 750
assert len(data.Loader(held_out, batch_size=32)) == 375

rare = {"x": np.arange(100), "label": np.repeat([0, 1], [95, 5])}
plain = [int(part["label"].sum()) for part in data.random_split(rare, [0.8, 0.2], 4)]
even = [
    int(part["label"].sum()) for part in data.random_split(rare, [0.8, 0.2], 4, stratify="label")
]
print("of the 5 rare examples:", plain, "without, ", even, "with stratify")
assert even == [4, 1]
assert sum(plain) == 5

# %% [markdown]
# `stratify` keeps the share of each class, which chance alone does not. Fractions that do not sum
# to 1 are refused. `data.k_fold` gives the pairs of a cross-validation.

# %%
folds = data.k_fold(rare, 5, 0, stratify="label")
assert [int(validation["label"].sum()) for _, validation in folds] == [1] * 5
try:
    data.random_split(rare, [0.8, 0.1], 0)
except ValueError as error:
    print(error)
    refused = True
assert refused

# %% [markdown]
# ## Files
#
# `data.open` opens one split of a data set by name or path, in whatever format; `data.load` reads
# both splits of a set of images into memory. We make small files of each kind first, from
# scikit-learn's digits. (This notebook runs in an empty folder. Nothing of it stays on your
# disk.)

# %%
digits = data.load("digits")
few = {name: array[:200] for name, array in digits.train.items()}
folder = Path("files")

# MNIST as CSV: the label, then the pixels, row by row
folder.mkdir()
table = np.column_stack([few["label"], few["image"].reshape(200, -1)])
np.savetxt(folder / "digits.csv", table, fmt="%d", delimiter=",")

# Folders of images: SPLIT/CLASS/IMAGE
for number in range(40):
    place = folder / "pictures" / "train" / f"digit_{few['label'][number]}"
    place.mkdir(parents=True, exist_ok=True)
    transforms.to_pil(few["image"][number]).save(place / f"{number:03}.png")

# IDX, the format of MNIST's own files: a magic number, the sizes, the bytes
idx = folder / "idx"
idx.mkdir()
stored = {"train-images-idx3": few["image"][..., 0], "train-labels-idx1": few["label"]}
for name, array in stored.items():
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    with gzip.open(idx / f"{name}-ubyte.gz", "wb") as file:
        file.write(head + array.astype(np.uint8).tobytes())
np.savez(folder / "digits.npz", **few)

# %%
opened = {
    "csv": sources.csv_source(folder / "digits.csv", image_shape=(8, 8, 1)),
    "folders": data.open(folder / "pictures", mode="L"),
    "idx": sources.idx_source(idx),
    "npz": data.open(folder / "digits.npz"),
}
for name, source in opened.items():
    print(f"{name:8} {source}")
for name in ("csv", "idx", "npz"):
    assert np.array_equal(opened[name].arrays["image"], few["image"]), name
    assert np.array_equal(opened[name].arrays["label"], few["label"]), name
picture = opened["folders"][0]
assert picture["image"].shape == (8, 8, 1)
assert opened["folders"].class_names[int(picture["label"])].startswith("digit_")

# %% [markdown]
# MNIST's real CSV file has 785 columns and 60,000 rows and takes 359 MB as a pandas frame with
# 64-bit integers. Pixels are bytes, so as arrays here it takes 47 MB. The class of the GAN book
# turns each row into three things, the label, the pixels divided by 255 and a one-hot target.
# `map_source` does such things to single examples when they are read:

# %%
frame, arrays = 60_000 * 785 * 8, 60_000 * 784
print(f"{frame / 2**20:.0f} MiB as a frame, {arrays / 1e6:.0f} MB as bytes")


def as_in_the_book(example):
    target = np.zeros(10, np.float32)
    target[example["label"]] = 1
    return {**example, "image": example["image"] / np.float32(255), "target": target}


book = data.map_source(opened["csv"], as_in_the_book)
example = book[13]
print(example["label"], example["image"].max(), example["target"])
assert example["target"].sum() == example["target"][example["label"]] == 1
assert example["image"].dtype == np.float32

# %% [markdown]
# On a GPU you would not do this: bytes travel four times as fast as floats, and the division is
# free there (notebook 07). A **list** of "path label" lines, in a text file, is one more way to
# name images; `labels=` takes its path. And `data.concatenate`, `data.subset` combine sources.

# %%
paths = sorted((folder / "pictures").rglob("*.png"))[:6]
lines = [f"{path.relative_to(folder)} {int(path.parent.name[-1])}" for path in paths]
(folder / "list.txt").write_text("\n".join(lines) + "\n")
listed = sources.image_source(folder, labels=folder / "list.txt", mode="L")
assert len(listed) == 6
assert int(listed[0]["label"]) == int(paths[0].parent.name[-1])

figure = plots.samples(opened["folders"], random.key(1), num_examples=8)
figure.set_dpi(80)
figure

# %% [markdown]
# Eight random examples with their class names, drawn by the library. **Always look at some**
# before you train: a wrong axis, an inverted image or a shifted label is obvious to the eye and
# invisible to the loss.
#
# ## Images that do not fit into memory
#
# CelebA has 202,599 photographs of 218×178 pixels; unpacked they are 24 GB. The GAN book packs
# the first 20,000 into one HDF5 file and reads single images from it. `pack_hdf5` does that,
# continues where it was interrupted, and shows a bar. Here with twelve cut-outs of two
# photographs, in CelebA's size:

# %%
squares = data.synthetic.photographs(12, 178)
faces = np.pad(squares, ((0, 0), (20, 20), (0, 0), (0, 0)), mode="edge")
with contextlib.redirect_stderr(io.StringIO()):  # hides the bar, which shows times
    names = {"image": "img_align_celeba"}
    sources.pack_hdf5(faces, folder / "faces.h5", names=names, compression=9)
celeba = sources.HDF5Source(folder / "faces.h5", names={"img_align_celeba": "image"})
print(celeba)
assert celeba[0]["image"].shape == (218, 178, 3)
cropped = transforms.center_crop(celeba[0]["image"], 128)
assert np.array_equal(cropped, celeba[0]["image"][45:173, 25:153])
print(f"all of CelebA: {202_599 * 218 * 178 * 3 / 1e9:.0f} GB")

# %% [markdown]
# ## Readers in the background
#
# While the network computes, the next batches can be read. `num_workers` is the number of
# readers. In PyTorch they are **processes**, not threads as some notes say, and `pin_memory` puts
# batches in page-locked memory of the *host*, from which copies to the GPU are faster; it does
# not put them on the GPU. In jaxdl readers are threads by default, because decoding images and
# reading files runs in C, outside Python's lock; `multiprocessing_context="spawn"` makes
# processes. JAX stages its copies itself.
#
# Start with 0 for arrays, and with the number of cores for images. More readers than cores help
# only if they wait for a disk or a network. Whatever you choose, **the batches are the same**:

# %%
orders = []
for num_workers in (0, 1, 4):
    loader = data.Loader(
        opened["folders"], batch_size=8, shuffle=True, num_workers=num_workers, key=5
    )
    orders.append([batch["label"].tolist() for batch in loader.epoch(2)])
assert orders[0] == orders[1] == orders[2]
print(len(orders[0]), "equal batches with 0, 1 and 4 readers")

# %% [markdown]
# ## Mean and standard deviation
#
# Inputs are normalized with the numbers of the *training* set, one per channel. Three mistakes in
# published loops: averaging the wrong axes (NHWC: 0, 1, 2; NCHW: 0, 2, 3), averaging the standard
# deviations of batches (that is not the standard deviation of all), and averaging means of images
# of different sizes. *Which of these three numbers is right for a bright small and a dark large
# image?*

# %%
bright, dark = np.full((2, 2, 1), 250, np.uint8), np.full((6, 6, 1), 50, np.uint8)
mean_of_means = np.mean([bright.mean(), dark.mean()]) / 255
mean, std = data.mean_and_std([bright, dark])  # every pixel counts once
print(f"mean of means {mean_of_means:.3f}, mean {mean[0]:.3f}, std {std[0]:.3f}")
pixels = np.concatenate([bright.ravel(), dark.ravel()]) / 255
np.testing.assert_allclose([mean[0], std[0]], [pixels.mean(), pixels.std()])
assert mean_of_means > 1.5 * mean[0]

# %% [markdown]
# `mean_and_std` takes arrays, a source, or batches as they come, and needs one pass: it merges
# the sums of squares chunk by chunk. For Fashion-MNIST it gives the .2860 and .3530 that every
# tutorial uses (more exactly .28604 and .35302), for MNIST .1307 and .3081. With `JAXDL_DATA_DIR`
# set, the cell checks them on the real images.

# %%
if data_dir:
    for name, expected in (("fashion_mnist", (0.28604, 0.35302)), ("mnist", (0.13066, 0.30811))):
        whole = data.load(name, data_dir)
        moments = [float(one[0]) for one in data.mean_and_std(whole.train["image"])]
        np.testing.assert_allclose(moments, expected, atol=1e-5)
        assert (len(whole.train["label"]), len(whole.test["label"])) == (60_000, 10_000)
        assert len(data.Loader(whole.train, batch_size=32, shuffle=True)) == 1_875
mean, std = data.mean_and_std(digits.train["image"])
streamed = data.mean_and_std(data.Loader(digits.train, batch_size=100))
print(f"digits: mean {mean[0]:.4f}, std {std[0]:.4f}")
np.testing.assert_allclose(streamed, (mean, std), rtol=1e-9)

# %% [markdown]
# ## Text
#
# A table with a column of text and one of labels, the lines of a file, or one long text cut into
# windows, in which each token's target is the next one:

# %%
reviews = "sentence\tlabel\na fine film\t1\ndull\t0\nnot bad at all\t1\n"
(folder / "reviews.tsv").write_text(reviews)
(folder / "poem.txt").write_text("two roads\ndiverged\n\nin a wood\n")
table, lines = data.open(folder / "reviews.tsv"), sources.TextLines(folder / "poem.txt")
print(table[0], len(lines), lines[1])
assert table[0]["text"] == "a fine film"
assert len(lines) == 3  # the empty line is left out

tokens, vocabulary = sources.character_corpus(folder / "poem.txt")
windows = sources.Windows(tokens, block_size=8)
first = windows[0]
print(repr(text.decode(first["input"], vocabulary, join="")), "→", end=" ")
print(repr(text.decode(first["target"], vocabulary, join="")))
assert first["input"][1:].tolist() == first["target"][:-1].tolist()

# %% [markdown]
# ## Videos
#
# A video is a folder of frames. Networks look at K of them: cut it into K equal segments and take
# one frame of each, a random one in training and the middle one in evaluation. Published code
# computes the middle with `/` (a float is no index) and handles short videos only in part. *Which
# frames of ten with K = 3, and which of two with K = 5?*

# %%
from jaxdl.data.sources.video_files import segment_indices

print(segment_indices(10, 3), segment_indices(2, 5))
assert segment_indices(10, 3).tolist() == [1, 4, 7]
assert segment_indices(2, 5).tolist() == [0, 1, 0, 1, 0]
drawn = np.stack([segment_indices(10, 3, np.random.default_rng(i)) for i in range(200)])
assert drawn.min(0).tolist() == [0, 3, 6]
assert drawn.max(0).tolist() == [2, 5, 9]

place = folder / "videos" / "jump" / "first"
place.mkdir(parents=True)
for number in range(10):
    transforms.to_pil(np.full((6, 8, 3), 25 * number, np.uint8)).save(place / f"{number:02}.png")
videos = sources.VideoFrames(folder / "videos", num_segments=3)
print(videos[0]["video"].shape, videos[0]["video"][:, 0, 0, 0] // 25)
assert videos[0]["video"].shape == (3, 6, 8, 3)

# %% [markdown]
# The shape has the number of frames, the height and the width; the frames per second of the
# original are not in a folder of frames, so keep them beside it if you need times.
#
# ## Everything else
#
# `data.open("cifar10")`, `"emnist/letters"`, `"imdb_reviews"` and any other set that TensorFlow
# Datasets has prepared on your machine can be read without TensorFlow. `data.from_grain` wraps
# Grain's and Hugging Face's data sets. Some sizes, because notes get them wrong:
#
# | set | size |
# |---|---|
# | MNIST, Fashion-MNIST | 60,000 + 10,000 gray images, 28×28, 10 classes |
# | CIFAR-10, CIFAR-100 | 50,000 + 10,000 color images, 32×32 |
# | ImageNet (2012) | 1.28 million images in **1,000** classes, not 10,000 |
# | COCO captions | more than 120,000 images with five sentences each |
# | IMDB | 25,000 + 25,000 reviews, two classes |
# | WikiText-2, WikiText-103 | about 2 million and **103** million words; only the latter is large |
# | SST, TREC, SNLI, MultiNLI | sentences and pairs of sentences with labels |
# | Penn Treebank, Multi30k | a language model's classic; 30,000 translated captions |
#
# PyTorch has packages by domain (torchvision, torchaudio, torchtext); here the formats and the
# transforms are in one place, and the names of the sets are TFDS's.

# %%
try:
    data.open("fashion_mnits", data_dir=folder)
except FileNotFoundError as error:
    message = str(error).replace(str(folder.resolve()), "files")
    print(message[:200])
assert "fashion_mnits" in message

# %% [markdown]
# ## Stopped in the middle of an epoch
#
# Now train from files. `train.run` takes a loader in place of arrays. A small source it reads
# into memory once and keeps on the device; `resident=False` makes it stream, as it does with
# large ones. A run is stopped after 10 of 16 updates, in the middle of the second epoch, and
# continued. *Will it see the same batches as a run that was never stopped?*

# %%
training, validation = data.random_split(opened["npz"], [0.8, 0.2], 0, stratify="label")
loader = data.Loader(training, batch_size=20, shuffle=True, num_workers=2, key=3, resident=False)
loss_fn = train.supervised(
    models.MLP((32, 10)), losses.cross_entropy, preprocess=transforms.normalize(mean, std)
)
tx = optim.adam(1e-2)
step, start = train.make_step(loss_fn, tx), train.init_state(loss_fn, tx, 0, loader)
options = {"eval_fn": train.make_eval(loss_fn), "progress": False}
options["eval_data"] = data.Loader(validation, batch_size=20)

unbroken, _ = train.run(step, start, loader, num_steps=16, **options)
train.run(step, start, loader, num_steps=10, workdir="runs/files", **options)
continued, history = train.run(
    step, start, loader, num_steps=16, workdir="runs/files", resume=True, **options
)
equal = jax.tree.map(jnp.array_equal, unbroken.params, continued.params)
print(int(continued.step), "updates, equal weights:", all(jax.tree.leaves(equal)))
assert all(jax.tree.leaves(equal))

# %% [markdown]
# It does. The position in the data is the number of the step; from it follow the epoch, the
# order, and the batch. PyTorch's `DataLoader` has no position: after a crash, the epoch starts
# over, in another order, and some images count twice.
#
# ## Exercises
#
# 1. Write a source of the numbers from 0 to N − 1 and their squares, and check its last batch.
# 2. The training set `rare` has 95 examples of class 0 and 5 of class 1. Make batches in which both
#    classes are equally likely.
# 3. Split the digits 80 to 20, train on batches, and evaluate with batches of 7 and of 100. Do the
#    accuracies agree?
# 4. Find the label and the file of the third example of epoch 4 without reading anything else.


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1
class Squares(data.BaseSource):
    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if not 0 <= index < self.number:
            raise IndexError(index)
        return {"x": np.float32(index), "y": np.float32(index**2)}


*_, last = data.Loader(Squares(10), batch_size=4)
assert last["y"].tolist() == [64, 81]

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: weights inverse to the number of examples in the class
weights = 1 / np.bincount(rare["label"])[rare["label"]]
sampler = data.WeightedRandomSampler(weights, 1000, key=2)
balanced = data.Loader(rare, batch_size=50, sampler=sampler)
share = np.concatenate([batch["label"] for batch in balanced]).mean()
print(f"{share:.2f} of the examples are of class 1")
assert 0.4 < share < 0.6

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 3: to the last digit, because every example counts once
eval_fn = train.make_eval(loss_fn)
scores = [
    train.evaluate(eval_fn, continued, data.Loader(validation, batch_size=size))
    for size in (7, 100)
]
np.testing.assert_allclose(scores[0]["loss"], scores[1]["loss"], rtol=1e-5)

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 4: the order is a function of the epoch's number
shuffled = data.Loader(opened["folders"], batch_size=8, shuffle=True, key=5)
third = int(shuffled.indices(4)[0][2])
assert int(opened["folders"][third]["label"]) == int(next(shuffled.epoch(4))["label"][2])

# %% [markdown]
# **Next**: [07 · What may a picture look like?](07_augmentation.ipynb)
