"""What each step did, what was left alone and why, and warnings."""

from __future__ import annotations

import re
from typing import Any

from deepmerge.page.figures import bar
from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.text import count, scaled, share_left

FEW = 3  # names that are shown in a row as they are; more are folded away
_MANY = 4  # from this many on, reasons that differ only in names and numbers share a row
_PARTICULARS = re.compile(r"'[^']*'|\b\d[\d,]*(\.\d+)?\b")


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
