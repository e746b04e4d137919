"""Checks the built site: loads nothing from elsewhere, links lead somewhere, no name is missing.

    python docs/check_site.py build/docs

Prints what it found; the exit status is 1 if there is a problem.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from public_api import PAGES, public_names

import jaxdl

LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Anchors, links and loaded files of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"] or "")
        if (url := values.get(LOADS.get(tag, ""))) and values.get("rel") not in ("next", "prev"):
            self.loaded.add(url)


def problems_of(folder: Path) -> list[str]:
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        remote = [url for url in page.loaded if urlsplit(url).netloc]
        found += [f"{name} loads {url}" for url in sorted(remote)]
        for url in sorted(page.links | page.loaded - set(remote)):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name} leads to {url}, which does not exist")
            elif parts.fragment and target in pages:
                anchors = pages[target].anchors
                if unquote(parts.fragment) not in anchors:
                    found.append(f"{name} leads to {url}, which has no such place")
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    for package in PAGES:
        module = __import__(f"jaxdl.{package}", fromlist=["_"])
        for public in public_names(module):
            full = f"jaxdl.{package}.{public}"
            if full not in anchors and not isinstance(getattr(module, public), type(jaxdl)):
                found.append(f"{full} is public and not on the site")
    return found


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    problems = problems_of(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    count = len(list(folder.rglob("*.html")))
    print("\n".join([*problems, f"{count} pages, {size / 1e6:.0f} MB, {len(problems)} problems"]))
    return 1 if problems or not (folder / "searchindex.js").exists() else 0


if __name__ == "__main__":
    sys.exit(main())
