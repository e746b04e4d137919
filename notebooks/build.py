"""Build the notebooks: run every cell of notebooks/src/*.py and write the .ipynb with outputs.

    python notebooks/build.py                  # all of them, as readers see them
    python notebooks/build.py 01 03            # those whose names begin so
    python notebooks/build.py --small          # in small settings, as CI does; writes nothing

Each source is a script in jupytext's percent format, so it can be edited, reviewed and linted as
Python. Each notebook runs in a kernel of its own, in an empty folder; two run at a time. The exit
status is 1 if a cell fails, and the message names the file and the cell. JAXDL_DATA_DIR may name a
folder of data sets (see docs/data.md); without it the notebooks use what needs no download.
"""

import argparse
import concurrent.futures
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat

import jaxdl

FOLDER = Path(__file__).resolve().parent
MAX_BYTES = 500_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|opt|var|Users|content)/\S*")


def find_sources(names: list[str]) -> list[Path]:
    """Sources whose names begin with one of ``names``, or all of them."""
    paths = sorted((FOLDER / "src").glob("[0-9]*.py"))
    for name in names:
        if not any(path.name.startswith(name) for path in paths):
            raise ValueError(f"no notebook begins with {name!r}; there are: {_names(paths)}")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def read_source(path: Path) -> nbformat.NotebookNode:
    """Notebook without outputs, with the version of the library in its metadata."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata.pop("jupytext", None)
    notebook.metadata.jaxdl.version = jaxdl.__version__
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # not random, so that a rebuild changes only what changed
    return notebook


def execute(notebook: nbformat.NotebookNode, *, small: bool, timeout: int) -> None:
    """Runs all cells in an empty folder; the outputs go into ``notebook``."""
    environment = dict(os.environ, JAX_PLATFORMS=os.environ.get("JAX_PLATFORMS", "cpu"))
    found = [str(Path(jaxdl.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))  # of this process too
    environment["JAX_PPRINT_USE_COLOR"] = "0"  # no escape codes in a jaxpr
    environment.pop("JAXDL_SMALL", None)
    if small:
        environment["JAXDL_SMALL"] = "1"
        if not notebook.metadata.jaxdl.get("optimized"):  # most of the time is compilation
            environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if data_dir := environment.get("JAXDL_DATA_DIR"):
        environment["JAXDL_DATA_DIR"] = str(Path(data_dir).resolve())
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=environment)


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Writes the notebook; outputs that are too large or hold an absolute path are refused."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _join_streams(cell.outputs)
        if found := ABSOLUTE_PATH.search(str(cell.get("outputs", ""))):
            raise ValueError(f"{path.name}: the output of cell {number} has the path {found[0]}")
    text = nbformat.writes(notebook)
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path.name}: {len(text):,} bytes, expected at most {MAX_BYTES:,}")
    path.write_text(text + "\n", encoding="utf-8")


def build(path: Path, *, small: bool, timeout: int) -> tuple[float, str]:
    """Seconds that a notebook took, and the reason if it failed."""
    start = time.perf_counter()
    notebook = read_source(path)
    try:
        execute(notebook, small=small, timeout=timeout)
        if not small:
            write(notebook, FOLDER / path.with_suffix(".ipynb").name)
        failure = ""
    except nbclient.exceptions.CellExecutionError as error:
        number, cell = next((i, c) for i, c in enumerate(notebook.cells) if _failed(c))
        failure = f"cell {number}: {error.ename}: {error.evalue}\n{cell.source}\n"
    except (nbclient.exceptions.CellTimeoutError, ValueError) as error:
        failure = str(error)
    return time.perf_counter() - start, failure


def _join_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Joins pieces of one stream, which arrive as the kernel happens to flush them."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.get("name") and output.get("name") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _failed(cell: nbformat.NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", ()))


def _names(paths: list[Path]) -> str:
    return ", ".join(path.stem for path in paths)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="first letters of a notebook")
    parser.add_argument("--small", action="store_true", help="small settings; write nothing")
    parser.add_argument("--timeout", type=int, default=900, help="seconds a cell may take")
    parser.add_argument("--workers", type=int, default=2, help="notebooks at a time")
    options = parser.parse_args()
    start, failures = time.perf_counter(), 0
    sources = find_sources(options.names)
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        jobs = {
            pool.submit(build, path, small=options.small, timeout=options.timeout): path
            for path in sources
        }
        for job in concurrent.futures.as_completed(jobs):
            seconds, failure = job.result()
            failures += bool(failure)
            print(f"{jobs[job].stem:30} {seconds:6.1f} s  {failure or 'ok'}", flush=True)
    total = time.perf_counter() - start
    print(f"{len(sources)} notebooks, {failures} failed, {total:.0f} s in all")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
