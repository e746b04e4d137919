"""Weights from and to other libraries."""

from jaxdl.interop.bundle import Bundle, load_bundle, open_model, save_bundle
from jaxdl.interop.copies import to_device
from jaxdl.interop.export import load_exported, write_stablehlo
from jaxdl.interop.files import (
    read_metadata,
    read_variables,
    read_weights,
    write_safetensors,
    write_variables,
)
from jaxdl.interop.onnx import write_onnx
from jaxdl.interop.preprocessing import Preprocessing
from jaxdl.interop.runs import describe_run, keep_description, write_evaluation
from jaxdl.interop.torch import LoadReport, from_state_dict, load_state_dict, to_state_dict

__all__ = [
    "Bundle",
    "LoadReport",
    "Preprocessing",
    "describe_run",
    "from_state_dict",
    "keep_description",
    "load_bundle",
    "load_exported",
    "load_state_dict",
    "open_model",
    "read_metadata",
    "read_variables",
    "read_weights",
    "save_bundle",
    "to_device",
    "to_state_dict",
    "write_evaluation",
    "write_onnx",
    "write_safetensors",
    "write_stablehlo",
    "write_variables",
]
