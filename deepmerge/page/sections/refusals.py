"""What was left alone, and why; and what a user should know."""

from __future__ import annotations

import re
from typing import Any

from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.page.sections.steps import names
from deepmerge.text import count

_MANY = 4  # from this many on, reasons that differ only in names and numbers share a row
_PARTICULARS = re.compile(r"'[^']*'|\b\d[\d,]*(\.\d+)?\b")


def refusals(report: dict[str, Any]) -> Html:
    """Return a row for each reason. Layers that a pass leaves alone for similar reasons share a row."""
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in report["refusals"]:
        kinds.setdefault((one["pass"], _PARTICULARS.sub("…", one["reason"])), []).append(one)
    rows = []
    for (pass_name, _), alike in kinds.items():
        reasons: dict[str, list[str]] = {}
        for one in alike:
            reasons.setdefault(one["reason"], []).append(one["layer"])
        if len(alike) >= _MANY and len(reasons) > 1:
            rows.append((_each(alike), code(pass_name), _alike(list(reasons))))
        else:
            rows += [(names(layers), code(pass_name), reason) for reason, layers in reasons.items()]
    if not rows:
        return element("p", "No pass refused a layer.")
    return table(
        "Layers that a pass looked at and left as they were", ("layer", "pass", "because"), rows, class_="reasons"
    )


def _alike(reasons: list[str]) -> str:
    """Return what similar reasons have in common, with … for what differs."""
    made, end = "", 0
    found = [[one.group() for one in _PARTICULARS.finditer(reason)] for reason in reasons]
    for number, one in enumerate(_PARTICULARS.finditer(reasons[0])):
        same = len({particulars[number] for particulars in found}) == 1
        made += reasons[0][end : one.start()] + (one.group() if same else "…")
        end = one.end()
    return made + reasons[0][end:]


def _each(alike: list[dict[str, str]]) -> Html:
    """Return the layers, folded away, each with its own reason."""
    items = join(element("li", join([code(one["layer"]), ": ", one["reason"]])) for one in alike)
    return element("details", join([element("summary", count(len(alike), "layer")), element("ul", items)]))


def warnings(lines: list[str]) -> Html:
    """Warnings and notes; nothing where there are none."""
    if not lines:
        return Html("")
    return join([element("h3", "Warnings"), element("ul", join(element("li", line) for line in lines))])
