"""Programs that compile quickly: most tests compile much and compute little."""

import importlib.util
import mmap
from pathlib import Path

# Without fusion into emitted kernels, and in one piece: half the time of the compiler.
FLAGS = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")


def quick_flags():
    """Those of ``FLAGS`` that the installed XLA knows: any other would end the process."""
    folder = Path(importlib.util.find_spec("jaxlib").submodule_search_locations[0])
    library = folder / "libjax_common.so"
    if not library.is_file():
        return ""
    with (
        open(library, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code,
    ):
        return " ".join(flag for flag in FLAGS if code.find(flag[2:].split("=")[0].encode()) >= 0)
