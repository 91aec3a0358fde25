"""The documentation: Sphinx with the furo theme; `make docs` builds it without a network.

Sphinx and not MkDocs: autodoc reads the docstrings' numpy sections, sphinx-click reads the commands, cross-references
and anchors are checked, and furo brings its fonts and scripts along.
"""

from __future__ import annotations

import sys
from pathlib import Path

import deepmerge
from deepmerge.passes.registry import PASSES

HERE = Path(__file__).parent

project = "deepmerge"
author = "the deepmerge developers"
copyright = author
release = version = deepmerge.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "schemas/*", "reference/passes.head.md"]
smartquotes = False  # two hyphens are an option, not a dash
nitpick_ignore_regex = [(r"py:.*", r".*")]  # types of numpy and pathlib, whose indexes are not fetched
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"

html_theme = "furo"
html_title = f"deepmerge {release}"
html_static_path = ["_static"]
html_css_files = ["wide-tables.css"]
html_extra_path = ["schemas"]
html_show_sphinx = False

ACCURACY = {True: "Exact.", False: "Approximate: fine-tune or recover the network afterwards."}


def write_passes(_app: object) -> None:
    """Write reference/passes.md from the docstrings of the passes."""
    head = (HERE / "reference/passes.head.md").read_text(encoding="utf-8")
    parts = [head]
    for name, kind in PASSES.items():
        summary, _, drawing = (sys.modules[kind.__module__].__doc__ or "").strip().partition("\n")
        parts.append(f"## {name}\n\n{summary}\n\n*{ACCURACY[kind.exact]}*\n\n```text\n{drawing.strip()}\n```\n")
    (HERE / "reference/passes.md").write_text("\n".join(parts), encoding="utf-8")


def setup(app: object) -> None:
    """Register what is written before each build."""
    app.connect("builder-inited", write_passes)  # type: ignore[attr-defined]
