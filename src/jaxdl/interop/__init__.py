"""Weights from and to other libraries."""

from jaxdl.interop.files import (
    read_metadata,
    read_variables,
    read_weights,
    write_safetensors,
    write_variables,
)
from jaxdl.interop.torch import LoadReport, from_state_dict, load_state_dict, to_state_dict

__all__ = [
    "LoadReport",
    "from_state_dict",
    "load_state_dict",
    "read_metadata",
    "read_variables",
    "read_weights",
    "to_state_dict",
    "write_safetensors",
    "write_variables",
]
