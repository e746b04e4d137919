"""Data: sources of examples, splits, samplers, loaders.

``load("fashion_mnist")`` returns both splits as uint8 arrays. A :class:`Source` gives examples by
index from arrays, image files, CSV, HDF5, Parquet, array_record, TFDS or text; ``open`` opens one
by name or path, ``describe`` summarizes it, ``random_split`` and ``k_fold`` divide it, and a
:class:`Loader` makes batches of it. Readers of one format are in :mod:`jaxdl.data.sources`.
"""

from jaxdl._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
