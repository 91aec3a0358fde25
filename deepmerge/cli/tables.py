"""The tables that convert and plan have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deepmerge.cli.output import megabytes, millions, ratio, shortened, table


def step_table(steps: Sequence[dict], before: dict, full: bool = False) -> str:
    """A row for each step of a report: the layers and MACs that are there behind it, and what it merged.

    full: all names, however many.
    """
    rows = []
    for step in steps:
        macs, merged = step["after"]["macs"], step["merged"]
        names = ", ".join(merged) if full else shortened(merged)
        exact = "yes" if step["exact"] else "no"
        left = ratio(before["macs"], macs)
        rows.append((step["index"], step["name"], exact, step["after"]["layers"], millions(macs), left, names))
    return table(rows, ("", "step", "exact", "layers", "MACs", "left", "merged"), "rllrrrl")


def cost_table(before: dict, after: dict) -> str:
    """Before, after and what is left, for the summaries of report.json."""
    rows = [("layers", before["layers"], after["layers"], ratio(before["layers"], after["layers"]))]
    for key, label, form in (
        ("params", "parameters", millions),
        ("macs", "MACs, one image", millions),
        ("storage_bytes", "storage", megabytes),
    ):
        rows.append((label, form(before[key]), form(after[key]), ratio(before[key], after[key])))
    for key, label in (
        ("caffe", "activations, as Caffe counts"),
        ("unique", "activations, distinct"),
        ("planned", "activations, planned"),
    ):
        b, a = before["activation_bytes"][key], after["activation_bytes"][key]
        rows.append((label, megabytes(b), megabytes(a), ratio(b, a)))
    return table(rows, ("", "before", "after", "left"), "lrrr")


_MANY = 4  # from so many on, reasons that differ in names and numbers alone are told as one
_PARTICULARS = re.compile(r"'[^']*'|\b\d[\d,]*(\.\d+)?\b")


def refusal_table(refusals: Sequence[dict], full: bool = False) -> str:
    """The refusals of a report; layers that a pass leaves alone for one reason share a row.

    full: every reason to the letter; otherwise what many layers have in common, with … for what they have not.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for one in refusals:
        alike.setdefault(_kind(one), []).append(one["reason"])
    rows: dict[tuple[str, str], list[str]] = {}
    for one in refusals:
        reasons = alike[_kind(one)]
        as_one = not full and len(reasons) >= _MANY and len(set(reasons)) > 1
        rows.setdefault(_kind(one) if as_one else (one["pass"], one["reason"]), []).append(one["layer"])
    told = [(shortened(layers, 40), name, reason) for (name, reason), layers in rows.items()]
    return table(told, ("layer", "pass", "left alone, because"))


def _kind(refusal: dict) -> tuple[str, str]:
    """A refusal's pass, and its reason without names and numbers."""
    return refusal["pass"], _PARTICULARS.sub("…", refusal["reason"])


def costly_table(costly: Sequence[dict]) -> str:
    """The steps that would raise the MACs, and how to have them all the same."""
    rows = [(one["name"], one["reason"]) for one in costly]
    return table(rows, ("costly step", f"left out unless --steps names it (--steps all,{costly[0]['name']}), because"))
