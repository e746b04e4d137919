"""One word for one thing: parameters of everything public, and plain American English."""

import ast
import dataclasses
import importlib
import inspect
import re
import tokenize
from pathlib import Path
from types import ModuleType

import pytest

import jaxdl

SOURCE = Path(jaxdl.__file__).parent
ROOT = Path(__file__).parents[1]

ROW = re.compile(r"\| (`.+) \| .+ \|(.*)\|")


def read_vocabulary() -> dict[str, str]:
    """Words that docs/vocabulary.md rules out as names of parameters, with the better ones."""
    found = {}
    for line in (ROOT / "docs" / "vocabulary.md").read_text().splitlines():
        if row := ROW.fullmatch(line):
            found |= dict.fromkeys(row[2].replace(",", " ").split(), row[1])
    return found


INSTEAD_OF = read_vocabulary()
# The exceptions that the page names.
IN_ANOTHER_SENSE = {
    "jaxdl.config.Run": "seed",
    "jaxdl.data.sources.VideoFrames": "seed",
    "jaxdl.optim.recipe": "optimizer",
    "jaxdl.losses.with_mixed_labels": "weight",
}


def packages() -> list[str]:
    found = ["jaxdl.metrics", "jaxdl.tree", "jaxdl.types", "jaxdl.config"]
    for path in SOURCE.rglob("__init__.py"):
        found.append(".".join(("jaxdl", *path.relative_to(SOURCE).parts[:-1])))
    return sorted(found)


def public() -> dict[str, object]:
    """Everything public by its dotted name, modules left out."""
    found = {}
    for package in packages():
        module = importlib.import_module(package)
        names = getattr(module, "__all__", None)
        if names is None:
            names = [
                name
                for name, value in vars(module).items()
                if not name.startswith("_") and getattr(value, "__module__", "") == package
            ]
        for name in names:
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                found[f"{package}.{name}"] = value
    return found


PUBLIC = public()


def parameters(value: object) -> list[str]:
    """The parameters of a function, of a class and of its public methods."""
    if inspect.isclass(value):
        names = [field.name for field in dataclasses.fields(value)] if is_record(value) else []
        methods = [
            method
            for name, method in vars(value).items()
            if inspect.isfunction(method) and (not name.startswith("_") or name == "__call__")
        ]
        if not is_record(value) and "__init__" in vars(value):
            methods.append(value.__init__)
        return names + [name for method in methods for name in parameters(method)]
    if not callable(value):
        return []
    try:
        return list(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return []


def is_record(value: type) -> bool:
    return dataclasses.is_dataclass(value)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_parameters_follow_the_vocabulary(name):
    wrong = {word: INSTEAD_OF[word] for word in parameters(PUBLIC[name]) if word in INSTEAD_OF}
    wrong.pop(IN_ANOTHER_SENSE.get(name, ""), None)
    assert not wrong, f"{name}: use {wrong}"


def test_the_page_of_the_vocabulary_is_read():
    assert INSTEAD_OF["lr"] == "`learning_rate`"
    assert INSTEAD_OF["root"] == "`workdir`"
    assert len(INSTEAD_OF) > 30


@pytest.mark.parametrize(("name", "word"), IN_ANOTHER_SENSE.items())
def test_exceptions_are_in_use_and_on_the_page(name, word):
    assert word in parameters(PUBLIC[name])
    page = (ROOT / "docs" / "vocabulary.md").read_text()
    assert f"`{word}`" in page
    assert f"`{name.removeprefix('jaxdl.')}`" in page


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_everything_public_is_documented(name):
    value = PUBLIC[name]
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"{name} has no docstring"


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_calls_of_layers_are_documented(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name == "__call__":
            assert ast.get_docstring(node), f"{path}:{node.lineno}"


OPENINGS = re.compile(r"(What|How|Which|Where|Whether|When|Why)\b")
DIALECT = re.compile(
    r"(?<!there )\bis no (?!longer|more|less)[a-z]+\b|, say[,.)\s]|\bthose who\b|\bwants to be\b|"
    r"\bof (your|its|their) own\b|\bgoes on\b|\bshall\b|\bCounterpart:|, perhaps\b|\bunder way\b|"
    r"\bcounts nowhere\b|\bcut short\b|\bannounces\b",
)
FSTRING_MIDDLE = getattr(tokenize, "FSTRING_MIDDLE", -1)  # Python 3.12 and later
TEXT = (tokenize.STRING, tokenize.COMMENT, FSTRING_MIDDLE)
# Also inside names, as in test_gray_images.
BRITISH = re.compile(
    r"normalis|initialis|quantis|capitalis|equalis|colour|grey|neighbour|serialis|optimis(?!t|m)|"
    r"behaviour|centre|labell|licence",
    re.IGNORECASE,
)


def prose() -> list[Path]:
    """Every file with text of ours, but for this one, which has to name what it forbids."""
    found = [SOURCE, *(ROOT / name for name in ("docs", "experiments", "tests"))]
    files = [path for folder in found for path in folder.rglob("*.py")]
    files += [path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md")]
    return sorted(path for path in files if path != Path(__file__))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT if path.is_relative_to(ROOT) else SOURCE))


def parts(path: Path) -> list[tuple[int, str]]:
    """Lines of a page; the strings, comments and names of a program."""
    if path.suffix != ".py":
        return list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    with path.open("rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type in (*TEXT, tokenize.NAME)]
    return [(token.start[0], token.string) for token in tokens]


@pytest.mark.parametrize("path", prose(), ids=name_of)
def test_plain_american_english(path):
    text = path.read_text(encoding="utf-8")
    if DIALECT.search(text) or BRITISH.search(text):  # perhaps in code, as in f(x, say)
        for line, part in parts(path):
            found = DIALECT.search(part) or BRITISH.search(part)
            assert not found, f"{path}:{line}: {found[0]!r}"


@pytest.mark.parametrize("path", [p for p in prose() if p.suffix == ".py"], ids=name_of)
def test_docstrings_name_the_thing(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            assert not OPENINGS.match(first), f"{path}: {first}"
