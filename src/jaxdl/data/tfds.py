"""TensorFlow Datasets without TensorFlow, for MNIST and the sets in its format.

TFDS reads array_record files without TensorFlow but needs it to build these sets: to unpack gzip,
to read the files and to write PNG. A small builder does those three in Python; downloading,
checksums, the folder layout and reading stay TFDS's.
"""

import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np

from jaxdl.data.sources import CLASS_NAMES, IDX_FILES, Dataset, check_dataset, read_idx

_BUILT_HERE = ("mnist", "fashion_mnist", "kmnist")
_NAMES = (*_BUILT_HERE, "cifar10")
_PROBE_SECONDS = 3.0
_BLOCK = 1000  # examples read and decoded in one call


def load_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Loads a set through TFDS; one of the MNIST family is prepared first where it is not there.

    Args:
        name: ``"mnist"``, ``"fashion_mnist"`` or ``"kmnist"``; or ``"cifar10"``, which is read
            where TFDS has prepared it as array_record.
        data_dir: TFDS's folder; without it ``$TFDS_DATA_DIR``, else ``~/tensorflow_datasets``.
        manual_dir: folder with the official files under their plain names
            (``train-images-idx3-ubyte.gz``, …); what lies there is not downloaded. Without it
            ``data_dir/downloads/manual``, as in TFDS.
        download: whether files may be fetched from the network.

    Returns:
        images (N, H, W, C) uint8, labels (N,) int32. A set that this function has prepared is
        in the order of the official files; one that TFDS has prepared holds the same examples in
        TFDS's shuffled order.

    Raises:
        ValueError: another name; a file that is not the official one (size and SHA-256 are
            checked); a set that TFDS has prepared as tfrecord, which needs TensorFlow.
        FileNotFoundError: ``manual_dir`` is no folder, or the set is not prepared and ``download``
            is False.
        ConnectionError: files have to be fetched and the host does not answer; raised within
            seconds. Nothing half-written stays behind after any error.

    Source: ``tfds.data_source``; https://www.tensorflow.org/datasets/catalog/fashion_mnist. The
    counterpart of ``torchvision.datasets.FashionMNIST(root, download=True)``.
    """
    if name not in _NAMES:
        raise ValueError(
            f"load_tfds knows {', '.join(_NAMES)}, got {name!r}. Other sets: prepare them with "
            "TFDS and read them with tfds.data_source."
        )
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    folder = Path(data_dir or default).expanduser()
    if prepared_version(name, folder) is None:
        if name not in _BUILT_HERE:
            raise FileNotFoundError(
                f"{name} is not prepared in {str(folder)!r}, and jaxdl cannot prepare it. Put its "
                f"images into DIR/{name}/train/CLASS and DIR/{name}/test/CLASS and pass "
                "data_dir=DIR to jaxdl.data.load (--data_dir DIR), or prepare it where TensorFlow "
                f'is installed: tfds.builder("{name}", data_dir=..., file_format="array_record")'
                ".download_and_prepare()."
            )
        _prepare(name, folder, manual_dir, download)
    return _read(name, folder)


def prepared_version(name: str, data_dir: Path) -> str | None:
    """The version of a set that is prepared in TFDS's folder, the newest, or None."""
    found = [path.parent.name for path in (data_dir / name).glob("*.*.*/dataset_info.json")]
    numbered = [version for version in found if version.replace(".", "").isdigit()]
    return max(numbered, key=lambda v: [int(part) for part in v.split(".")], default=None)


def _read(name: str, data_dir: Path) -> Dataset:
    import tensorflow_datasets as tfds

    version = prepared_version(name, data_dir)
    with _quiet():
        try:
            sources = tfds.data_source(
                f"{name}:{version}",
                split=["train", "test"],
                data_dir=os.fspath(data_dir),
                download=False,
            )
        except NotImplementedError as error:
            raise ValueError(
                f"{data_dir / name / str(version)} is not prepared as array_record, the format "
                "that can be read without TensorFlow. Pass another data_dir, or delete that "
                "folder and load again."
            ) from error
        train, test = (_decode(source) for source in sources)
    return check_dataset(Dataset(name, train, test, CLASS_NAMES[name]))


def _decode(source: Any) -> dict[str, np.ndarray]:
    image = np.empty((len(source), *source.dataset_info.features["image"].shape), np.uint8)
    label = np.empty(len(source), np.int32)
    for start in range(0, len(source), _BLOCK):
        block = range(start, min(start + _BLOCK, len(source)))
        for index, example in zip(block, source.__getitems__(block), strict=True):
            image[index], label[index] = example["image"], example["label"]
    return {"image": image, "label": label}


def _prepare(
    name: str, data_dir: Path, manual_dir: str | os.PathLike[str] | None, download: bool
) -> None:
    """Builds a set in a folder beside its final place and moves it there when it is whole."""
    import tensorflow_datasets as tfds

    manual = Path(manual_dir or data_dir / "downloads" / "manual").expanduser()
    if manual_dir is not None and not manual.is_dir():
        raise FileNotFoundError(f"manual_dir {str(manual)!r} is not a folder.")
    builder_cls = tfds.builder_cls(name)
    files = [f"{file}.gz" for files in IDX_FILES.values() for file in files]
    urls = [urljoin(builder_cls.URL, file) for file in files if not (manual / file).is_file()]
    if urls:
        remedy = _remedy(name, urls)
        if not download:
            raise FileNotFoundError(
                f"{name} is not prepared in {str(data_dir)!r}, {len(urls)} of 4 source files are "
                f"not in {str(manual)!r}, and download is False. {remedy}"
            )
        reason = _unreachable(urls[0])
        if reason:
            raise ConnectionError(
                f"{name} is not prepared in {str(data_dir)!r}, {len(urls)} of 4 source files are "
                f"not in {str(manual)!r}, and {urls[0]} cannot be fetched: {reason}. {remedy}"
            )

    created = [path for path in (data_dir / name, *(data_dir / name).parents) if not path.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="incomplete.", dir=data_dir))
    try:
        with _quiet():
            builder = _without_tensorflow(builder_cls)(data_dir=os.fspath(work))
            builder.download_and_prepare(
                download_dir=os.fspath(work / "downloads"),
                download_config=tfds.download.DownloadConfig(
                    manual_dir=os.fspath(manual), try_download_gcs=False
                ),
                file_format="array_record",
            )
        version = str(builder.version)
        (data_dir / name).mkdir(exist_ok=True)
        try:
            (work / name / version).rename(data_dir / name / version)
        except OSError:
            if prepared_version(name, data_dir) is None:  # else another process was quicker
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for path in created:  # the folders made here, the innermost first, where they are empty
            with contextlib.suppress(OSError):
                path.rmdir()


def _without_tensorflow(base: type) -> type:
    """TFDS's builder of a set, with the steps that need TensorFlow done in Python."""
    import tensorflow_datasets as tfds
    from PIL import Image
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tqdm import tqdm

    class Builder(base, skip_registration=True):  # type: ignore[call-arg]
        name = base.name  # type: ignore[attr-defined]

        def _info(self) -> Any:
            stock = super()._info()
            info = tfds.core.DatasetInfo(
                builder=self,
                description=stock.description,
                features=stock.features,
                supervised_keys=stock.supervised_keys,
                homepage=stock.homepage,
                citation=stock.citation,
                disable_shuffling=True,  # keep the order of the files
            )
            info.initialize_from_bucket = lambda: None  # it would leave a temporary folder behind
            return info

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                split: self._generate_examples(
                    split, *(self._fetch(dl_manager, file + ".gz") for file in files)
                )
                for split, files in IDX_FILES.items()
            }

        def _fetch(self, dl_manager: Any, file: str) -> Path:
            url = urljoin(self.URL, file)
            try:
                return Path(dl_manager.download(url))
            except NonMatchingChecksumError as error:
                found = str(error).partition("\nTo debug")[0]
                raise ValueError(
                    f"{file} is not the official file of {self.name}. {found}\nDownload it again "
                    f"from {url}. To use files of your own, put them into DIR/{self.name} and "
                    "pass data_dir=DIR to jaxdl.data.load."
                ) from error
            except (OSError, tfds.download.DownloadError) as error:
                raise ConnectionError(
                    f"{url} could not be fetched: {error}. {_remedy(self.name, [url])}"
                ) from error

        def _generate_examples(self, split: str, images: Path, labels: Path) -> Iterator[Any]:
            pairs = zip(read_idx(images), read_idx(labels), strict=True)
            progress = tqdm(
                pairs, desc=f"Preparing {self.name} {split}", unit=" examples", leave=False
            )
            for index, (image, label) in enumerate(progress):
                yield index, {"image": Image.fromarray(image), "label": int(label)}

    return Builder


def _remedy(name: str, urls: list[str]) -> str:
    return (
        f"On a machine with a network download {', '.join(urls)}; put the four files of the set "
        f"into DIR/{name} and pass data_dir=DIR to jaxdl.data.load (--data_dir DIR on a command "
        "line), or pass the folder that holds them as manual_dir to jaxdl.data.load_tfds."
    )


def _unreachable(url: str) -> str | None:
    """Why a URL cannot be fetched, or None where it can; without TFDS's minutes of retries.

    The request runs in a thread because the search for the host's address knows no time limit.
    """
    import requests

    outcome: list[str | None] = []

    def probe() -> None:
        try:
            with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
                outcome.append(None if response.ok else f"HTTP status {response.status_code}")
        except Exception as error:  # whatever it is, it is the reason
            outcome.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(2 * _PROBE_SECONDS)
    return outcome[0] if outcome else f"no answer within {2 * _PROBE_SECONDS:g} seconds"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences TFDS's bars, which overwrite ours, its prints, and its hint to install OpenCV."""
    from absl import logging
    from tensorflow_datasets.core.utils import tqdm_utils

    verbosity, bars = logging.get_verbosity(), tqdm_utils._active
    logging.set_verbosity(logging.ERROR)
    tqdm_utils.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        tqdm_utils.display_progress_bar(bars)
