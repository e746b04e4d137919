"""HDF5: reading by index, packing, going on after an interruption."""

import pickle

import h5py
import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.combine import labels_of

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 6, 5, 3), dtype=np.uint8)
LABELS = (np.arange(23) % 3).astype(np.int32)


@pytest.fixture
def source():
    texts = np.array([f"ü{i}" for i in range(23)], object)
    arrays = {"image": IMAGES, "label": LABELS, "text": texts}
    return data.ArraySource(arrays, ["a", "b", "c"])


class Stops(data.BaseSource):
    """Raises at one example, as a pulled plug would."""

    def __init__(self, source, at, error):
        self.source, self.at, self.error = source, at, error
        self.class_names, self.read = source.class_names, []

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.read.append(index)
        if index == self.at:
            raise self.error
        return self.source[index]


def test_what_was_packed_is_read_back(source, tmp_path):
    path = data.sources.pack_hdf5(source, tmp_path / "new" / "a.h5", block=4)
    packed = pickle.loads(pickle.dumps(data.sources.HDF5Source(path)))
    assert len(packed) == 23
    assert packed.class_names == ("a", "b", "c")
    assert packed.spec == source.spec
    order = [22, 3, 3, 0]  # HDF5 itself reads in increasing order only
    batch = packed.__getitems__(order)
    np.testing.assert_array_equal(batch["image"], IMAGES[order])
    assert batch["text"].tolist() == ["ü22", "ü3", "ü3", "ü0"]
    assert packed[-1]["label"] == LABELS[-1]
    np.testing.assert_array_equal(labels_of(packed), LABELS)
    assert [path.name for path in path.parent.iterdir()] == ["a.h5"]
    with h5py.File(path) as file:
        assert file["image"].compression == "gzip"


def test_an_index_out_of_range_is_an_index_error(source, tmp_path):
    packed = data.sources.HDF5Source(data.sources.pack_hdf5(source, tmp_path / "a.h5"))
    for index in (23, -24):
        with pytest.raises(IndexError, match=f"index {index} .* 23 examples"):
            packed[index]
    assert len(list(packed)) == 23  # so plain iteration ends


def test_faces_packed_one_by_one_as_the_tutorials_do(tmp_path):
    """A group of data sets, 0.jpg to 22.jpg, which HDF5 lists in the order of the alphabet."""
    with h5py.File(tmp_path / "faces.h5", "w") as file:
        group = file.create_group("img_align_celeba")
        for index, image in enumerate(IMAGES):
            group.create_dataset(f"{index}.jpg", data=image, compression="gzip")
    faces = data.sources.HDF5Source(tmp_path / "faces.h5", {"img_align_celeba": "image"})
    np.testing.assert_array_equal(faces.__getitems__(range(23))["image"], IMAGES)
    with pytest.raises(IndexError):
        faces[23]


def test_a_folder_of_faces_is_packed(tmp_path):
    (tmp_path / "faces").mkdir()
    for index, image in enumerate(IMAGES[:5]):
        Image.fromarray(image).save(tmp_path / "faces" / f"{index:06}.png")
    names = {"image": "img_align_celeba"}
    path = data.sources.pack_hdf5(tmp_path / "faces", tmp_path / "a.h5", names=names, compression=9)
    faces = data.sources.HDF5Source(path, {"img_align_celeba": "image"})
    np.testing.assert_array_equal(faces.__getitems__(range(5))["image"], IMAGES[:5])
    with h5py.File(path) as file:
        assert file["img_align_celeba"].compression_opts == 9


def test_a_missing_key_lists_those_there_are(source, tmp_path):
    path = data.sources.pack_hdf5(source, tmp_path / "a.h5")
    with pytest.raises(ValueError, match=r"no 'faces'; .*'image' \(uint8 \(23, 6, 5, 3\)\)"):
        data.sources.HDF5Source(path, {"faces": "image"})


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(FileNotFoundError, match="file not found"):
        data.sources.HDF5Source(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"a\.h5 cannot be read as HDF5"):
        data.sources.HDF5Source(path)
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = np.zeros(3), np.zeros(4)
    with pytest.raises(ValueError, match=r"one length, got \{'x': 3, 'y': 4\}"):
        data.sources.HDF5Source(path)


@pytest.mark.parametrize("kind", ["link", "group_link", "storage", "virtual", "member"])
def test_data_of_other_files_are_refused(tmp_path, kind):
    """Else a file could have any file's bytes read as images."""
    other, raw, path = (tmp_path / name for name in ("other.h5", "secret.bin", "a.h5"))
    raw.write_bytes(bytes(range(12)))
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(12, dtype=np.uint8).reshape(3, 4)
        file["group/x"] = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["image"] = h5py.ExternalLink(other, "x")
        elif kind == "group_link":
            file["group"] = h5py.ExternalLink(other, "group")
        elif kind == "storage":
            file.create_dataset("image", (3, 4), "u1", external=[(raw, 0, 12)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3, 4), "u1")
            layout[:] = h5py.VirtualSource(other, "x", (3, 4))
            file.create_virtual_dataset("image", layout)
        else:
            file["image/0"] = np.zeros(4, np.uint8)
            file["image/1"] = h5py.ExternalLink(other, "x")
    key = "group/x" if kind == "group_link" else "image"
    with pytest.raises(ValueError, match=r"a\.h5: .*(links to another file|lies in other files)"):
        data.sources.HDF5Source(path, {key: "image"}).__getitems__([0, 1])


def test_packing_goes_on_where_it_was_interrupted(source, tmp_path):
    path, stopped = tmp_path / "a.h5", Stops(source, 14, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        data.sources.pack_hdf5(stopped, path, block=4)
    assert not path.exists()
    stopped.at, stopped.read = None, []
    data.sources.pack_hdf5(stopped, path, block=4)
    assert min(i for i in stopped.read if i) == 12  # three blocks of four were whole
    np.testing.assert_array_equal(
        data.sources.HDF5Source(path).__getitems__(range(23))["image"], IMAGES
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_damaged_block_is_packed_again(source, tmp_path):
    path, stopped = tmp_path / "a.h5", Stops(source, 14, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        data.sources.pack_hdf5(stopped, path, block=4)
    with h5py.File(tmp_path / ".a.h5.part", "r+") as file:
        file["image"][5] = 0
    stopped.at, stopped.read = None, []
    data.sources.pack_hdf5(stopped, path, block=4)
    assert min(i for i in stopped.read if i) == 4
    np.testing.assert_array_equal(
        data.sources.HDF5Source(path).__getitems__(range(23))["image"], IMAGES
    )


def test_another_source_or_a_broken_file_begins_anew(source, tmp_path):
    path, stopped = tmp_path / "a.h5", Stops(source, 14, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        data.sources.pack_hdf5(stopped, path, block=4)
    data.sources.pack_hdf5(data.subset(source, range(9)), path, block=4)
    np.testing.assert_array_equal(
        data.sources.HDF5Source(path).__getitems__(range(9))["image"], IMAGES[:9]
    )
    with pytest.raises(KeyboardInterrupt):
        data.sources.pack_hdf5(stopped, path, block=4)
    part = tmp_path / ".a.h5.part"
    part.write_bytes(part.read_bytes()[:50])
    stopped.at = None
    data.sources.pack_hdf5(stopped, path, block=4)
    np.testing.assert_array_equal(
        data.sources.HDF5Source(path).__getitems__(range(23))["image"], IMAGES
    )


def test_an_error_leaves_nothing_behind(source, tmp_path):
    with pytest.raises(ValueError, match="broken"):
        data.sources.pack_hdf5(Stops(source, 14, ValueError("broken")), tmp_path / "a.h5", block=4)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="compression must lie in 0 to 9"):
        data.sources.pack_hdf5(source, tmp_path / "a.h5", compression=10)


def test_the_file_of_another_packer_is_left_alone(source, tmp_path):
    path = tmp_path / "a.h5"

    def locked(*_, **__):
        raise BlockingIOError("unable to lock file")

    with pytest.raises(KeyboardInterrupt):
        data.sources.pack_hdf5(Stops(source, 9, KeyboardInterrupt()), path, block=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h5py, "File", locked)
        with pytest.raises(OSError, match=r"another process is writing .*\.a\.h5\.part"):
            data.sources.pack_hdf5(source, path, block=4)
    assert (tmp_path / ".a.h5.part").exists()  # the other's
