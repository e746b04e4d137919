# ---
# jupyter:
#   jaxdl:
#     covers: [X01, X02, X03, X04, X05, X06, X07, X08, X09, X10, X11, X12, X13, J12, J14, Q08]
#     outputs: [69, 70, 80, 81, 82]
#     mistakes: [9, 13, 35]
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · What may a picture look like?
#
# A shirt that is moved by two pixels is a shirt. A network does not know that unless it is told,
# and the way to tell it is to move the shirts. This notebook prepares pictures for a network and
# changes them at random: with functions that run on the device, compiled together with the
# network, with one key for each image.
#
# *You need*: [02 · Randomness](02_randomness.ipynb), [04 · vmap](04_transformations.ipynb) and
# [06 · Data](06_data.ipynb). *Time*: 45 minutes to read, a minute to run. *What comes out*:
# digits that are shifted by one pixel, which a plain network reads in fewer than half of all
# cases, are read in more than 8 of 10 after training with random shifts.

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
from matplotlib_inline.backend_inline import set_matplotlib_formats

from jaxdl import data, losses, metrics, models, optim, plots, train, transforms

small = bool(os.environ.get("JAXDL_SMALL"))  # the settings of the tests; the text speaks of False
key = random.key(0)
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 80})  # smaller, for photographs
photos = data.synthetic.photographs(8, 64)  # cut out of scikit-learn's two photographs
print(photos.shape, photos.dtype)
assert photos.shape == (8, 64, 64, 3)

# %% [markdown]
# ## Bytes to numbers
#
# A picture comes as bytes, 0 to 255, (height, width, channel). Networks want numbers around zero.
# That takes two steps, in this order: divide by 255 (`to_float`; torchvision's `ToTensor`, which
# also moves the channels to the front), then subtract the mean and divide by the standard
# deviation of the training set (`normalize`). In jaxdl `normalize` does both. *What becomes of a
# black and of a white pixel of Fashion-MNIST, whose mean is .2860 and whose deviation is .3530?*
#
# ```python
# # PyTorch
# pixels = torch.tensor([0, 255], dtype=torch.uint8)
# normalized = (pixels.float() / 255 - 0.28604059) / 0.35302424
# assert torch.allclose(normalized, torch.tensor([-0.81026, 2.02241]), atol=1e-5)
# ```

# %%
normalize = transforms.normalize([0.28604059], [0.35302424])
back = transforms.denormalize([0.28604059], [0.35302424])
black_white = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
print(normalize(black_white).ravel())
np.testing.assert_allclose(normalize(black_white).ravel(), [-0.81026, 2.02241], rtol=1e-5)
np.testing.assert_allclose(back(normalize(black_white)).ravel(), [0, 1], atol=1e-6)
assert np.array_equal(transforms.to_uint8(transforms.to_float(photos)), photos)  # nothing is lost

# %% [markdown]
# **Which axes?** The mean is taken per channel, over everything else. Where the channels are last
# that is `mean((0, 1, 2))`; with PyTorch's layout it is `mean((0, 2, 3))`. A widely read text has
# the first for images in the second layout, and gets one mean per *column of pixels*. The shape
# gives it away:

# %%
nchw = photos.transpose(0, 3, 1, 2)
print("wrong:", nchw.mean((0, 1, 2)).shape, " right:", nchw.mean((0, 2, 3)).shape)
mean, std = data.mean_and_std(photos)
np.testing.assert_allclose(mean, nchw.mean((0, 2, 3)) / 255)
assert nchw.mean((0, 1, 2)).shape == (64,)

# %% [markdown]
# ## Three kinds of functions
#
# | kind | call | examples |
# |---|---|---|
# | of pictures | `f(image)` | `flip`, `crop`, `resize`, `rotate`, `adjust_brightness`, `invert` |
# | random, of **one** picture | `f(key, image)` | `random_flip()`, `random_crop(padding=2)` |
# | random, of a batch | `f(key, images)` | `mixup()`, `cutmix()` |
#
# Those of the first kind take one picture or many, (…, H, W, C). Cropping is slicing. torchvision's
# `Lambda(lambda x: crop(x, 5, 5, 18, 18))` gives (1, 18, 18); here the channel is last:

# %%
clothes = random.randint(key, (28, 28, 1), 0, 256).astype(jnp.uint8)
cut = transforms.crop(clothes, top=5, left=5, height=18, width=18)
print(cut.shape)
assert cut.shape == (18, 18, 1)
assert jnp.array_equal(cut, clothes[5:23, 5:23])

celeba = np.zeros((218, 178, 3), np.uint8)
celeba[45:173, 25:153] = 255  # rows 45 to 172, columns 25 to 152
assert transforms.center_crop(celeba, 128).min() == 255

# %% [markdown]
# Pillow's images are one call away in both directions, for files and for the eye:

# %%
picture = transforms.to_pil(photos[0])
print(picture.size, picture.mode)
assert np.array_equal(transforms.from_pil(picture), photos[0])

# %% [markdown]
# ## Every transform and its strength
#
# Strengths are ordinary arguments. They may even be traced, so one `vmap` over five strengths
# makes a row of this picture. *At which strengths would a person hesitate to name the picture?*

# %%
sweeps = {
    "rotate, degrees": (transforms.rotate, [-40, -20, 0, 20, 40]),
    "translate, pixels": (lambda x, s: transforms.translate(x, s, 0), [-20, -10, 0, 10, 20]),
    "shear, degrees": (lambda x, s: transforms.affine(x, shear=(s, 0)), [-30, -15, 0, 15, 30]),
    "scale": (lambda x, s: transforms.affine(x, scale=s), [0.5, 0.75, 1, 1.5, 2]),
    "brightness": (transforms.adjust_brightness, [0.2, 0.6, 1, 1.5, 2.5]),
    "contrast": (transforms.adjust_contrast, [0, 0.5, 1, 1.5, 2.5]),
    "saturation": (transforms.adjust_saturation, [0, 0.5, 1, 2, 4]),
    "hue": (transforms.adjust_hue, [-0.4, -0.1, 0, 0.1, 0.4]),
    "sharpness": (transforms.adjust_sharpness, [0, 0.5, 1, 4, 10]),
    "blur, σ in pixels": (lambda x, s: transforms.gaussian_blur(x, 13, s), [0.1, 0.5, 1, 2, 4]),
    "posterize, bits": (transforms.posterize, [8, 4, 3, 2, 1]),
    "solarize, threshold": (transforms.solarize, [255, 200, 150, 100, 0]),
}


def draw_grid(rows, *, width=0.8):
    """Rows of pictures, each with a title, under numbers or words."""
    number = len(next(iter(rows.values()))[0])
    size = (width * number + 1.6, width * 1.15 * len(rows))
    figure, axes = plt.subplots(len(rows), number, figsize=size, squeeze=False, dpi=70)
    for row, (title, (pictures, labels)) in zip(axes, rows.items(), strict=True):
        for axis, one, label in zip(row, np.asarray(pictures), labels, strict=True):
            axis.imshow(
                one.squeeze(), cmap="gray", vmin=0, vmax=255 if one.dtype == np.uint8 else 1
            )
            axis.set_title(label, fontsize=8, pad=2)
            axis.axis("off")
        row[0].text(-0.1, 0.5, title, transform=row[0].transAxes, ha="right", va="center")
    figure.subplots_adjust(0.2, 0.01, 0.99, 0.97, 0.05, 0.25)


# %%
rows = {}
for title, (function, strengths) in list(sweeps.items())[:: 4 if small else 1]:
    values = jnp.asarray(strengths, jnp.float32)
    rows[title] = jax.jit(jax.vmap(function, (None, 0)))(photos[0], values), strengths
    middle = rows[title][0][0 if title.startswith(("posterize", "blur")) else 2]
    if title not in {"solarize, threshold", "blur, σ in pixels"}:
        assert int(jnp.abs(middle.astype(int) - photos[0]).max()) <= 1, title
draw_grid(rows)

# %% [markdown]
# Each row is one transform, above each picture its strength. In most rows the middle picture is
# the original (strength 0 for movements, 1 for factors; the assertion checks it); in the last
# three it is the first, or nearly so. Movements keep the content and lose an edge; a `hue` of .4
# turns the red house blue; one bit of `posterize` and `solarize` at 0 leave little but outlines.
#
# ## One key per picture
#
# The second kind draws its own strength. `random_crop(padding=8)` is a *factory*: it returns the
# function `(key, image) → image`. For a batch, `vmap` it over keys and pictures. *What is wrong
# in the upper row?*

# %%
shift = transforms.random_crop(padding=12)
same = photos[:1].repeat(6, 0)
with_one_key = jax.jit(jax.vmap(shift, (None, 0)))(key, same)
with_own_keys = jax.jit(jax.vmap(shift))(random.split(key, 6), same)
draw_grid({"one key": (with_one_key, [""] * 6), "own keys": (with_own_keys, [""] * 6)})
assert jnp.all(with_one_key == with_one_key[0])
assert not jnp.all(with_own_keys == with_own_keys[0])
try:
    shift(key, same)
except ValueError as error:
    print(str(error)[:78])
    refused = True
assert refused

# %% [markdown]
# Above, all six pictures are shifted alike: the network would see one random number per batch.
# Below, each has its own. A batch in place of a picture is refused, with the line that you want.
#
# In PyTorch transforms run in the workers of the loader, on the CPU, picture by picture, and
# their randomness comes from a generator per process. Two famous bugs live there: workers that
# are seeded alike and draw the same numbers, and a picture and its mask that are shifted
# differently. With keys the second is one line: the same key for both.

# %%
photo, mask = photos[0], np.zeros((64, 64, 1), np.uint8)
mask[20:40, 20:40] = 255
turn = jax.jit(transforms.random_rotation(45))
turned, turned_mask = turn(key, photo), turn(key, mask)
again = turn(key, np.concatenate([photo, mask], -1))  # together: four channels
assert jnp.array_equal(jnp.concatenate([turned, turned_mask], -1), again)

# %% [markdown]
# ## Random ones
#
# `compose` chains them, each with its part of the key; `random_apply` flips a coin; `fixed` turns
# a function of pictures into a random one, so that it can stand in a chain. **`color_jitter()`
# without arguments does nothing**, in torchvision as here: the example of a well-known text
# changes no color at all. And `RandomInvert(p=0.5)` is a coin and `invert`.

# %%
jitter = transforms.color_jitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
augments = {
    "color_jitter()": transforms.color_jitter(),
    "color_jitter(…)": jitter,
    "random invert": transforms.random_apply(transforms.fixed(transforms.invert), 0.5),
    "random_flip": transforms.random_flip(),
    "random_crop": transforms.random_crop(padding=12),
    "resized_crop": transforms.random_resized_crop(64),
    "random_affine": transforms.random_affine(20, (0.1, 0.1), (0.8, 1.2), 10.0),
    "random_erase": transforms.random_erase(1.0),
    "random_blur": transforms.random_blur(9, (0.1, 3.0)),
    "a chain": transforms.compose(transforms.random_resized_crop(64), jitter),
}
rows = {
    name: (jax.jit(jax.vmap(augment))(random.split(key, 7), photos[:1].repeat(7, 0)), [""] * 7)
    for name, augment in list(augments.items())[: 3 if small else None]
}
draw_grid(rows)
assert np.array_equal(rows["color_jitter()"][0], photos[:1].repeat(7, 0))
assert not np.array_equal(rows["color_jitter(…)"][0], photos[:1].repeat(7, 0))

# %% [markdown]
# Seven draws of each. The first row is the mistake: seven times the same picture. In the second the
# colors differ; from the third on, what the name says.
#
# ## The chains of ImageNet
#
# Nearly every published network was trained on random parts of 224×224 pixels, which cover 8 to
# 100 percent of the area and are mirrored half of the time, and evaluated on the center of the
# picture at 256 pixels. Both chains end with the same three means and deviations:

# %%
wide = np.asarray(transforms.resize(photos[1], (300, 400)))
train_view = jax.jit(transforms.imagenet_train())(key, wide)
eval_view = jax.jit(transforms.imagenet_eval())(wide)
scale = transforms.normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@jax.jit
def by_hand(image):
    return scale(transforms.center_crop(transforms.resize(image, 256), 224))


print(train_view.shape, eval_view.shape, train_view.dtype)
resized = jax.eval_shape(lambda image: transforms.resize(image, 256), wide)  # computes nothing
assert resized.shape == (256, 341, 3)  # the shorter side becomes 256
assert train_view.shape == eval_view.shape == (224, 224, 3)
np.testing.assert_allclose(eval_view, by_hand(wide), atol=1e-5)

# %% [markdown]
# ## Policies
#
# Which transforms, and how strong? Two answers without any search: RandAugment applies two random
# ones of fourteen at a fixed magnitude, TrivialAugment one at a random magnitude.

# %%
repeated = photos[1:2].repeat(7, 0)
magnitudes = (1, 30) if small else (1, 9, 18, 30)
policies = {f"magnitude {m}": transforms.rand_augment(2, m) for m in magnitudes}
policies["TrivialAugment"] = transforms.trivial_augment()
rows = {
    name: (jax.jit(jax.vmap(policy))(random.split(random.key(1), 7), repeated), [""] * 7)
    for name, policy in policies.items()
}
draw_grid(rows)
change = [float(jnp.abs(views.astype(int) - repeated).mean()) for views, _ in rows.values()]
print([f"{value:.0f}" for value in change], "mean change of a value, of 255")
assert change[0] < change[-2]

# %% [markdown]
# From the top, stronger and stronger; the same keys draw the same kinds of change in each column.
# At 30, the end of the scale, some pictures have lost most of the flower. 9 is the usual choice.
#
# ## Mixing: mixup and cutmix
#
# These mix *two* pictures, and their labels. Mixup blends all pixels with a weight λ from
# Beta(α, α); cutmix pastes a rectangle, and λ is what is left of the area. The loss is mixed alike:
# $\lambda\,L(z, y) + (1 - \lambda)\,L(z, y')$.
#
# ```python
# # PyTorch
# torch.manual_seed(0)
# x, y, lam = torch.rand(4, 3), torch.tensor([0, 1, 2, 0]), 0.7
# partner = torch.randperm(4)
# mixed = lam * x + (1 - lam) * x[partner]
# loss = torch.nn.functional.cross_entropy
# two = lam * loss(mixed, y) + (1 - lam) * loss(mixed, y[partner])
# soft = lam * torch.eye(3)[y] + (1 - lam) * torch.eye(3)[y[partner]]
# assert torch.allclose(two, loss(mixed, soft))
# ```

# %%
floats = transforms.to_float(photos)
rows, weights = {}, {}
for name, mix in {"mixup": transforms.mixup(1.0), "cutmix": transforms.cutmix(1.0)}.items():
    mixed, partner, weight = mix(random.key(5), floats)
    rows[name] = mixed[:6], [f"with {p}" for p in partner[:6]]
    weights[name] = float(weight)
draw_grid({"original": (floats[:6], list(range(6))), **rows})
print({name: round(weight, 2) for name, weight in weights.items()})
mixed, partner, weight = transforms.mixup(1.0)(random.key(5), floats)
np.testing.assert_allclose(mixed, weight * floats + (1 - weight) * floats[partner], atol=1e-6)

# %% [markdown]
# Below the originals, numbered, are their blends and collages, with the number of the partner
# above. λ is printed under the picture; one λ serves a whole batch. The loss of mixed labels
# equals the cross entropy with soft labels:

# %%
logits, labels = random.normal(key, (8, 3)), jnp.arange(8) % 3
two = losses.with_mixed_labels(losses.cross_entropy, logits, labels, labels[partner], weight)
soft = weight * jnp.eye(3)[labels] + (1 - weight) * jnp.eye(3)[labels[partner]]
np.testing.assert_allclose(two, -(soft * jax.nn.log_softmax(logits)).sum(1), rtol=1e-5)

# %% [markdown]
# **Label smoothing** is the same thought for labels alone: the target of the true class is a
# little less than 1. There are two versions, and a third that is wrong. PyTorch spreads ε over
# *all* classes; many notes spread it over the *wrong* ones: 1 − ε = .9 on the true class and ε/(C
# − 1) on each of the others. A published class adds ε/(C − 1) on the true class as well; its rows
# sum to 1.0111, and it can not reach the right minimum. *Logits [2, 1, 0], true class 0, ε = .1:
# which loss is larger?*
#
# ```python
# # PyTorch
# logits, label = torch.tensor([[2.0, 1, 0]]), torch.tensor([0])
# smooth = torch.nn.functional.cross_entropy(logits, label, label_smoothing=0.1)
# assert abs(smooth.item() - 0.50761) < 1e-5
# ```

# %%
logits, label, eps = jnp.array([[2.0, 1, 0]]), jnp.array([0]), 0.1
plain = losses.cross_entropy(logits, label)[0]
over_all = losses.cross_entropy(logits, label, label_smoothing=eps)[0]
over_wrong = losses.cross_entropy(logits, label, label_smoothing=eps * 3 / 2)[0]  # ε·C/(C − 1)
faulty_loss = -(jnp.array([0.95, 0.05, 0.05]) @ jax.nn.log_softmax(logits[0]))
print(f"{plain:.5f} {over_all:.5f} {over_wrong:.5f}, and the faulty class {faulty_loss:.5f}")
np.testing.assert_allclose(faulty_loss, 0.57799, atol=1e-5)
np.testing.assert_allclose([plain, over_all, over_wrong], [0.40761, 0.50761, 0.55761], atol=1e-5)

row = np.full(10, eps / 9)
row[3] = 1 - eps
faulty = np.full(10, eps / 9)
faulty[3] += 1 - eps
print(f"sums: {row.sum():.4f}, and of the faulty class {faulty.sum():.4f}")
np.testing.assert_allclose([row.sum(), faulty.sum()], [1, 1.0111], atol=1e-4)
zeros = losses.cross_entropy(jnp.zeros((1, 10)), label, label_smoothing=eps)[0]
np.testing.assert_allclose(zeros, np.log(10), rtol=1e-6)  # 2.3026, whatever the smoothing

# %% [markdown]
# ## In training
#
# `train.supervised` takes an augmentation, a mix, and a preprocessing. The order is fixed:
# augment the bytes, normalize, mix. **Only training augments.** The evaluation calls the same
# loss function with `train=False` and sees the pictures as they are; nobody has to keep two
# pipelines apart.
#
# Now the promise of the beginning. 400 digits of 8×8 pixels, a small network, three trainings:
# plain, with random shifts of one pixel, with random mirroring. Two test sets: as they are, and
# all shifted by one pixel to the right. *Fill in a table of six accuracies before you look.*

# %%
digits = data.load("digits")
training = {name: array[:400] for name, array in digits.train.items()}
shifted = {**digits.test, "image": np.asarray(transforms.translate(digits.test["image"], 1.0, 0.0))}
options = {"num_epochs": 20 if small else 60, "batch_size": 50, "key": 1, "progress": False}


def train_with(augment):
    """The trained state, and three accuracies: training, test, shifted test."""
    loss_fn = train.supervised(
        models.MLP((64, 10)),
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=transforms.to_float,
        augment=augment,
    )
    tx, eval_fn = optim.adam(3e-3), train.make_eval(loss_fn)
    state = train.init_state(loss_fn, tx, 0, training)
    state, history = train.run(train.make_step(loss_fn, tx), state, training, **options)
    scores = [train.evaluate(eval_fn, state, test)["accuracy"] for test in (digits.test, shifted)]
    return state, [history[-1]["train/accuracy"], *scores]


choices = {
    "nothing": None,
    "shifts": transforms.random_crop(padding=1),
    "mirroring": transforms.random_flip(),
}
states, table = {}, {}
for name, augment in choices.items():
    states[name], table[name] = train_with(augment)

# %%
print(f"{'augmented by':14} training  test  shifted test")
for name, (training_score, plain_score, shifted_score) in table.items():
    print(f"{name:14} {training_score:8.2f} {plain_score:5.2f} {shifted_score:13.2f}")
assert table["shifts"][2] > table["nothing"][2] + 0.2
assert small or table["shifts"][2] > 0.8
assert small or table["nothing"][2] < 0.55
assert table["mirroring"][1] < table["nothing"][1]

# %%
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained", dpi=90)
places = np.arange(3)
for offset, column, label in ((-0.2, 1, "test"), (0.2, 2, "test, shifted by a pixel")):
    axis.bar(places + offset, [100 * row[column] for row in table.values()], 0.4, label=label)
axis.set(xlabel="augmentation in training", ylabel="accuracy, percent", ylim=(0, 125))
axis.set_xticks(places, table)
axis.legend(loc="upper right", ncols=2)
plt.show()

# %% [markdown]
# Without augmentation the network knows its training set by heart (1.00), reads the test well,
# and is lost when everything moves by one pixel. With shifts it reads both equally well, a little
# below the plain network on the unmoved ones: it has 64 hidden units and a harder task. (Real
# sets, whose pictures are not all centered, gain on both.) With mirroring it gets *worse* on the
# test: a mirrored 2 is no digit, and a mirrored 5 is nearly a 2.
#
# So which augmentations may one use? Those under which **a person would give the same label**. That
# depends on the task: mirroring is right for cats and wrong for digits; rotation by 180° turns a 6
# into a 9; a change of color is right for cars and wrong for ripe and unripe tomatoes.

# %%
six = digits.train["image"][np.flatnonzero(digits.train["label"] == 6)[:1]]
five = digits.train["image"][np.flatnonzero(digits.train["label"] == 5)[:1]]
views = jnp.concatenate([six, transforms.rotate(six, 180.0), five, transforms.flip(five)])
figure = plots.image_grid(np.asarray(views), titles=["6", "6 turned", "5", "5 mirrored"])
figure.set_dpi(60)
figure

# %% [markdown]
# The second picture is a 9, the fourth no digit at all, and yet their labels would say 6 and 5.
#
# ## Augmentation with a gradient
#
# In a GAN the discriminator sees real and generated pictures, and with few real ones it learns them
# by heart. Augmenting both helps, but then the generator must learn *through* the augmentation: it
# has to be differentiable. `differentiable_augment` is; everything is computed in floats, and the
# gradient reaches every pixel that is neither cut out nor shifted out. Bytes have no slope.

# %%
augment = transforms.differentiable_augment(color=False)  # a shift and a hole
slope = jax.jit(jax.grad(lambda image: augment(key, image).sum()))(floats[0])
share = float((slope != 0).mean())
print(f"{share:.0%} of the pixels get a gradient")
assert 0.4 < share < 1
rounding = jax.grad(lambda image: transforms.to_uint8(image).astype(jnp.float32).sum())(floats[0])
assert jnp.all(rounding == 0)

# %% [markdown]
# ## Exercises
#
# 1. Write a source of your own whose pictures are digits, and a chain with rotation, cropping and
#    change of brightness for it. Draw one batch.
# 2. Change rotation to at most 10° in the experiment above. Does it help on the shifted test?
# 3. At test time, average the probabilities over five shifts of each picture. Is that better?


# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 1
class Numbers(data.BaseSource):
    def __len__(self):
        return len(digits.train["label"])

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return {name: array[index] for name, array in digits.train.items()}


chain = transforms.compose(
    transforms.random_rotation(15),
    transforms.random_crop(padding=1),
    transforms.color_jitter(brightness=0.4),
)
batch = data.Loader(Numbers(), batch_size=8, shuffle=True).first_batch()
views = jax.jit(jax.vmap(chain))(random.split(key, 8), batch["image"])
assert views.shape == (8, 8, 8, 1)
assert views.dtype == jnp.uint8
figure = plots.image_grid(np.concatenate([batch["image"], views]), num_columns=8)
figure.set_dpi(60)
figure

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 2: hardly; a rotation about the middle is not a shift
_, rotated = train_with(transforms.random_rotation(10))
print(f"rotations: test {rotated[1]:.2f}, shifted test {rotated[2]:.2f}")
assert rotated[2] < table["shifts"][2]

# %% jupyter={"source_hidden": true} tags=["hide-cell"]
# Solution of 3: a little, for the network that never saw a shift in training
model = models.MLP((64, 10))


def probabilities(state, images):
    logits, _ = train.apply_model(model, state.params, state.model_state, images)
    return jax.nn.softmax(logits)


moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
views = [transforms.to_float(transforms.translate(shifted["image"], *move)) for move in moves]
averaged = jnp.mean(jnp.stack([probabilities(states["nothing"], view) for view in views]), 0)
together = float((averaged.argmax(-1) == shifted["label"]).mean())
print(f"one view {table['nothing'][2]:.2f}, averaged over five {together:.2f}")
assert together > table["nothing"][2]

# %% [markdown]
# **Next**: the notebooks from 08 on train networks; [00](00_start_here.ipynb) has the list.
