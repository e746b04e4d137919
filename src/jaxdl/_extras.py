"""Optional dependencies: which extra installs which module."""

import importlib.util

EXTRAS = {
    "PIL": "data",
    "array_record": "data",
    "grain": "data",
    "h5py": "hdf5",
    "importlib_resources": "data",
    "matplotlib": "plots",
    "pyarrow": "parquet",
    "tensorboard": "watch",
    "tokenizers": "text",
}
"""The extra of jaxdl by the module that it installs."""


def require(module: str, purpose: str) -> None:
    """Raises ImportError with the remedy unless an optional module is installed.

    Args:
        module: a key of :data:`EXTRAS`.
        purpose: what needs it, as the subject of a sentence.

    >>> EXTRAS["no_such_module"] = "data"
    >>> require("no_such_module", "reading images")
    Traceback (most recent call last):
    ImportError: reading images needs no_such_module: pip install 'jaxdl[data]'.
    >>> del EXTRAS["no_such_module"]
    """
    if importlib.util.find_spec(module) is None:
        extra = EXTRAS[module]
        raise ImportError(f"{purpose} needs {module}: pip install 'jaxdl[{extra}]'.", name=module)
