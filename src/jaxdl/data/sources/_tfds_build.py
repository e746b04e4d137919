"""Prepares the MNIST family as TFDS does, without TensorFlow.

TFDS needs TensorFlow to build these sets: to unpack gzip, read the files and write PNG. A small
builder does this in Python; downloading, checksums and the folder layout are TFDS's.
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

from jaxdl._extras import require
from jaxdl._files import expand
from jaxdl.data.sources.image_sets import IDX_FILES, read_idx

BUILT_HERE = ("mnist", "fashion_mnist", "kmnist")


_PROBE_SECONDS = 3.0


def tfds_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """TFDS's folder: the given one, ``$TFDS_DATA_DIR``, or ``~/tensorflow_datasets``."""
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    return expand(data_dir or default)


def prepared_version(name: str, data_dir: Path) -> str | None:
    """Returns the newest prepared version of a set in TFDS's folder, or None."""
    found = [path.parent.name for path in (data_dir / name).glob("*.*.*/dataset_info.json")]
    numbered = [version for version in found if version.replace(".", "").isdigit()]
    return max(numbered, key=lambda v: [int(part) for part in v.split(".")], default=None)


def prepare(
    name: str, data_dir: Path, manual_dir: str | os.PathLike[str] | None, download: bool
) -> None:
    """Builds a set in a temporary folder and moves it to its place when complete."""
    import tensorflow_datasets as tfds

    manual = expand(manual_dir or data_dir / "downloads" / "manual")
    if manual_dir is not None and not manual.is_dir():
        raise FileNotFoundError(f"folder not found: {manual} (manual_dir).")
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

    _build(name, builder_cls, data_dir, manual)


def _build(name: str, builder_cls: type, data_dir: Path, manual: Path) -> None:
    import tensorflow_datasets as tfds

    created = [path for path in (data_dir / name, *(data_dir / name).parents) if not path.exists()]
    data_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="incomplete.", dir=data_dir))
    try:
        with quiet():
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
    """Creates TFDS's builder of a set with its TensorFlow steps replaced by Python."""
    for module in ("PIL", "array_record", "importlib_resources"):
        require(module, "preparing a TFDS data set")
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
                    f"from {url}. Other files go into DIR/{self.name}; pass data_dir=DIR to "
                    "jaxdl.data.load."
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
        "line), or pass their folder as manual_dir to jaxdl.data.sources.tfds_source."
    )


def _unreachable(url: str) -> str | None:
    """Returns the reason why a URL is unreachable, or None, without TFDS's retries.

    The request runs in a thread because the host's address lookup has no time limit.
    """
    import requests

    outcome: list[str | None] = []

    def probe() -> None:
        try:
            with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
                outcome.append(None if response.ok else f"HTTP status {response.status_code}")
        except Exception as error:
            outcome.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(2 * _PROBE_SECONDS)
    return outcome[0] if outcome else f"no answer within {2 * _PROBE_SECONDS:g} seconds"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TFDS's progress bars, prints, and hint to install OpenCV."""
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
