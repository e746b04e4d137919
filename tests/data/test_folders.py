"""Images in class folders."""

import numpy as np
import pytest
from PIL import Image

from jaxdl import data


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
    dataset = data.image_folder(folder)
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
    with pytest.raises(FileNotFoundError, match="cifar10 is not prepared"):
        data.load_tfds("cifar10", data_dir=tmp_path / "nothing")


def test_grey_and_transparent_images_become_rgb(folder):
    write(folder / "train/ant/0.png", np.full((4, 5), 7))
    image = data.read_image(folder / "train/ant/0.png")
    assert image.shape == (4, 5, 3)
    assert (image == 7).all()


def test_images_of_several_sizes_are_resized_only_if_asked(folder):
    write(folder / "train/cat/9.png", np.full((8, 10, 3), 50))
    with pytest.raises(ValueError, match=r"9\.png is 8x10 pixels, .*pass size="):
        data.image_folder(folder)
    dataset = data.image_folder(folder, size=(4, 5))
    assert dataset.train["image"].shape == (7, 4, 5, 3)
    assert (dataset.train["image"][-1] == 50).all()


def test_what_is_no_image_is_named(folder):
    (folder / "train/ant/bad.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be read as an image"):
        data.image_folder(folder)
    (folder / "train/ant/bad.jpg").rename(folder / "train/ant/notes.txt")
    with pytest.raises(ValueError, match=r"notes\.txt is no image file"):
        data.image_folder(folder)


def test_folders_that_are_not_as_expected(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        data.image_folder(tmp_path / "nowhere")
    (folder / "train/bee").mkdir()
    with pytest.raises(ValueError, match="bee holds no images"):
        data.image_folder(folder)
    (folder / "train/bee").rmdir()
    write(folder / "test/bee/0.png", np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="has the class 'bee'"):
        data.image_folder(folder)
