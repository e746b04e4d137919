"""Data: sources of examples, transforms on the device, splits, batches.

``load("fashion_mnist")`` gives both splits as uint8 arrays; ``mean_and_std`` measures them and
``transforms`` normalises and augments on the device. A :class:`Source` gives examples by index from
whatever they are stored in, arrays, image files, CSV, HDF5, Parquet, array_record, TFDS or text;
``find_source`` opens one by name, ``describe`` says what is in it, ``random_split`` and ``k_fold``
divide it, and a :class:`Loader` makes batches of it.
"""

from typing import TYPE_CHECKING

from jaxdl.data import generated, text, transforms
from jaxdl.data.batches import epoch_order, num_batches, sequential_order, take
from jaxdl.data.bucketing import BatchSampler, BucketBatchSampler, PadCollate, pad_sequences
from jaxdl.data.device import to_device
from jaxdl.data.image_sets import Dataset, digits, idx, read_idx
from jaxdl.data.loader import Loader, LoaderIterator
from jaxdl.data.samplers import (
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from jaxdl.data.source import ArraySource, BaseSource, Source, stack_examples
from jaxdl.data.statistics import mean_and_std
from jaxdl.data.views import (
    IterableSource,
    concatenate,
    from_grain,
    from_iterable,
    labels_of,
    map_source,
    num_bytes,
    source_to_arrays,
    subset,
)
from jaxdl.lazy import attributes

if TYPE_CHECKING:
    from jaxdl.data.corpora import TextLines, Windows, character_corpus, tsv_source
    from jaxdl.data.find import find_source
    from jaxdl.data.folders import ImageFiles, image_files, image_folder, image_list, read_image
    from jaxdl.data.hdf5 import HDF5Source, pack_hdf5
    from jaxdl.data.named import load
    from jaxdl.data.parquet import ParquetSource
    from jaxdl.data.records import ArrayRecordSource, write_array_record
    from jaxdl.data.splits import k_fold, random_split, select
    from jaxdl.data.summary import describe, summarize
    from jaxdl.data.tables import csv_source, mnist_csv, npz_source, read_csv
    from jaxdl.data.tfds import load_tfds, tfds_source
    from jaxdl.data.tokenizers import (
        encode_texts,
        load_tokenizer,
        save_tokenizer,
        train_bpe,
        train_wordpiece,
    )
    from jaxdl.data.video import VideoFrames, segment_indices

__all__ = [
    "ArrayRecordSource",
    "ArraySource",
    "BaseSource",
    "BatchSampler",
    "BucketBatchSampler",
    "Dataset",
    "DistributedSampler",
    "HDF5Source",
    "ImageFiles",
    "IterableSource",
    "Loader",
    "LoaderIterator",
    "PadCollate",
    "ParquetSource",
    "RandomSampler",
    "SequentialSampler",
    "Source",
    "SubsetRandomSampler",
    "TextLines",
    "VideoFrames",
    "WeightedRandomSampler",
    "Windows",
    "character_corpus",
    "concatenate",
    "csv_source",
    "describe",
    "digits",
    "encode_texts",
    "epoch_order",
    "find_source",
    "from_grain",
    "from_iterable",
    "generated",
    "idx",
    "image_files",
    "image_folder",
    "image_list",
    "k_fold",
    "labels_of",
    "load",
    "load_tfds",
    "load_tokenizer",
    "map_source",
    "mean_and_std",
    "mnist_csv",
    "npz_source",
    "num_batches",
    "num_bytes",
    "pack_hdf5",
    "pad_sequences",
    "random_split",
    "read_csv",
    "read_idx",
    "read_image",
    "save_tokenizer",
    "segment_indices",
    "select",
    "sequential_order",
    "source_to_arrays",
    "stack_examples",
    "subset",
    "summarize",
    "take",
    "text",
    "tfds_source",
    "to_device",
    "train_bpe",
    "train_wordpiece",
    "transforms",
    "tsv_source",
    "write_array_record",
]

_LATER = {
    "corpora": ("TextLines", "Windows", "character_corpus", "tsv_source"),
    "find": ("find_source",),
    "folders": ("ImageFiles", "image_files", "image_folder", "image_list", "read_image"),
    "hdf5": ("HDF5Source", "pack_hdf5"),
    "named": ("load",),
    "parquet": ("ParquetSource",),
    "records": ("ArrayRecordSource", "write_array_record"),
    "splits": ("k_fold", "random_split", "select"),
    "summary": ("describe", "summarize"),
    "tables": ("csv_source", "mnist_csv", "npz_source", "read_csv"),
    "tfds": ("load_tfds", "tfds_source"),
    "tokenizers": (
        "encode_texts",
        "load_tokenizer",
        "save_tokenizer",
        "train_bpe",
        "train_wordpiece",
    ),
    "video": ("VideoFrames", "segment_indices"),
}
"""What is imported when it is first used: readers of formats of which a script needs one or two."""

__getattr__ = attributes(__name__, _LATER)


def __dir__() -> list[str]:
    return __all__
