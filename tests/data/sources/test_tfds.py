"""TFDS without TensorFlow: preparing, reading back, and what happens when it cannot."""

import gzip
import io
import pickle
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.sources.image_sets import CLASS_NAMES

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.exists(), reason="the folder ../shared/data is not there")

LENGTHS = {"train": 1203, "t10k": 5}  # more than one block of the reader
RNG = np.random.default_rng(0)
ARRAYS = {
    split: (
        RNG.integers(0, 256, (length, 28, 28), dtype=np.uint8),
        RNG.integers(0, 10, length, dtype=np.uint8),
    )
    for split, length in LENGTHS.items()
}


def encode(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def small_official_set(tmp_path, monkeypatch):
    """A folder with a small set, which TFDS's table of checksums takes for Fashion-MNIST."""
    from tensorflow_datasets.core.download import checksums

    folder = tmp_path / "manual"
    folder.mkdir()
    table = {}
    for split, (images, labels) in ARRAYS.items():
        for name, array in ((f"{split}-images-idx3", images), (f"{split}-labels-idx1", labels)):
            path = folder / f"{name}-ubyte.gz"
            path.write_bytes(encode(array))
            url = f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{path.name}"
            table[url] = checksums.compute_url_info(path)
    monkeypatch.setattr(checksums, "get_all_url_infos", lambda: dict(table))
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Every request fails as it does on a machine without a network; returns the URLs tried."""
    import requests

    tried = []

    def refuse(self, method, url, **kwargs):
        tried.append(url)
        raise requests.ConnectionError("Failed to resolve the host")

    monkeypatch.setattr(requests.Session, "request", refuse)
    return tried


def load_tfds(name, *, data_dir, **options):
    options = {"data_dir": data_dir, "download": True, **options}
    train, test = (
        data.source_to_arrays(data.sources.tfds_source(name, split, **options), block=1000)
        for split in ("train", "test")
    )
    return data.Dataset(name, train, test, CLASS_NAMES[name])


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_prepares_from_manual_dir_without_a_network(tmp_path, small_official_set, no_network):
    root = tmp_path / "new" / "tfds"
    dataset = load_tfds("fashion_mnist", data_dir=root, manual_dir=small_official_set)
    for split, got in (("train", dataset.train), ("t10k", dataset.test)):
        np.testing.assert_array_equal(got["image"], ARRAYS[split][0][..., None])  # in file order
        np.testing.assert_array_equal(got["label"], ARRAYS[split][1])
    assert (dataset.train["image"].dtype, dataset.train["label"].dtype) == (np.uint8, np.int32)
    assert dataset.class_names == CLASS_NAMES["fashion_mnist"]
    assert no_network == []
    assert "tensorflow" not in sys.modules
    # Only the finished set stays, and it is read again without its source files.
    assert {name.split("/")[0] for name in names_below(root)} == {"fashion_mnist"}
    assert [path.name for path in (root / "fashion_mnist").iterdir()] == ["3.0.1"]
    again = data.load("fashion_mnist", root)
    np.testing.assert_array_equal(again.train["image"], dataset.train["image"])


@pytest.mark.slow
def test_the_stock_name_reads_what_was_prepared(tmp_path, small_official_set):
    import tensorflow_datasets as tfds

    load_tfds("fashion_mnist", data_dir=tmp_path, manual_dir=small_official_set)
    source = tfds.data_source("fashion_mnist", split="train", data_dir=tmp_path, download=False)
    assert len(source) == LENGTHS["train"]
    np.testing.assert_array_equal(source[7]["image"][..., 0], ARRAYS["train"][0][7])
    assert source.dataset_info.features["label"].names[9] == "Ankle boot"


@pytest.mark.slow
def test_finds_the_default_folders(tmp_path, monkeypatch, small_official_set, no_network):
    root = tmp_path / "default"
    (root / "downloads").mkdir(parents=True)
    small_official_set.rename(root / "downloads" / "manual")
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert len(data.load("fashion_mnist").test["label"]) == LENGTHS["t10k"]
    assert (root / "fashion_mnist" / "3.0.1" / "dataset_info.json").is_file()


def test_is_silent_on_standard_output(tmp_path, capfd, small_official_set):
    load_tfds("fashion_mnist", data_dir=tmp_path, manual_dir=small_official_set)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Dl Completed" not in captured.err
    assert "OpenCV" not in captured.err


def test_a_changed_file_is_named_and_nothing_stays(tmp_path, small_official_set):
    images = ARRAYS["train"][0].copy()
    images[0, 0, 0] ^= 1
    (small_official_set / "train-images-idx3-ubyte.gz").write_bytes(encode(images))
    root = tmp_path / "new" / "tfds"
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte\.gz is not the official(.|\n)*Expected.*\n.*Got"
    ):
        load_tfds("fashion_mnist", data_dir=root, manual_dir=small_official_set)
    assert not (tmp_path / "new").exists()


def test_a_failure_while_writing_leaves_the_folder_as_it_was(
    tmp_path, small_official_set, monkeypatch
):
    from PIL import Image

    def fail(array):
        raise RuntimeError("disk full")

    monkeypatch.setattr(Image, "fromarray", fail)
    root = tmp_path / "tfds"
    (root / "other").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="disk full"):
        load_tfds("fashion_mnist", data_dir=root, manual_dir=small_official_set)
    assert names_below(root) == ["other"]


def test_no_network_fails_at_once_and_says_what_to_do(tmp_path, no_network):
    start = time.monotonic()
    with pytest.raises(
        ConnectionError,
        match=r"(?s)fashion_mnist is not prepared in .*http://fashion-mnist\S*/train-images\S* "
        r"cannot be fetched: ConnectionError: Failed to resolve the host\. On a machine with a "
        r"network download .*t10k-labels-idx1-ubyte\.gz; put the four files .*DIR/fashion_mnist "
        r".*--data_dir DIR.*manual_dir",
    ):
        load_tfds("fashion_mnist", data_dir=tmp_path / "new")
    assert time.monotonic() - start < 10  # TFDS alone retries for minutes
    assert len(no_network) == 1
    assert names_below(tmp_path) == []


def test_a_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    import requests

    monkeypatch.setattr("jaxdl.data.sources._tfds_build._PROBE_SECONDS", 0.05)

    def hang(self, method, url, **kwargs):
        time.sleep(1)
        raise requests.Timeout

    monkeypatch.setattr(requests.Session, "request", hang)
    with pytest.raises(ConnectionError, match=r"mnist.*no answer within 0\.1 seconds"):
        load_tfds("mnist", data_dir=tmp_path)


def test_a_host_that_refuses_is_reported(tmp_path, monkeypatch):
    import requests

    def forbid(self, method, url, **kwargs):
        response = requests.Response()
        response.status_code, response.url, response.raw = 403, url, io.BytesIO()
        return response

    monkeypatch.setattr(requests.Session, "request", forbid)
    with pytest.raises(ConnectionError, match="HTTP status 403"):
        load_tfds("kmnist", data_dir=tmp_path)


def test_a_download_that_breaks_off_is_reported(
    tmp_path, small_official_set, no_network, monkeypatch
):
    (small_official_set / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr("jaxdl.data.sources._tfds_build._unreachable", lambda url: None)
    root = tmp_path / "tfds"
    with pytest.raises(
        ConnectionError, match=r"/t10k-labels-idx1-ubyte\.gz could not be fetched.*resolve the host"
    ):
        load_tfds("fashion_mnist", data_dir=root, manual_dir=small_official_set)
    assert not root.exists()
    assert len(no_network) == 1


def test_download_false_touches_no_network(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match=r"4 of 4 source files.*download is False"):
        load_tfds("mnist", data_dir=tmp_path, download=False)
    assert no_network == []


def test_manual_dir_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder not found: .*/absent"):
        load_tfds("mnist", data_dir=tmp_path, manual_dir=tmp_path / "absent")


@pytest.mark.slow
def test_tfrecord_needs_tensorflow(tmp_path, small_official_set):
    load_tfds("fashion_mnist", data_dir=tmp_path, manual_dir=small_official_set)
    version = tmp_path / "fashion_mnist" / "3.0.1"
    info = version / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for path in version.glob("*array_record*"):
        path.rename(version / path.name.replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"3\.0\.1 is not prepared as array_record.*TensorFlow"):
        data.load("fashion_mnist", tmp_path)


# Any set, one split, as a source


def test_a_split_is_a_source(tmp_path, small_official_set, no_network):
    options = {"data_dir": tmp_path, "manual_dir": small_official_set}
    source = data.sources.tfds_source("fashion_mnist", "train", **options)
    source = pickle.loads(pickle.dumps(source))
    assert len(source) == LENGTHS["train"]
    assert source.class_names[9] == "Ankle boot"
    batch = source.__getitems__([1202, 7])
    np.testing.assert_array_equal(batch["image"][..., 0], ARRAYS["train"][0][[1202, 7]])
    np.testing.assert_array_equal(batch["label"], ARRAYS["train"][1][[1202, 7]])
    assert batch["label"].dtype == np.int32
    part = data.sources.tfds_source("fashion_mnist", "train[100:200]", data_dir=tmp_path)
    np.testing.assert_array_equal(part[-1]["image"][..., 0], ARRAYS["train"][0][199])
    with pytest.raises(IndexError, match="index 100 "):
        part[100]
    with pytest.raises(ValueError, match=r"no split 'dev'; it has .*(test.*train|train.*test)"):
        data.sources.tfds_source("fashion_mnist", "dev", data_dir=tmp_path)
    testing = data.sources.tfds_source("fashion_mnist", "testing[:2]", data_dir=tmp_path)
    np.testing.assert_array_equal(testing[1]["image"][..., 0], ARRAYS["t10k"][0][1])
    assert no_network == []


def test_a_set_of_another_kind_that_tfds_has_prepared(tmp_path):
    """Text, of a builder that TFDS does not ship: read by its folder alone."""
    import tensorflow_datasets as tfds

    class Verses(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        name = "verses"

        def _info(self):
            features = {"text": tfds.features.Text(), "length": np.int64}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index in range(3):
                yield index, {"text": f"ü{index}", "length": index}

    builder = Verses(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    source = data.sources.tfds_source("verses", data_dir=tmp_path)
    examples = {int(one["length"]): one["text"].item() for one in source}
    assert examples == {0: "ü0", 1: "ü1", 2: "ü2"}


def test_a_set_that_is_not_there(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match=r"verses is not prepared in .*download=True"):
        data.sources.tfds_source("verses", data_dir=tmp_path)
    with pytest.raises(ValueError, match="TFDS cannot prepare 'no_such_set'"):
        data.sources.tfds_source("no_such_set", data_dir=tmp_path, download=True)


def test_unknown_name():
    with pytest.raises(FileNotFoundError, match="no data 'cifar100'"):
        data.load("cifar100")


@pytest.mark.slow
@pytest.mark.data
@real_data
def test_fashion_mnist_equals_its_idx_files(tmp_path):
    expected = data.load("fashion_mnist", DATA)
    actual = load_tfds("fashion_mnist", data_dir=tmp_path, manual_dir=DATA / "fashion_mnist")
    assert (actual.name, actual.class_names) == (expected.name, expected.class_names)
    for split in ("train", "test"):
        for key in ("image", "label"):
            np.testing.assert_array_equal(
                getattr(actual, split)[key], getattr(expected, split)[key]
            )


@pytest.mark.data
@real_data
def test_mnist_files_that_are_not_the_official_ones_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is not the official file"):
        load_tfds("mnist", data_dir=tmp_path, manual_dir=DATA / "mnist")
    assert names_below(tmp_path) == []
