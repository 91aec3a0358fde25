"""The tables that convert and plan share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from deepmerge.cli.output import shortened, table
from deepmerge.names import for_terminal
from deepmerge.text import count, megabytes, millions, share_left

_MANY = 4  # refusals whose reasons differ in names and numbers alone; as many share a row
_PARTICULARS = re.compile(r"'[^']*'|\b\d[\d,]*(\.\d+)?\b")


def step_table(steps: Sequence[dict], before: dict, full: bool = False) -> str:
    """Return a row for each step of a report: what it merged, and the layers and MACs after it. full: all names."""
    rows = []
    for step in steps:
        macs, merged = step["after"]["macs"], step["merged"]
        names = ", ".join(merged) if full else shortened(merged)
        exact, left = "yes" if step["exact"] else "no", share_left(before["macs"], macs)
        rows.append((step["index"], step["name"], exact, step["after"]["layers"], millions(macs), left, names))
    return table(rows, ("", "step", "exact", "layers", "MACs", "left", "merged"), "rllrrrl")


def cost_table(before: dict, after: dict) -> str:
    """Return before, after and the share that is left, for the summaries of report.json."""

    def row(label: str, form, b: float, a: float) -> tuple:
        return label, form(b), form(a), share_left(b, a)

    b, a = before["activation_bytes"], after["activation_bytes"]
    rows = [
        row("layers", str, before["layers"], after["layers"]),
        row("parameters", millions, before["params"], after["params"]),
        row("MACs, one image", millions, before["macs"], after["macs"]),
        row("storage", megabytes, before["storage_bytes"], after["storage_bytes"]),
        row("activations, as Caffe counts", megabytes, b["caffe"], a["caffe"]),
        row("activations, distinct", megabytes, b["unique"], a["unique"]),
        row("activations, planned", megabytes, b["planned"], a["planned"]),
    ]
    return table(rows, ("", "before", "after", "left"), "lrrr")


def cleanup_line(cleanup: Sequence[dict], full: bool = False) -> str:
    """Return the exact passes over the whole network, and how often each did something. full: the layers' names."""
    if full:
        layers: dict[str, list[str]] = {}
        for change in cleanup:
            layers.setdefault(change["pass"], []).extend(change["layers"])
        parts = [f"{name} ({', '.join(map(for_terminal, merged))})" for name, merged in layers.items()]
    else:
        parts = [f"{name} ({number})" for name, number in Counter(change["pass"] for change in cleanup).items()]
    return f"exact cleanup: {', '.join(parts)}"


def refusal_table(refusals: Sequence[dict], full: bool = False) -> str:
    """Return the refusals of a report; layers that a pass leaves alone for the same reason share a row.

    full: show each reason as it is; otherwise, many similar reasons become one, with … where they differ.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for one in refusals:
        alike.setdefault(_kind(one), []).append(one["reason"])
    rows: dict[tuple[str, str], list[str]] = {}
    for one in refusals:
        reasons = alike[_kind(one)]
        as_one = not full and len(reasons) >= _MANY and len(set(reasons)) > 1
        rows.setdefault(_kind(one) if as_one else (one["pass"], one["reason"]), []).append(one["layer"])
    shown = [(shortened(layers, 40), name, reason) for (name, reason), layers in rows.items()]
    return table(shown, ("layer", "pass", "left alone, because"))


def _kind(refusal: dict) -> tuple[str, str]:
    """Return a refusal's pass, and its reason without names and numbers."""
    return refusal["pass"], _PARTICULARS.sub("…", refusal["reason"])


def costly_table(costly: Sequence[dict]) -> str:
    """Return the steps that would raise the MACs, and how to take them all the same."""
    rows = [(one["name"], one["reason"]) for one in costly]
    return table(rows, ("costly step", f"left out unless --steps names it (--steps all,{costly[0]['name']}), because"))


def int8_line(entry: dict) -> str:
    """Return how far the network in int8 is from the one in float32, on the images held out."""
    parts = []
    for one in entry["outputs"]:
        same = "" if one["top1"] is None else f"the same best class for {one['top1']:.1%}, "
        error = "an error that is not finite" if one["error"] is None else f"an error of {one['error']:.1%}"
        parts.append(f"{one['name']}: {same}{error}")
    images = f"{count(entry['held_out'], 'image')} held out ({entry['method']} of {entry['calibrated']:,})"
    return for_terminal(f"int8 against float32 on {images}: {'; '.join(parts)}")


def target_line(target: dict) -> str:
    """Return what a target does not take of the network in the end, and how far that can be trusted."""
    layers = dict.fromkeys(one["layer"] for one in target["problems"] if "only_for" not in one)
    left = f"does not take {count(len(layers), 'layer')}: {shortened(list(layers))}" if layers else "takes it as it is"
    return for_terminal(f"{target['name']}, {target['note']}: {left}")
