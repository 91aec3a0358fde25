"""What each step did, what was left alone and why, and warnings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepmerge.page.markup import Html, code, element, join, table, without_folders
from deepmerge.page.svg import bar
from deepmerge.text import count, scaled, share_left

_INTO = Html(' <span class="arrow" role="img" aria-label="into">→</span> ')
_FEW = 3  # names that are shown in a row as they are; more are folded away
_MANY = 4  # from this many on, reasons that differ only in names and numbers share a row
_PARTICULARS = re.compile(r"'[^']*'|\b\d[\d,]*(\.\d+)?\b")


def step_table(report: dict[str, Any]) -> Html:
    """Return a row for each step in the order in which they ran: the exact ones, then the others."""
    whole = report["before"].get("macs")
    rows = []
    for step in sorted(report["steps"], key=lambda step: not step["exact"]):
        layers, macs = (step.get("after", {}).get(key) for key in ("layers", "macs"))
        rows.append(
            (
                numbered(step["index"], code(step["name"])),
                "exact" if step["exact"] else "approximate",
                f"{layers:,}" if layers is not None else "?",
                scaled(macs) if macs is not None else "?",
                share_left(whole, macs),
                bar(macs / whole if whole and macs is not None else None),
                join([names(step["merged"]), _INTO, names(step["into"])]),
            )
        )
    if not rows:
        return element("p", "There was no step.")
    head = ("step", "output", "layers", "MACs", "left", "", "merged → into")
    return table("The steps, and the network after each", head, rows, "llrrrll", "steps")


def numbered(index: int | str, name: Any) -> Html:
    """Return a step's number and its name."""
    return join([element("span", index, class_="index"), " ", name])


def cleanup(report: dict[str, Any]) -> Html:
    """Return what was removed or folded exactly."""
    found: dict[str, list[str]] = {}
    for change in report["cleanup"]:
        found.setdefault(change["pass"], []).extend(change["layers"])
    if not found:
        return Html("")
    passes = join((join([code(name), ": ", names(layers)]) for name, layers in found.items()), "; ")
    return element("p", "Also, exactly: ", passes, ".")


def names(layers: list[str]) -> Html:
    """Return the layers' names; a long list is folded away under its count."""
    listed = join((code(name) for name in layers), ", ")
    return listed if len(layers) <= _FEW else _folded(layers, listed)


def _folded(layers: list, inside: Html) -> Html:
    return element("details", element("summary", count(len(layers), "layer")), inside)


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
            each = (element("li", code(one["layer"]), ": ", one["reason"]) for one in alike)
            rows.append((_folded(alike, element("ul", *each)), code(pass_name), _alike(list(reasons))))
        else:
            rows += [(names(layers), code(pass_name), reason) for reason, layers in reasons.items()]
    if not rows:
        return element("p", "No pass refused a layer.")
    caption = "Layers that a pass looked at and left as they were"
    return table(caption, ("layer", "pass", "because"), rows, class_="reasons")


def _alike(reasons: list[str]) -> str:
    """Return what similar reasons have in common, with … for what differs."""
    made, end = "", 0
    found = [[one.group() for one in _PARTICULARS.finditer(reason)] for reason in reasons]
    for number, one in enumerate(_PARTICULARS.finditer(reasons[0])):
        same = len({particulars[number] for particulars in found}) == 1
        made += reasons[0][end : one.start()] + (one.group() if same else "…")
        end = one.end()
    return made + reasons[0][end:]


def warnings(lines: list[str], folders: Iterable[Path] = ()) -> Html:
    """Warnings and notes; nothing where there are none. folders: see without_folders."""
    if not lines:
        return Html("")
    items = (element("li", without_folders(line, folders)) for line in lines)
    return join([element("h3", "Warnings"), element("ul", *items)])
