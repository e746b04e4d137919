"""Embeddings: the projector's files."""

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from jaxdl import tensorboard

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(5, 3)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)


def write(directory, *arguments, **options):
    with tensorboard.open_writer(directory) as writer:
        tensorboard.write_embedding(writer, *arguments, **options)


def config(directory):
    text = (directory / "projector_config.pbtxt").read_text()
    return text_format.Parse(text, ProjectorConfig()).embeddings


def test_vectors_labels_and_images_come_back(tmp_path):
    labels = np.array([7, 2, 1, 0, 4])
    write(tmp_path, "net/fc1", VECTORS, 30, metadata=labels, images=IMAGES)
    (embedding,) = config(tmp_path)
    assert embedding.tensor_name == "net/fc1 at 30"
    assert list(embedding.tensor_shape) == [5, 3]
    found = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(found, VECTORS)
    assert (tmp_path / embedding.metadata_path).read_text().split() == ["7", "2", "1", "0", "4"]
    sprite = np.asarray(Image.open(tmp_path / embedding.sprite.image_path))
    assert list(embedding.sprite.single_image_dim) == [4, 4]
    assert sprite.shape == (8, 12)  # five gray images in rows of three
    np.testing.assert_array_equal(sprite[:4, 8:12], IMAGES[2, ..., 0])
    np.testing.assert_array_equal(sprite[4:8, 4:8], IMAGES[4, ..., 0])
    assert not sprite[4:8, 8:12].any()


def test_columns_have_a_header_and_cells_stay_cells(tmp_path):
    metadata = {"label": [0, 1, 2, 3, 4], "name": ["a\tb", "c\nd", "e", "f", "g"]}
    write(tmp_path, "fc1", VECTORS, 0, metadata=metadata)
    lines = (tmp_path / config(tmp_path)[0].metadata_path).read_text().splitlines()
    assert lines == ["label\tname", "0\ta b", "1\tc d", "2\te", "3\tf", "4\tg"]


def test_steps_and_tags_add_up_and_the_same_one_is_replaced(tmp_path):
    write(tmp_path, "fc1", VECTORS, 0)
    write(tmp_path, "fc1", VECTORS, 10)
    write(tmp_path, "tsne", VECTORS[:, :2], 10)
    write(tmp_path, "fc1", 2 * VECTORS, 0)
    names = [embedding.tensor_name for embedding in config(tmp_path)]
    assert sorted(names) == ["fc1 at 0", "fc1 at 10", "tsne at 10"]
    path = next(e.tensor_path for e in config(tmp_path) if e.tensor_name == "fc1 at 0")
    np.testing.assert_allclose(np.loadtxt(tmp_path / path), 2 * VECTORS, rtol=1e-6)
    assert not list(tmp_path.rglob("*.tmp"))


def test_tags_that_are_alike_share_no_folder(tmp_path):
    tags = ["a_b", "a b", "a/b", "a%2Fb", "..", ".", "fc.1-x"]
    with tensorboard.open_writer(tmp_path) as writer:
        for number, tag in enumerate(tags):
            tensorboard.write_embedding(writer, tag, VECTORS + number, 0)
    paths = {
        embedding.tensor_name: tmp_path / embedding.tensor_path for embedding in config(tmp_path)
    }
    for number, tag in enumerate(tags):
        found = np.loadtxt(paths[f"{tag} at 0"])
        np.testing.assert_allclose(found, VECTORS + number, rtol=1e-6)
    folders = {path.name for path in (tmp_path / "projector").iterdir()}
    assert {"a_b", "fc.1-x"} <= folders
    assert len(folders) == len(tags)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4, 4, 1), True),
        ((1024 * 1024, 8, 8, 3), True),
        ((1024 * 1024 + 1, 8, 8, 3), False),
        ((5, 4, 3, 1), False),
        ((5, 4, 4, 2), False),
        ((5, 4, 4, 4), False),
        ((5, 4, 4), False),
        ((0, 4, 4, 1), False),
    ],
)
def test_images_that_make_a_sprite_are_told_by_their_shape(shape, expected):
    assert tensorboard.embeddings.makes_sprite(shape) is expected


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (VECTORS, {"metadata": range(4)}, "metadata 'label' must have 5 entries.*got 4"),
        (VECTORS, {"metadata": {"name": "abc"}}, "metadata 'name' must have 5 entries"),
        (VECTORS, {"metadata": "abcde"}, "metadata 'label' must have 5 entries.*got 'abcde'"),
        (VECTORS, {"images": IMAGES[:4]}, "images must be 5, one a vector, got 4"),
        (VECTORS, {"images": IMAGES[:, :3]}, "images must be square, got 3 x 4"),
        (VECTORS, {"images": IMAGES[..., 0]}, "images must have shape"),
        (VECTORS, {"images": IMAGES.repeat(2, -1)}, "1, 3 or 4 channels, got"),
        (VECTORS, {"images": IMAGES.repeat(4, -1)}, r"shape \(N, H, W, 1 or 3\), got"),
        (np.where(VECTORS[3, 1] == VECTORS, np.nan, VECTORS), {}, "NaN or infinity in row 3"),
        (VECTORS[0], {}, "vectors must have shape"),
        (np.zeros((4, 2)), {"images": np.zeros((4, 4100, 4100, 1), bool)}, "Write 1 or make them"),
    ],
)
def test_what_does_not_belong_together_is_named(vectors, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, "fc1", vectors, 0, **options)
    assert not (tmp_path / "projector").exists()
