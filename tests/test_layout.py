"""The folders show the architecture: imports go down one list only."""

import ast
import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import jaxdl

SOURCE = Path(jaxdl.__file__).parent

# A module or package may import those before it and nothing after. Inside a package the order is
# free, as long as there is no circle.
ORDER = (  # noqa: SIM905
    "_extras _pytorch_names _lazy _text _versions _files _lock types _jaxpr _checks _machine "
    "tree _loading nn _program losses metrics optim text models transforms data checkpoint "
    "tensorboard plots config train sweep generative interop export cli __main__"
).split()

FAMILIES = {"models", "data.sources"}  # one family or one format per file
MAX_CHILDREN = 12
MAX_PUBLIC_NAMES = 313
TESTED_ELSEWHERE = {
    "data.sources._table_reader": "data/sources/test_tables.py",  # by the sources that read so
    "data.sources._tfds_build": "data/sources/test_tfds.py",  # whose fixtures are built by it
    "export.onnx": "onnx_parity/test_classifiers.py",  # in a separate environment
}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module below jaxdl; "" for jaxdl itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {name_of(path) for path in modules()}


def imports_of(path: Path) -> set[str]:
    """The modules below jaxdl that a file imports anywhere: in functions and type checks too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # a submodule, or a name that the package itself offers
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    below = (name.removeprefix("jaxdl").removeprefix(".") for name in found if is_jaxdl(name))
    return {resolve(name) for name in below}


def is_jaxdl(name: str) -> bool:
    return name == "jaxdl" or name.startswith("jaxdl.")


def resolve(name: str) -> str:
    """The longest prefix of a dotted name that is a module."""
    while name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def place(name: str) -> int:
    first = name.partition(".")[0]
    return ORDER.index(first) if first else len(ORDER)


def test_every_module_has_its_place():
    tops = {name.partition(".")[0] for name in NAMES} - {""}
    assert tops == set(ORDER)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_list(path):
    name = name_of(path)
    for other in imports_of(path):
        if name != "" and other != name:
            assert place(other) <= place(name), f"{name} imports {other}"


def test_no_circles():
    graph = {name_of(path): imports_of(path) - {name_of(path), ""} for path in modules()}
    # a package's __init__ gathers its modules, which therefore do not import it
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " imports ".join((*trail, name))
        if name in done:
            return
        for other in graph[name]:
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_private_modules_are_imported_by_their_package_only(path):
    package = name_of(path).partition(".")[0]
    for other in imports_of(path):
        owner, _, inner = other.partition(".")
        if owner != package:
            private = [part for part in inner.split(".") if part.startswith("_")]
            assert not private, f"{name_of(path)} imports {other}"


def children(folder: Path) -> list[str]:
    return [
        path.name
        for path in folder.iterdir()
        if (path.suffix == ".py" or path.is_dir()) and not path.name.startswith("__")
    ]


def test_no_package_is_crowded():
    for path in modules():
        package = name_of(path)
        if path.name == "__init__.py" and package not in FAMILIES | {""}:
            found = children(path.parent)
            assert len(found) <= MAX_CHILDREN, f"{package}: {sorted(found)}"


def test_no_module_name_occurs_twice():
    names = Counter(
        path.stem
        for path in modules()
        if path.stem != "__init__" and "cli" not in path.relative_to(SOURCE).parts
    )
    assert [name for name, count in names.items() if count > 1] == []


TESTS = Path(__file__).parent


def test_tests_mirror_the_source():
    for path in modules():
        if not path.stem.startswith("__"):
            place = path.relative_to(SOURCE).with_name(f"test_{path.stem.lstrip('_')}.py")
            assert (TESTS / TESTED_ELSEWHERE.get(name_of(path), place)).exists(), place
    experiments = TESTS.parent / "experiments"
    for path in experiments.glob("*.py"):
        assert (TESTS / "experiments" / f"test_{path.name}").exists(), path.name


def packages() -> list[str]:
    return sorted(name_of(path) for path in modules() if path.name == "__init__.py")


@pytest.mark.parametrize("package", packages())
def test_no_name_hides_a_module(package):
    offered = public_names(package)
    folder = SOURCE.joinpath(*package.split(".")) if package else SOURCE
    hidden = [
        name
        for name in offered
        if (folder / f"{name}.py").exists() and not is_module(f"{package}.{name}", package)
    ]
    assert hidden == []


def is_module(name: str, package: str) -> bool:
    parent = importlib.import_module(f"jaxdl.{package}" if package else "jaxdl")
    return isinstance(getattr(parent, name.rpartition(".")[2]), ModuleType)


def public_names(package: str) -> list[str]:
    module = importlib.import_module(f"jaxdl.{package}" if package else "jaxdl")
    return list(getattr(module, "__all__", []))


def test_public_names_are_few():
    values = {}
    for package in packages():
        for name in public_names(package):
            if not is_module(f"{package}.{name}", package):
                module = importlib.import_module(f"jaxdl.{package}" if package else "jaxdl")
                values.setdefault(id(getattr(module, name)), f"{package}.{name}")
    assert len(values) <= MAX_PUBLIC_NAMES, len(values)


def test_command_line_code_lives_in_cli():
    for path in modules():
        parts = path.relative_to(SOURCE).parts
        if parts[0] in ("cli", "__main__.py", "config.py"):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert "argparse" not in [alias.name for alias in node.names], path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno} prints"


def test_torch_is_imported_nowhere_but_in_interop():
    for path in modules():
        if path.relative_to(SOURCE).parts[0] == "interop":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "tensorflow") for name in names), path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_assert_in_the_source(path):
    statements = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
    assert not statements


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_attribute_is_hung_on_a_function(path):
    tree = ast.parse(path.read_text())
    functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                assert target.value.id not in functions, f"{path}:{node.lineno}"
