"""CPU cores, memory and output of this machine."""

import os
import sys
from typing import Literal

import jax


def num_cores() -> int:
    """Number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def device_memory() -> tuple[int, int | None]:
    """Memory of the first device in bytes, total and in use.

    For a CPU it is the machine's memory, whose use is None; 8 GB where the system reports no size.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(statistics["bytes_limit"]), int(statistics.get("bytes_in_use", 0))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 8 * 10**9, None


def is_interactive() -> bool:
    """Returns True in a notebook, IPython or Python's prompt."""
    return hasattr(sys, "ps1")


def output_kind() -> Literal["notebook", "terminal", "file"]:
    """Returns the kind of the output; a file cannot show a progress bar."""
    if is_interactive() and "ipykernel" in sys.modules:
        return "notebook"
    return "terminal" if sys.stderr.isatty() else "file"
