"""What MkDocs lacks: figures that stand beside their measurements, and formulas without a script."""

from __future__ import annotations

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = "recipes/benchmarks/results"
#: What `pymdownx.arithmatex` makes of `$...$` and of `$$...$$`.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the plots of the benchmarks, which their scripts draw where the figures are."""
    for path in sorted((ROOT / RESULTS).glob("*/*.png")):
        name = path.relative_to(ROOT / RESULTS).as_posix()
        files.append(File.generated(config, f"assets/results/{name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Leads links to those plots, which are right in the repository, to where the site has them."""
    return markdown.replace(f"../{RESULTS}/", "assets/results/")


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML, which browsers show by themselves."""
    return FORMULA.sub(lambda found: _mathml(found[2], "inline" if found[1] == "span" else "block"), content)


def _mathml(latex: str, display: str) -> str:
    return convert(html.unescape(latex).strip(), display=display)
