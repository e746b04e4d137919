"""Every figure in the documentation says where it comes from, and its command still parses."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl import config

ROOT = Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
ROWS = [
    (name, number, row)
    for name, table in RESULTS["tables"].items()
    for number, row in enumerate(table["rows"], 1)
]


def test_the_tables_in_the_pages_are_those_of_results_json():
    ended = subprocess.run(
        [sys.executable, ROOT / "docs" / "render.py", "--check"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("name", "number", "row"), ROWS, ids=lambda value: str(value)[:20])
def test_every_row_has_machine_date_command_and_all_columns(name, number, row):
    assert row["machine"] in RESULTS["machines"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["date"])
    assert row.keys() >= RESULTS["tables"][name]["columns"].keys()


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def written_commands() -> list[str]:
    """Commands of experiments in their own docstrings and on the pages, as they stand there."""
    files = [*(ROOT / "experiments").rglob("*.py"), *pages()]
    lines = "\n".join(path.read_text(encoding="utf-8") for path in files)
    found = re.findall(r"^(?: {4})?(python experiments/.*)$", lines, flags=re.MULTILINE)
    return sorted({*found, *(row["command"] for _, _, row in ROWS)})


@pytest.mark.parametrize("command", written_commands())
def test_every_command_can_be_run(command):
    python, script, *arguments = shlex.split(command)
    assert python == "python"
    path = ROOT / script
    assert path.is_file()
    flags = [argument.lstrip("-") for argument in arguments if argument.startswith("--")]
    if path.parent.name == "benchmarks":
        source = path.read_text(encoding="utf-8")
        assert all(flag in source for flag in flags)
    else:
        experiment = importlib.import_module(path.stem)
        config.parse(experiment.Config, arguments)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "api/")):  # the site has pages that it generates
            assert (page.parent / target).exists(), target


def test_the_front_page_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
