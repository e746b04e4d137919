"""Reads damaged files with every reader; prints one JSON object.

    python fuzz_readers.py GROUP SEED NUM_TRIES SECONDS

GROUP is "data" or "weights". A separate process, since a crash or a hang of one try must not end
the tests. A try may give a result or raise ValueError or OSError with a message. Everything else is
a failure, as are more than 500 MB and more than 20 s.
"""

import collections
import functools
import gzip
import io
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from helpers import small_runs
from helpers.fuzzing import (
    MAX_BYTES,
    MAX_SECONDS,
    MIN_TRIES,
    Memory,
    TooSlowError,
    damage_bytes,
    within_limits,
)
from jaxdl import export, interop, text
from jaxdl.data import open as open_source
from jaxdl.data import sources
from jaxdl.data.source import ArraySource

ALLOWED = (ValueError, OSError)


def images(number=6, size=8):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def write_idx(path):
    path.mkdir()
    for name, array in (("images-idx3", images()[..., 0]), ("labels-idx1", np.arange(6))):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        content = header + array.astype(np.uint8).tobytes()
        with gzip.open(path / f"train-{name}-ubyte.gz", "wb") as file:
            file.write(content)


def write_images(path):
    for index, image in enumerate(images()):
        file = path / "ab"[index % 2] / f"{index}.{('png', 'jpg', 'bmp')[index % 3]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


def write_parquet(path):
    import pyarrow
    import pyarrow.parquet

    encoded = []
    for image in images():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    table = pyarrow.table({"image": encoded, "label": list(range(6))})
    pyarrow.parquet.write_table(table, path)


def labeled():
    return ArraySource({"image": images(), "label": np.arange(6)}, tuple("abcdef"))


def read_all(source):
    return [source[index] for index in range(len(source))]


DATA = {
    "idx": (write_idx, lambda path: read_all(sources.idx_source(path))),
    "images": (write_images, lambda path: read_all(open_source(path, size=(8, 8)))),
    "table.csv": (
        lambda path: path.write_text("label,x,y\n" + "1,2.5,3\n0,1,4e3\n" * 4),
        lambda path: read_all(sources.csv_source(path)),
    ),
    "texts.tsv": (
        lambda path: path.write_text("sentence\tlabel\n" + "so good\t1\nso bad\t0\n" * 4),
        lambda path: read_all(sources.tsv_source(path, text="sentence", label="label")),
    ),
    "lines.txt": (
        lambda path: path.write_text("one line\nanother\n" * 5),
        lambda path: read_all(sources.TextLines(path)),
    ),
    "arrays.npz": (
        lambda path: np.savez_compressed(path, image=images(), label=np.arange(6)),
        lambda path: read_all(sources.npz_source(path)),
    ),
    "array.npy": (
        lambda path: np.save(path, images()),
        lambda path: read_all(open_source(path)),
    ),
    "table.parquet": (write_parquet, lambda path: read_all(sources.ParquetSource(path))),
    "images.h5": (
        lambda path: sources.pack_hdf5(labeled(), path),
        lambda path: read_all(sources.HDF5Source(path)),
    ),
    "images.array_record": (
        lambda path: sources.write_array_record(labeled(), path),
        lambda path: read_all(sources.ArrayRecordSource(path)),
    ),
    "tokenizer.json": (
        lambda path: text.save_tokenizer(text.train_bpe(["so good so bad"], 260), path),
        lambda path: text.encode_texts(text.load_tokenizer(path), ["so good"]),
    ),
}
"""Name: a function that writes a sound file, and one that reads all of it."""


FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "interop"


def write_sharded(path):
    path.mkdir()
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for name, file in names.items():
        interop.write_safetensors(path / file, {name: np.ones((2, 3), np.float32)})
    index = {"metadata": {"total_size": 48}, "weight_map": names}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def write_program(path):
    export.write_stablehlo(path, lambda x: 2.0 * x, (3,), "float32")


def run_program(path):
    return export.load_exported(path).call(jax.numpy.ones((2, 3)))


WEIGHTS = {
    "model.safetensors": (
        lambda path: interop.write_safetensors(
            path, {"w": np.ones((2, 3), np.float32)}, {"a": "b"}
        ),
        interop.read_weights,
    ),
    "variables.safetensors": (
        lambda path: interop.write_variables(path, {"params": {"d": {"kernel": np.ones((2, 3))}}}),
        interop.read_variables,
    ),
    "sharded": (write_sharded, interop.read_weights),
    **{
        name: (functools.partial(shutil.copy, FIXTURES / name), interop.read_weights)
        for name in ("state_dict.pth", "legacy.pth", "dtypes.pth", "views.pth")
    },
    "bundle": (
        small_runs.make_bundle,
        lambda path: export.load_bundle(path).outputs(np.zeros((1, 6, 5, 1), np.uint8)),
    ),
    "program.stablehlo": (write_program, run_program),
}

GROUPS = {"data": DATA, "weights": WEIGHTS}


def damage(rng, path):
    """Damages one file at or below a path; returns what was done."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    file = rng.choice(files)
    content = file.read_bytes()
    file.unlink()
    if rng.random() < 0.07:
        file.mkdir()
        return f"a folder in place of {file.name}"
    what, content = damage_bytes(rng, content)
    file.write_bytes(content)
    return f"{what} of {file.name}"


def attempt(read, path):
    """Returns the outcome ("read" or "refused"), and why the try is a failure or ""."""
    failure, outcome = "", "read"
    try:
        with Memory() as memory, within_limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except TooSlowError:
        failure = f"more than {MAX_SECONDS:.0f} s"
    except ALLOWED as error:
        outcome = "refused"
        if isinstance(error, UnicodeError) or not str(error).strip():
            failure = f"raised {type(error).__name__}: {error}"
    except BaseException as error:
        failure = f"raised {type(error).__name__}: {str(error)[:300]}"
    if not failure and memory.used > MAX_BYTES:
        failure = f"{memory.used / 2**20:.0f} MB"
    return outcome, failure


def fuzz(group, seed, num_tries, seconds):
    rng = random.Random(seed)
    outcomes, by_reader, failures = collections.Counter(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as kept:
        base = Path(kept, "base")
        base.mkdir()
        for name, (write, read) in GROUPS[group].items():
            write(base / name)
            read(base / name)  # the sound file is read
        began = time.monotonic()
        for index in range(num_tries):
            if index >= MIN_TRIES and time.monotonic() - began > seconds:
                break
            folder = Path(kept, f"try{index}")
            folder.mkdir()
            name = rng.choice(list(GROUPS[group]))
            copy = shutil.copytree if (base / name).is_dir() else shutil.copy
            copy(base / name, folder / name)
            what = damage(rng, folder / name)
            print(f"{index}: {name}: {what}", file=sys.stderr, flush=True)
            outcome, failure = attempt(GROUPS[group][name][1], folder / name)
            outcomes[outcome] += 1
            by_reader[f"{name}: {outcome}"] += 1
            if failure:
                failures.append({"try": index, "reader": name, "what": what, "failure": failure})
            shutil.rmtree(folder, ignore_errors=True)
    return {
        "tries": sum(outcomes.values()),
        "outcomes": outcomes,
        "by_reader": by_reader,
        "failures": failures,
    }


if __name__ == "__main__":
    print(json.dumps(fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
