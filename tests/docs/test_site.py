"""The site: built without a warning, complete, and whole without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pages import DOCS, ROOT

import hfdistill


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag == "a":
            self.links.append(found.get("href") or "")
        elif tag in ("script", "img", "iframe") or (tag == "link" and found.get("rel") == "stylesheet"):
            self.loaded.append(found.get("src") or found.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it, where a warning is an error; its pages by their path."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    return {path: Page(path) for path in folder.rglob("*.html") if path.name != "404.html"}


def test_links_and_anchors_lead_somewhere(site):
    for path, page in site.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name} links to {link}"
            assert not parts.fragment or target not in site or unquote(parts.fragment) in site[target].ids, link


def test_nothing_is_loaded_from_elsewhere(site):
    for path, page in site.items():
        assert not [link for link in page.loaded if urlsplit(link).netloc], path.name
        assert "cdn" not in path.read_text(encoding="utf-8").lower()


def test_every_public_name_has_its_entry(site):
    there = set().union(*(page.ids for path, page in site.items() if path.parent.name == "reference"))
    modules = hfdistill._MODULES
    assert not [name for name in modules if not {f"hfdistill.{name}", f"{modules[name]}.{name}"} & there]


def test_formulas_need_no_script(site):
    texts = [path.read_text(encoding="utf-8") for path in site]
    assert any('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text for text in texts)
    assert not any("arithmatex" in text for text in texts)


def test_every_page_is_in_the_menu():
    menu = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert written == set(menu)
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["strict"]
