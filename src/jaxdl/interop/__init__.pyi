"""Public names of ``jaxdl.interop``; the only list of them."""

from jaxdl.interop.huggingface import read_classifier as read_classifier
from jaxdl.interop.state_dict import load_state_dict as load_state_dict
from jaxdl.interop.state_dict import params_from_torch as params_from_torch
from jaxdl.interop.state_dict import params_to_torch as params_to_torch
from jaxdl.interop.weight_files import read_variables as read_variables
from jaxdl.interop.weight_files import read_weights as read_weights
from jaxdl.interop.weight_files import write_safetensors as write_safetensors
from jaxdl.interop.weight_files import write_variables as write_variables
