"""HTML that is safe by default: everything but `Html` is escaped, control characters included."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from deepmerge.names import for_html

_FOLDERS = re.compile(r'(?<![^\s(:="])/(?:[^/\s:;,]+/)+')  # not after a single quote: '/a/b' may be a layer


class Html(str):
    """Text that is HTML already, made by this package."""

    __slots__ = ()


def shown(value: Any) -> Html:
    """Return the value as HTML: Html unchanged, anything else escaped, for content and quoted attributes."""
    return value if isinstance(value, Html) else Html(for_html(value))


def element(tag: str, *content: Any, **attributes: Any) -> Html:
    """Return `<tag name="value">content</tag>`, the parts of the content one after the other.

    `class_` and the like lose their last underscore, other underscores become dashes. None and False leave an attribute
    out, True gives it no value.
    """
    text = f"<{tag}"
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            text += f" {name}"
        elif value is not None and value is not False:
            text += f' {name}="{shown(value)}"'
    return Html(f"{text}>{join(content)}</{tag}>")


def join(parts: Iterable[Any], between: str = "") -> Html:
    """Return the parts, each as `shown` makes it, one after the other."""
    return Html(between.join(shown(part) for part in parts))


def table(caption: Any, head: Sequence[Any], rows: Iterable[Sequence[Any]], right: str = "", class_: str = "") -> Html:
    """Return a table with a caption and row headers, in a box that scrolls if a phone is too narrow.

    right: one letter a column, r for numbers. The first column's cells are the rows' headers.
    """
    kind = ["n" if letter == "r" else None for letter in right.ljust(len(head))]
    top = [element("th", cell, scope="col", class_=k) for cell, k in zip(head, kind, strict=True)]
    body = []
    for first, *rest in rows:
        cells = [element("td", cell, class_=k) for cell, k in zip(rest, kind[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row", class_=kind[0]), *cells))
    parts = element("caption", caption), element("thead", element("tr", *top)), element("tbody", join(body, "\n"))
    made = element("table", join(parts, "\n"), class_=class_ or None)
    return element("div", made, class_="wide", tabindex="0", role="region", aria_label=f"Table: {plain(caption)}")


def without_folders(text: str, folders: Iterable[Path] = ()) -> str:
    """Return the text with absolute paths cut to their last names: whoever is given the page learns no home folder.

    folders: those that the text may name, beside the home folder; they are cut after any quote, and may hold spaces.
    """
    known = {str(folder).rstrip("/") for folder in (os.path.expanduser("~"), *folders)} - {""}
    for name in sorted(known, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}/(?:[^/\s:;,]+/)*", "", text)
    return _FOLDERS.sub("", text)


def used(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> tuple[list[Any], list[list[Any]]]:
    """Return a table's head and rows without the columns that are empty, the first one aside."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def written(form: Callable[[Any], str], value: Any) -> str:
    """Return the value in this form; "" if it is None."""
    return "" if value is None else form(value)


def plain(value: Any) -> str:
    """Return a caption's text for a label: all of it, or what comes before its first tag."""
    return html.unescape(str(value).split("<", 1)[0]).strip() if isinstance(value, Html) else str(value)


def data(value: Any) -> Html:
    """Return the value as JSON for a <script type="application/json">: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def code(name: Any) -> Html:
    """Return the name of a layer, blob or file as code."""
    return element("code", name)
