"""Reads every file of a folder as weights and tells, as JSON, what came of it.

    python hostile_reader.py FOLDER

Run by tests/interop/test_hostile.py in a separate process, whose memory is limited and in which
an audit hook sees every file that is opened, every import, every call of the shell.
"""

import codecs
import json
import mmap  # noqa: F401  # NumPy imports it late
import resource
import sys
import tracemalloc
from pathlib import Path

from jaxdl.interop import read_weights

HARMLESS = {
    "mmap.__new__",  # the file itself, as the event "open" before it shows
    "sys._getframe",
    "builtins.id",
}
SPARE_BYTES = 512 * 2**20


def main(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in (paths[0], paths[-1]):
        attempt(path)  # what is imported late is imported now
    for encoding in ("cp437", "raw_unicode_escape"):  # of names in archives, and of text in pickles
        codecs.lookup(encoding)
    events: list[str] = []
    current = [""]

    def see(event: str, arguments: tuple) -> None:
        if not current[0] or event in HARMLESS:
            return
        if event == "open" and str(arguments[0]) == current[0]:
            return
        events.append(f"{event} {arguments!r}"[:200])

    sys.addaudithook(see)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tracemalloc.start()
    results = {}
    for path in paths:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        current[0] = str(path)
        found, reason = attempt(path)
        current[0] = ""
        peak = tracemalloc.get_traced_memory()[1] - before
        results[str(path.relative_to(folder))] = result = {
            "reason": reason,
            "peak": peak,
            "events": events.copy(),
        }
        if found is not None:
            result["bytes"] = sum(array.nbytes for array in found.values())
            # every number can be read: none lies behind the end of the file
            result["sum"] = sum(int(array.tobytes().count(7)) for array in found.values())
        events.clear()
    print(json.dumps(results))


def attempt(path: Path) -> tuple[dict | None, str]:
    try:
        return read_weights(path), ""
    except ValueError as error:
        return None, str(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
