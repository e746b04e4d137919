"""The code in the documentation runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


PAGES = (  # noqa: SIM905
    "custom_loss custom_step custom_data from_flax gans getting_started reproducibility training"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(name, tmp_path, monkeypatch):
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {"__name__": name})


def sections(path):
    """The shared first block of a how-to page, and the code of each section by its question."""
    head, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (shared,) = re.findall(r"```python\n(.*?)```", head, flags=re.DOTALL)
    for part in parts:
        blocks = re.findall(r"```python\n(.*?)```", part, flags=re.DOTALL)
        yield part.splitlines()[0], "\n".join([shared, *blocks])


HOW_TO = [
    pytest.param(code, id=f"{path.stem}: {question}")
    for path in sorted((DOCS / "how_to").glob("*.md"))
    if path.stem != "index"
    for question, code in sections(path)
]


@pytest.mark.slow
@pytest.mark.parametrize("code", HOW_TO)
def test_the_code_of_a_question_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {"__name__": "how_to"})


def test_the_index_lists_every_question():
    index = (DOCS / "how_to" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(.*)\]\((\w+)\.md#", index, flags=re.MULTILINE)
    pages = dict.fromkeys(page for _, page in listed)
    assert [question for question, _ in listed] == [
        question for page in pages for question, _ in sections(DOCS / "how_to" / f"{page}.md")
    ]
    assert len(pages) == len(list((DOCS / "how_to").glob("*.md"))) - 1


@pytest.mark.slow
def test_the_readmes_screen_of_code_runs(tmp_path, monkeypatch):
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(block.replace("num_epochs=5", "num_epochs=1"), names)
    assert names["history"][-1]["test/accuracy"] > 0.3
    assert (tmp_path / "runs" / "first" / "metrics.jsonl").exists()
