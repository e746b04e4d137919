"""Tables and forms of arrays as text."""

import numpy as np
import pytest

from jaxdl._text import align_table, parse_form, shorten, shorten_lines

ROWS = [["a|b", 0.5, 1234], ["c\nd", True, np.int64(5)]]


def test_numbers_are_aligned_to_the_right():
    assert align_table(["name", "value", "count"], ROWS).splitlines() == [
        "name  value  count",
        "a|b   0.5    1,234",
        "c d   True       5",
    ]


def test_markdown_escapes_bars():
    assert align_table(["name", "value", "count"], ROWS, markdown=True).splitlines() == [
        "| name | value | count |",
        "| ---- | ----- | ----: |",
        "| a\\|b | 0.5   | 1,234 |",
        "| c d  | True  |     5 |",
    ]


def test_a_table_without_rows_has_its_header():
    assert align_table(["a"], [], markdown=True) == "| a |\n| - |"


def test_a_table_without_a_header():
    assert align_table((), [["a", 1], ["long", 10]]) == "a      1\nlong  10"


def test_a_short_row_is_refused():
    with pytest.raises(ValueError, match=r"row 1 must have 2 entries, .* \['a', 'b'\], got 1"):
        align_table(["a", "b"], [[1, 2], [3]])


@pytest.mark.parametrize("text", ["", "float32", "float32[", "float32[3,]", "float32[-1]", "[3]"])
def test_other_text_is_not_a_form(text):
    with pytest.raises(ValueError, match="expected a dtype and a shape"):
        parse_form(text)


def test_a_shortened_text_has_the_length_that_was_asked_for():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
    assert shorten("abcdefg", 6, keep_end=True) == "…cdefg"


def test_shortened_lines_count_those_left_out():
    assert shorten_lines(["a", "b", "c"], limit=3) == "a\n  b\n  c"
    assert shorten_lines(["a", "b", "c", "d"], limit=2) == "a\n  b\n  … and 2 more"
