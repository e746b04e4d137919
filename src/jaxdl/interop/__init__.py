"""Weights from and to other libraries."""

from jaxdl.interop.torch import from_state_dict

__all__ = ["from_state_dict"]
