"""A change of a public signature is noticed by name."""

import json
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"

sys.path.insert(0, str(DOCS))
import public_api  # noqa: E402

sys.path.remove(str(DOCS))


def test_the_public_signatures_are_the_recorded_ones():
    record = json.loads(public_api.RECORD.read_text(encoding="utf-8"))
    assert public_api.differences(record, public_api.signatures()) == [], (
        "if the change is meant: python docs/public_api.py"
    )
    assert "gamma=2.0" in record["jaxdl.losses.focal"]
    assert record["jaxdl.models.MLP"].startswith("(features=(512, 512, 10), activation=relu")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"f": "(x, *, rate=0.1)"}, "f was (x, *, lr=0.1), is (x, *, rate=0.1)"),
        ({}, "f(x, *, lr=0.1) is gone"),
        ({"f": "(x, *, lr=0.1)", "g": "()"}, "g() is new"),
    ],
)
def test_a_change_is_named(changed, message):
    assert public_api.differences({"f": "(x, *, lr=0.1)"}, changed) == [message]


@pytest.mark.parametrize("page", public_api.PAGES)
def test_every_public_name_has_a_docstring(page):
    module = __import__(f"jaxdl.{page}", fromlist=["_"])
    without = [
        name
        for name in public_api.public_names(module)
        if not (getattr(module, name).__doc__ or "").strip()
    ]
    assert without == []
