"""What was left alone, and why; and what a user should know."""

from __future__ import annotations

from typing import Any

from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.page.sections.steps import names


def refusals(report: dict[str, Any]) -> Html:
    """A row for each reason; layers that a pass leaves alone for one reason share it."""
    rows: dict[tuple[str, str], list[str]] = {}
    for one in report["refusals"]:
        rows.setdefault((one["pass"], one["reason"]), []).append(one["layer"])
    if not rows:
        return element("p", "No pass refused a layer.")
    told = [(names(layers), code(name), reason) for (name, reason), layers in rows.items()]
    return table("Layers that a pass looked at and left as they were", ("layer", "pass", "because"), told, class_="reasons")


def warnings(lines: list[str]) -> Html:
    """Warnings and notes; nothing where there are none."""
    if not lines:
        return Html("")
    return join([element("h3", "Warnings"), element("ul", join(element("li", line) for line in lines))])
