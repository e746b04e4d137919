"""Public names of ``jaxdl.export``; the only list of them."""

from jaxdl._program import load_exported as load_exported
from jaxdl.export import quantization as quantization
from jaxdl.export.bundle import Bundle as Bundle
from jaxdl.export.bundle import load_bundle as load_bundle
from jaxdl.export.bundle import make_bundle as make_bundle
from jaxdl.export.bundle import open_model as open_model
from jaxdl.export.bundle import save_bundle as save_bundle
from jaxdl.export.from_run import describe_run as describe_run
from jaxdl.export.from_run import write_evaluation as write_evaluation
from jaxdl.export.onnx import write_onnx as write_onnx
from jaxdl.export.preprocessing import Preprocessing as Preprocessing
from jaxdl.export.stablehlo import write_stablehlo as write_stablehlo
