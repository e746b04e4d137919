"""Public names of ``jaxdl.data.sources``; the only list of them."""

from jaxdl.data.sources.array_record import ArrayRecordSource as ArrayRecordSource
from jaxdl.data.sources.array_record import write_array_record as write_array_record
from jaxdl.data.sources.hdf5 import HDF5Source as HDF5Source
from jaxdl.data.sources.hdf5 import pack_hdf5 as pack_hdf5
from jaxdl.data.sources.image_files import image_source as image_source
from jaxdl.data.sources.image_files import square_images as square_images
from jaxdl.data.sources.image_sets import idx_source as idx_source
from jaxdl.data.sources.parquet import ParquetSource as ParquetSource
from jaxdl.data.sources.tables import csv_source as csv_source
from jaxdl.data.sources.tables import npz_source as npz_source
from jaxdl.data.sources.tables import tsv_source as tsv_source
from jaxdl.data.sources.text_files import TextLines as TextLines
from jaxdl.data.sources.text_files import Windows as Windows
from jaxdl.data.sources.text_files import character_corpus as character_corpus
from jaxdl.data.sources.tfds import tfds_source as tfds_source
from jaxdl.data.sources.video_files import VideoFrames as VideoFrames
