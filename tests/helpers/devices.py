"""Programs in a separate process, where the CPU counts as several devices."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run_with_devices(number, script):
    """Runs a program, which can import the files of the tests; returns what it printed."""
    flags = os.environ.get("XLA_FLAGS", "")
    environ = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={number}",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "JAX_PLATFORMS": "cpu",
    }
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, env=environ, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout
