"""The documentation: Sphinx with the furo theme; `make docs` builds it without a network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import deepmerge  # noqa: E402

project = "deepmerge"
author = "the deepmerge developers"
copyright = author
release = version = deepmerge.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "schemas/*"]
default_role = "literal"
smartquotes = False  # two hyphens are an option, not a dash
nitpick_ignore_regex = [(r"py:.*", r".*")]  # types of numpy and pathlib, whose indexes are not fetched
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"deepmerge {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_extra_path = ["schemas"]
html_show_sphinx = False


def setup(app: object) -> None:
    """Register what is written before each build."""
    app.connect("builder-inited", lambda _app: generate.main())  # type: ignore[attr-defined]
