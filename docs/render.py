"""Renders the tables of docs/results.json into README.md and docs/*.md.

    python docs/render.py            # rewrite the tables
    python docs/render.py --check    # exit 1 where a file is out of date

A page asks for a table by a pair of comments, and everything between them is replaced:

    <!-- results: gans -->
    <!-- end -->

``<!-- dictionary: torch.nn -->`` asks for the rows of src/jaxdl/pytorch.toml of that module;
``<!-- results: gans short -->`` leaves out note, commands and dates; ``<!-- results: gans 1,4 -->``
takes only these rows, counted from 1. ``<!-- experiments -->`` asks for the list of the experiments
with the first sentence and the first command of each.
"""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- results: ([^\n]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LIST = re.compile(r"(<!-- experiments -->\n).*?(<!-- end -->)", re.DOTALL)


DICTIONARY = re.compile(r"(<!-- dictionary: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    experiments = list_experiments()
    dictionary = DOCS.parent / "src" / "jaxdl" / "pytorch.toml"
    names = tomllib.loads(dictionary.read_text(encoding="utf-8"))
    results = json.loads((DOCS / "results.json").read_text(encoding="utf-8"))
    stale = []
    for page in sorted([DOCS.parent / "README.md", *DOCS.rglob("*.md")]):
        before = page.read_text(encoding="utf-8")
        after = BLOCK.sub(lambda match: fill(match, results), before)
        after = LIST.sub(lambda match: f"{match[1]}\n{experiments}\n\n{match[2]}", after)
        after = DICTIONARY.sub(lambda match: list_names(match, names), after)
        if after != before:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(after, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run python docs/render.py", file=sys.stderr)
        return 1
    return 0


def list_experiments() -> str:
    lines = ["| experiment | command |", "|---|---|"]
    folder = DOCS.parent / "experiments"
    for path in [*sorted(folder.glob("*.py")), *sorted((folder / "tutorials").glob("*.py"))]:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = docstring.splitlines()[0]
        command = re.search(r"^ +(python .*)$", docstring, flags=re.MULTILINE)
        if command is None:
            raise ValueError(f"{path}: the docstring has no command.")
        link = f"[{path.stem}](../{path.relative_to(DOCS.parent)})"
        lines.append(f"| {link}: {first} | `{command[1]}` |")
    return "\n".join(lines)


def list_names(match: re.Match[str], names: dict[str, dict[str, str]]) -> str:
    """The rows of one module, without those of its submodules."""
    rows = ["| PyTorch | here | difference |", "|---|---|---|"]
    for name, row in names.items():
        module, _, last = name.rpartition(".")
        if module == match[2]:
            ours = ", ".join(f"`{part}`" for part in row["jax"].split(", "))
            note = row.get("difference", "").replace("|", "\\|")
            rows.append(f"| `{last}` | {ours} | {note} |")
    if len(rows) == 2:
        raise ValueError(f"the dictionary has no names of {match[2]}.")
    return match[1] + "\n" + "\n".join(rows) + "\n\n" + match[3]


def fill(match: re.Match[str], results: dict) -> str:
    name, *options = match[2].split()
    table = results["tables"][name]
    rows, short = table["rows"], "short" in options
    for option in options:
        if option != "short":
            rows = [rows[int(number) - 1] for number in option.split(",")]
    lines = table_lines(table["columns"], rows)
    if not short:
        lines = [table["note"], "", *lines, "", *measured(rows, results["machines"])]
        lines += ["", *commands(rows, table["columns"])]
    return match[1] + "\n" + "\n".join(lines) + "\n\n" + match[3]


def table_lines(columns: dict[str, str], rows: list[dict]) -> list[str]:
    """A table in Markdown; integers of more than three digits get commas."""

    def cell(value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = ["| " + " | ".join(columns.values()) + " |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(cell(row[key]) for key in columns) + " |" for row in rows]


def measured(rows: list[dict], machines: dict[str, str]) -> list[str]:
    """Machine and date of each row, in one sentence if they are all the same."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows, 1):
        groups.setdefault((row["machine"], row["date"]), []).append(number)
    lines = []
    for (machine, date), numbers in groups.items():
        which = "" if len(groups) == 1 else f"Rows {', '.join(map(str, numbers))}: "
        lines.append(f"{which}{date}, {machines[machine]}.")
    return ["\n\n".join(lines)]


def commands(rows: list[dict], columns: dict[str, str]) -> list[str]:
    """The commands behind the rows, folded."""
    first = next(iter(columns))
    distinct = {}
    for row in rows:
        distinct.setdefault(row["command"], row[first])
    lines = ["<details><summary>Commands</summary>", "", "```sh"]
    for command, what in distinct.items():
        lines += [f"# {what}"] if len(distinct) > 1 else []
        lines += [command]
    return [*lines, "```", "", "</details>"]


if __name__ == "__main__":
    sys.exit(main())
