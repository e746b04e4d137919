"""Limits of a try, damage to bytes, and a separate process, for the fuzz tests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

MAX_BYTES, MAX_SECONDS = 500 * 2**20, 20.0
MIN_TRIES = 50


class TooSlowError(BaseException):
    pass


def fuzz_in_a_process(helper, *arguments):
    """Runs ``tests/helpers/HELPER``, whose crash or hang must not end the tests; its result."""
    path = Path(__file__).with_name(helper)
    search = os.pathsep.join([str(path.parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=500,
    )
    last_try = "\n".join(done.stderr.splitlines()[-3:])
    assert done.returncode == 0, f"the process crashed at: {last_try}"
    result = json.loads(done.stdout)
    print(f"{result['tries']} tries, {result['outcomes']}")
    assert result["tries"] >= MIN_TRIES
    return result


@contextlib.contextmanager
def within_limits(seconds=MAX_SECONDS):
    """Raises TooSlowError in a block that takes longer."""

    def stop(*_):
        raise TooSlowError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Memory:
    """The most memory that a block takes beyond what the process had, in bytes."""

    def __enter__(self):
        self._before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        return self

    def __exit__(self, *_):
        self.used = _memory("VmHWM") - self._before


def _memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def damage_bytes(rng, content):
    """Returns what was done, and the damaged bytes of a file, of which most harm is at the head."""
    content = bytearray(content)
    near = min(len(content), 256) if rng.random() < 0.6 else len(content)
    place = rng.randrange(max(near, 1))
    how = rng.choices(
        ["flip", "huge", "zero", "cut", "grow", "empty", "random"], [4, 4, 2, 2, 1, 1, 1]
    )
    match how[0]:
        case "flip":
            for _ in range(rng.randint(1, 8) if content else 0):
                content[rng.randrange(near)] = rng.randrange(256)
        case "huge" | "zero":
            width = rng.choice([1, 2, 4, 8])
            content[place : place + width] = (b"\xff" if how == "huge" else b"\0") * width
        case "cut":
            del content[place:]
        case "grow":
            content[place:place] = rng.randbytes(64)
        case "empty":
            content.clear()
        case "random":
            content = bytearray(rng.randbytes(200))
    return f"{how} at {place}", bytes(content)
