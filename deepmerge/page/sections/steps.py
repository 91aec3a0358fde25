"""The steps: the drawing that a script fills, and a table that needs none."""

from __future__ import annotations

from typing import Any

from deepmerge.page.figures import bar
from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.text import count, scaled, share_left

FEW = 3  # names that stand in a row as they are; more are folded away


def step_table(report: dict[str, Any]) -> Html:
    """Return a row for each step in the order in which they ran: the exact ones, then the others."""
    whole = report["before"].get("macs")
    rows = []
    for step in sorted(report["steps"], key=lambda step: not step["exact"]):
        after = step.get("after", {})
        macs = after.get("macs")
        rows.append(
            (
                join([element("span", step["index"], class_="index"), " ", code(step["name"])]),
                "exact" if step["exact"] else "approximate",
                f"{after['layers']:,}" if "layers" in after else "?",
                scaled(macs) if macs is not None else "?",
                share_left(whole, macs),
                bar(macs / whole if whole and macs is not None else None),
                join(
                    [
                        names(step["merged"]),
                        Html(' <span class="arrow" role="img" aria-label="into">→</span> '),
                        names(step["into"]),
                    ]
                ),
            )
        )
    head = ("step", "output", "layers", "MACs", "left", "", "merged → into")
    return (
        table("The steps, and the network after each", head, rows, "llrrrll", "steps")
        if rows
        else element("p", "There was no step.")
    )


def cleanup(report: dict[str, Any]) -> Html:
    """Return what was removed or folded exactly."""
    found: dict[str, list[str]] = {}
    for change in report["cleanup"]:
        found.setdefault(change["pass"], []).extend(change["layers"])
    if not found:
        return Html("")
    found_text = join((join([code(name), ": ", names(layers)]) for name, layers in found.items()), "; ")
    return element("p", join(["Also, exactly: ", found_text, "."]))


def names(layers: list[str]) -> Html:
    """Return the layers' names; a long list is folded away under its count."""
    listed = join((code(name) for name in layers), ", ")
    if len(layers) <= FEW:
        return listed
    return element("details", join([element("summary", count(len(layers), "layer")), listed]))
