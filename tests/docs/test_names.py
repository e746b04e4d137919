"""Names and messages on the pages are those of the library."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import jaxdl

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "how_to").glob("*.md"))
PACKAGES = "|".join(sorted(jaxdl.__all__))
NAME = re.compile(rf"`(?:jaxdl\.)?((?:{PACKAGES})(?:\.\w+)+)")


def exists(name):
    """Returns True if imports and attributes reach a dotted name below jaxdl."""
    value = jaxdl
    for part in name.split("."):
        if not hasattr(value, part):
            try:
                importlib.import_module(f"{value.__name__}.{part}")
            except (ImportError, AttributeError):
                return False
        value = getattr(value, part)
    return True


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_every_name_on_a_page_exists(path):
    text = path.read_text(encoding="utf-8")
    if path.stem.startswith("from_"):  # the first column has the names of the others
        text = re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE)
    found = NAME.findall(text)
    names = {name for name in found if not name.endswith((".json", ".jsonl", ".safetensors"))}
    assert [name for name in sorted(names) if not exists(name)] == []


def messages_of_the_source():
    """Every text in the source, with a placeholder for each value in it."""
    texts = []
    for path in (ROOT / "src" / "jaxdl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_library():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = [
        message
        for message in re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
        if " " in message and not message.startswith(("RESOURCE_EXHAUSTED", "Incompatible"))
    ]
    assert len(messages) > 15
    texts = messages_of_the_source()
    for message in messages:
        pattern = ".*".join(re.escape(part) for part in message.split("…"))
        assert any(re.search(pattern, text, flags=re.DOTALL) for text in texts), message
