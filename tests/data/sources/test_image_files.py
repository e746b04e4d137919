"""Images in class folders."""

import pickle

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.combine import labels_of
from jaxdl.data.sources.decode import read_image
from jaxdl.data.sources.image_files import ImageFiles


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for split, number in (("train", 3), ("test", 2)):
        for label, name in enumerate(("cat", "ant")):
            for index in range(number):
                pixels = generator.integers(0, 99, (4, 5, 3)) + 100 * label
                write(tmp_path / "set" / split / name / f"{index}.png", pixels)
    return tmp_path / "set"


def test_classes_and_files_are_sorted(folder):
    dataset = data.load(folder)
    assert dataset.class_names == ("ant", "cat")
    assert dataset.train["image"].shape == (6, 4, 5, 3)
    assert dataset.train["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert (dataset.train["image"][:3] >= 100).all()
    assert (dataset.test["image"][2:] < 100).all()
    np.testing.assert_array_equal(
        dataset.train["image"][1], np.asarray(Image.open(folder / "train/ant/1.png"))
    )


def test_load_finds_folders_by_name(folder, tmp_path):
    (folder).rename(tmp_path / "cifar10")
    assert data.load("cifar10", tmp_path).name == "cifar10"
    with pytest.raises(FileNotFoundError, match=r"no data 'cifar10' in .*/nothing"):
        data.load("cifar10", tmp_path / "nothing")


def test_gray_and_transparent_images_become_rgb(folder):
    write(folder / "train/ant/0.png", np.full((4, 5), 7))
    image = read_image(folder / "train/ant/0.png")
    assert image.shape == (4, 5, 3)
    assert (image == 7).all()


def test_images_of_several_sizes_are_resized_only_if_asked(folder):
    write(folder / "train/cat/9.png", np.full((8, 10, 3), 50))
    with pytest.raises(ValueError, match=r"9\.png is 8x10 pixels, .*pass size="):
        data.load(folder)
    dataset = data.load(folder, size=(4, 5))
    assert dataset.train["image"].shape == (7, 4, 5, 3)
    assert (dataset.train["image"][-1] == 50).all()


def test_what_is_no_image_is_named(folder):
    (folder / "train/ant/bad.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be read as an image"):
        data.load(folder)
    (folder / "train/ant/bad.jpg").rename(folder / "train/ant/notes.txt")
    with pytest.raises(ValueError, match=r"notes\.txt is not an image file"):
        data.load(folder)


def test_folders_that_are_not_as_expected(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data '.*/nowhere'"):
        data.load(tmp_path / "nowhere")
    (folder / "train/bee").mkdir()
    with pytest.raises(ValueError, match="bee holds no images"):
        data.load(folder)
    (folder / "train/bee").rmdir()
    write(folder / "test/bee/0.png", np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="has the class 'bee'"):
        data.load(folder)


# Files read when they are needed


def test_a_folder_of_classes_is_a_source(folder):
    source = pickle.loads(pickle.dumps(data.sources.image_source(folder / "train")))
    assert (len(source), source.class_names) == (6, ("ant", "cat"))
    pixels = np.asarray(Image.open(folder / "train/cat/2.png"))
    np.testing.assert_array_equal(source[5]["image"], pixels)
    batch = source.__getitems__([5, 0, -1])
    np.testing.assert_array_equal(batch["image"][2], pixels)
    assert batch["label"].tolist() == [1, 0, 1]
    assert labels_of(source).tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(IndexError, match=r"index 6 .* 6 examples"):
        source[6]
    gray = data.sources.image_source(folder / "train", mode="L", size=(2, 2))
    assert gray.__getitems__([0, 1])["image"].shape == (2, 2, 2, 1)
    expected = Image.open(folder / "train/ant/0.png").convert("L").resize((2, 2), 2)
    np.testing.assert_array_equal(gray[0]["image"][..., 0], np.asarray(expected))


def test_a_folder_without_classes_has_no_labels(folder):
    with pytest.raises(FileNotFoundError, match=r"no class folders, .* labels=None"):
        data.sources.image_source(folder / "train" / "ant")
    source = data.sources.image_source(folder / "train" / "ant", labels=None)
    assert (len(source), list(source.spec), source.class_names) == (3, ["image"], None)
    with pytest.raises(ValueError, match="lacks the class 'bee'"):
        data.sources.image_source(folder / "train", class_names=["ant", "bee", "cat"])
    with pytest.raises(ValueError, match="has the class 'cat', which is not one of the 1"):
        data.sources.image_source(folder / "train", class_names=["ant"])


def test_images_of_two_sizes_in_a_batch_are_named(folder):
    write(folder / "train/cat/9.png", np.full((8, 10, 3), 50))
    source = data.sources.image_source(folder / "train")
    assert source[6]["image"].shape == (8, 10, 3)  # one alone may have any size
    with pytest.raises(ValueError, match=r"cat/9\.png is 8x10 pixels, .*ant/0\.png 4x5; pass size"):
        source.__getitems__([1, 6])
    halves = data.map_source(source, lambda one: {"image": one["image"][:4, :5]})
    assert halves.__getitems__([0, 6])["image"].shape == (2, 4, 5, 3)


@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_broken_files_are_named_or_skipped_and_counted(folder, content):
    path = folder / "train/ant/1.png"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-30], "text": b"no image", "empty": b""}[content])
    source = data.sources.image_source(folder / "train")
    with pytest.raises(ValueError, match=r"ant/1\.png cannot be read as an image"):
        source.__getitems__([0, 1])
    source = data.sources.image_source(folder / "train", skip_broken=True)
    assert source.skipped == [str(path)]
    assert len(source) == 5
    assert labels_of(source).tolist() == [0, 0, 1, 1, 1]
    assert source.__getitems__(range(5))["image"].shape == (5, 4, 5, 3)


def test_nothing_but_broken_files(folder):
    for path in (folder / "train/ant").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image files \(3 were skipped\)"):
        data.sources.image_source(folder / "train/ant", labels=None, skip_broken=True)


# Lists of files


def test_a_list_names_files_and_labels(folder):
    (folder / "train/cat/0.png").rename(folder / "train/cat/a b.png")
    listed = folder / "list.txt"
    listed.write_text("train/ant/0.png 1\ntrain/cat/a b.png\t0\n\ntrain/cat/a b.png   2\n")
    source = data.sources.image_source(folder, labels=listed)
    assert labels_of(source).tolist() == [1, 0, 2]
    pixels = np.asarray(Image.open(folder / "train/cat/a b.png"))
    np.testing.assert_array_equal(source[2]["image"], pixels)
    moved = listed.rename(folder.parent / "list.txt")
    with pytest.raises(
        ValueError, match=r"list\.txt, line 1: file not found: .*train/train/ant/0\.png"
    ):
        data.sources.image_source(folder / "train", labels=moved)
    assert len(data.sources.image_source(folder, labels=moved)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "got an empty file"),
        (b"train/ant/0.png 0\ntrain/ant/1.png\n", "line 2: expected a path and a class index"),
        (b"train/ant/0.png -1\n", "line 1: expected a path and a class index"),
        (b"train/ant/0.png cat\n", "line 1: expected a path and a class index .* got .*cat'"),
        (b"train/ant/0.png 0\ncaf\xe9.png 0\n", "got byte 0xe9 at offset 21, line 2"),
        (b"train/ant/0.png 2\n", "labels must lie in 0 to 1, got 2 at index 0"),
    ],
)
def test_lists_that_are_not_as_expected(folder, text, message):
    (folder / "list.txt").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        data.sources.image_source(folder, labels=folder / "list.txt", class_names=["a", "b"])


@pytest.mark.parametrize("size", [64, (64,), (64, 0), (32.0, 32.0)])
def test_a_size_is_two_whole_numbers(size):
    with pytest.raises(ValueError, match=r"size must be \(height, width\)"):
        ImageFiles(["a.png"], size=size)


def test_square_images_crop_the_center_and_choose_evenly():
    stripes = np.zeros((5, 4, 8, 3), np.uint8)
    stripes[:, :, 2:6] = np.arange(50, 300, 50, dtype=np.uint8)[:, None, None, None]
    source = data.ArraySource({"image": stripes})
    made = data.sources.square_images(source, 2)
    assert (made.shape, made.dtype) == ((5, 2, 2, 3), np.uint8)
    assert made[:, 0, 0, 0].tolist() == [50, 100, 150, 200, 250]  # the sides are cut off
    assert data.sources.square_images(source, 2, num_images=3)[:, 0, 0, 0].tolist() == [
        50,
        150,
        250,
    ]
    assert data.sources.square_images(source, None).shape == stripes.shape
    with pytest.raises(ValueError, match=r"expected color images \(H, W, 3\), got \(4, 8, 1\)"):
        data.sources.square_images(data.ArraySource({"image": stripes[..., :1]}), 2)
