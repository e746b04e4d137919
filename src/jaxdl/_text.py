"""Text for people: tables, shortened names, plurals, and ``"float32[3, 2]"``."""

import json
import numbers
import re
from collections.abc import Sequence


def align_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    align: str | None = None,
    markdown: bool = False,
) -> str:
    """Aligns the columns of a table.

    Args:
        header: names of the columns; an empty header is left out of plain text.
        rows: one entry per column; integers get commas, the rest is ``str(entry)``.
        align: one ``"<"`` or ``">"`` per column; None aligns columns of numbers to the right.
        markdown: write Markdown rather than plain text.

    Raises:
        ValueError: a row of another length than the header.

    >>> print(align_table(["name", "count"], [["Dense_0/bias", 4640]]))
    name          count
    Dense_0/bias  4,640
    >>> print(align_table(["metric", "a", "b"], [["epochs", "3", "10"]], markdown=True))
    | metric | a | b  |
    | ------ | - | -- |
    | epochs | 3 | 10 |
    """
    num_columns = len(header) or len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != num_columns:
            raise ValueError(
                f"row {index} must have {num_columns} entries, one for each of {list(header)}, "
                f"got {len(row)}."
            )
    if align is None:
        align = "".join(
            ">" if rows and all(_is_number(row[column]) for row in rows) else "<"
            for column in range(num_columns)
        )
    write = _markdown_cell if markdown else _cell
    lines = [[write(entry) for entry in line] for line in ([header] if header else []) + [*rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(num_columns)]
    padded = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(line, align, widths, strict=True)]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in padded)
    rule = [
        "-" * max(width - 1, 1) + ":" if side == ">" else "-" * max(width, 1)
        for width, side in zip(widths, align, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _is_number(entry: object) -> bool:
    return isinstance(entry, numbers.Real) and not isinstance(entry, bool)


def _cell(entry: object) -> str:
    if isinstance(entry, numbers.Integral) and not isinstance(entry, bool):
        return f"{entry:,}"
    return " ".join(str(entry).splitlines())


def _markdown_cell(entry: object) -> str:
    return _cell(entry).replace("|", "\\|")


def shorten(text: str, length: int = 14, *, keep_end: bool = False) -> str:
    """Shortens text to ``length`` characters with an ellipsis at the end, or the beginning.

    >>> shorten("chrysanthemum", 8), shorten("chrysanthemum", 8, keep_end=True)
    ('chrysan…', '…nthemum')
    """
    if len(text) <= length:
        return text
    return "…" + text[1 - length :] if keep_end else text[: length - 1] + "…"


def shorten_lines(lines: Sequence[str], limit: int = 5) -> str:
    """Joins the first lines of a list for a message, with the number of the others."""
    more = [f"… and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n  ".join([*lines[:limit], *more])


def plural(number: int, noun: str, plural_noun: str | None = None) -> str:
    """Formats a number with its noun.

    >>> plural(1, "problem"), plural(2, "problem"), plural(1200, "leaf", "leaves")
    ('1 problem', '2 problems', '1,200 leaves')
    """
    return f"{number:,} {noun if number == 1 else plural_noun or noun + 's'}"


def format_form(dtype: object, shape: Sequence[int]) -> str:
    """Formats dtype and shape of an array.

    >>> format_form("float32", (3, 2))
    'float32[3, 2]'
    """
    return f"{dtype}{list(shape)}"


def parse_form(text: str) -> tuple[str, tuple[int, ...]]:
    """Parses the text of :func:`format_form` to dtype name and shape.

    Raises:
        ValueError: another text.

    >>> parse_form("float32[3, 2]"), parse_form("key<fry>[]")
    (('float32', (3, 2)), ('key<fry>', ()))
    """
    match = re.fullmatch(r"([^\[\]]+)(\[(?:\d+(?:, *\d+)*)?\])", text)
    if match is None:
        raise ValueError(f"expected a dtype and a shape such as 'float32[3, 2]', got {text!r}.")
    return match[1], tuple(json.loads(match[2]))
