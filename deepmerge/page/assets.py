"""The files of this package that pages are made of, and what a page may do."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template

import deepmerge
from deepmerge.page.markup import Html, shown


def asset(name: str) -> str:
    """Return the text of a file of this package."""
    return files("deepmerge.page").joinpath(name).read_text(encoding="utf-8")


def head(title: str, style: Html, script: Html) -> Html:
    """Return the head of a page that runs this script alone. title: a text."""
    filled = Template(asset("head.html")).substitute(
        policy=_policy(script, style), version=shown(deepmerge.__version__), title=shown(title), style=style
    )
    return Html(filled.rstrip("\n"))


def _policy(script: str, style: str) -> Html:
    """Return what the page may do: run its own script, by its hash; no other, no request, no form."""
    own, look = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style))
    return shown(
        f"default-src 'none'; script-src 'sha256-{own}'; style-src 'sha256-{look}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
