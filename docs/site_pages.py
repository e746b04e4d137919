"""Sphinx extension of this site: pages of the API, notebooks, formulas and links.

- ``api/*.rst`` are generated from the public names of each package, which its stub or ``__all__``
  lists; a name without a docstring ends the build.
- ``notebooks/*.ipynb`` are copies of the built notebooks.
- Formulas become MathML here, so that pages need no script from elsewhere.
- Links of the pages that lead out of ``docs/`` lead to the repository.
"""

import importlib
import inspect
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from public_api import PAGES, public_names
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/jaxdl/jaxdl"
IN_A_DOCSTRING = re.compile(r"(?<=[( ,])([*|])(?=\w)|(?<=\w)(\|)(?= )")


def write_pages(app: Sphinx) -> None:
    """Writes the pages of the API and copies the notebooks."""
    api = DOCS / "api"
    api.mkdir(exist_ok=True)
    written = {"index.rst": index_page()}
    for package in PAGES:
        written[f"{package}.rst"] = package_page(f"jaxdl.{package}")
    for name, text in written.items():
        path = api / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    copies = DOCS / "notebooks"
    copies.mkdir(exist_ok=True)
    for notebook in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        shutil.copy2(notebook, copies)


def index_page() -> str:
    rows = []
    for package in PAGES:
        module = importlib.import_module(f"jaxdl.{package}")
        rows.append(f"   * - :doc:`{package} <{package}>`\n     - {summary(module, package)}")
    toc = "".join(f"   {package}\n" for package in PAGES)
    return (
        f"{heading('API', '=')}Everything public, by package. A name that is not here is private "
        "and may change.\n\n.. list-table::\n   :widths: 20 80\n\n" + "\n".join(rows) + "\n\n"
        f".. toctree::\n   :hidden:\n\n{toc}"
    )


def package_page(package: str) -> str:
    """One package: its docstring, a table of its names, and each of them by module."""
    module = importlib.import_module(package)
    by_module = defaultdict(list)
    for name in public_names(module):
        value = getattr(module, name)
        if not inspect.ismodule(value):
            summary(value, f"{package}.{name}")
            home = getattr(value, "__module__", None) or package
            by_module[home if home.startswith(package) else package].append(name)
    lines = [heading(package, "="), f".. automodule:: {package}\n   :no-members:\n"]
    lines.append(f".. currentmodule:: {package}\n")
    for home, names in sorted(by_module.items(), key=lambda item: item[0] != package):
        if len(by_module) > 1:
            lines.append(heading(section(home, package), "-"))
        table = "".join(f"   {name}\n" for name in names)
        lines.append(f".. autosummary::\n   :nosignatures:\n\n{table}")
        lines += [f".. auto{kind(getattr(module, name))}:: {name}\n" for name in names]
    return "\n".join(lines)


def heading(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n"


def section(home: str, package: str) -> str:
    """The title of a module: the first sentence of its docstring."""
    first = summary(importlib.import_module(home), home).split(": ")[0].split(". ")[0].rstrip(".")
    return "Types and functions" if home == package else first


def kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) and hasattr(value, "__code__") else "data"


def summary(value: Any, name: str) -> str:
    """The first line of a docstring.

    Raises:
        ValueError: there is none.
    """
    docstring = inspect.getdoc(value)
    if not docstring:
        raise ValueError(f"{name} is public and has no docstring.")
    return docstring.splitlines()[0]


def escape_shapes(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Marks ``(B, *T)`` and ``|t|`` of docstrings as text, not emphasis or a substitution."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("`")
            parts[::2] = [IN_A_DOCSTRING.sub(r"\\\g<0>", part) for part in parts[::2]]
            lines[number] = "`".join(parts)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, contnode: nodes.Element
) -> nodes.Element | None:
    """Finds a name that is public in another place than where it is defined.

    Names of other libraries, and private types in annotations, stay text. What a docstring refers
    to and nothing defines stays an error.
    """
    target, domain = node.get("reftarget", ""), node.get("refdomain")
    if domain != "py":
        return None
    last = target.rpartition(".")[2]
    objects = env.get_domain("py").objects
    homes = [entry for name, entry in objects.items() if name.endswith(f".{last}")]
    ours = target if target.startswith("jaxdl.") else f"{node.get('py:module')}.{target}"
    if exists(ours) and len(homes) == 1:
        uri = app.builder.get_relative_uri(node.get("refdoc"), homes[0].docname)
        uri = f"{uri}#{homes[0].node_id}"
        return nodes.reference("", "", contnode, internal=True, refuri=uri)
    is_type = node.get("reftype") in ("class", "exc") and not target.startswith("jaxdl.")
    return contnode if is_type or exists(target) else None


def exists(name: str) -> bool:
    """Returns True if a dotted name is an object of an installed library."""
    module, found = name, []
    while module:
        try:
            value = importlib.import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            found.insert(0, last)
            continue
        for attribute in found:
            value = getattr(value, attribute, None)
        return value is not None
    return False


def drop_return_type(app: Sphinx, domain: str, objtype: str, content: nodes.Element) -> None:
    """The docstrings say what is returned, with its shape."""
    for field in list(content.findall(nodes.field)):
        if field[0].astext() == "rtype":
            field.parent.remove(field)


def skip_what_others_define(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Linen's ``setup``, and fields that show the docstring of their default value."""
    function = getattr(value, "func", value)  # of a functools.partial
    home = (getattr(function, "__module__", None) or "").partition(".")[0]
    return True if name == "setup" or home in ("jax", "flax") else None


def visit_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    formula = latex2mathml.converter.convert(node.astext(), display="block")
    translator.body.append(f"<div>{formula}</div>")
    raise nodes.SkipNode


def link_to_repository(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links that lead out of the folder of pages, as the pages stand in a checkout."""
    text = source[0]
    text = re.sub(r"\]\((?:\.\./)+notebooks/(\d\d_\w+\.ipynb)\)", r"](notebooks/\1)", text)
    source[0] = re.sub(r"\]\((?:\.\./)+([^)]*)\)", rf"]({REPOSITORY}/tree/main/\1)", text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_to_repository)
    app.connect("autodoc-process-docstring", escape_shapes)
    app.connect("autodoc-skip-member", skip_what_others_define)
    app.connect("missing-reference", resolve)
    app.connect("object-description-transform", drop_return_type, priority=900)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
