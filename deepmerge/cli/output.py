"""Printing: tables for people, JSON for machines, warnings and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), right: str = "") -> str:
    """Columns lined up with two spaces between. right: one letter a column, r for those lined up on the right."""
    cells = [[str(c) for c in row] for row in ([head] if head else []) + list(rows)]
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = right.ljust(len(widths), "l")
    lines = ["  ".join(c.rjust(w) if r == "r" else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip() for row in cells]
    if head:
        lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def show(text: str, quiet: bool = False) -> None:
    if not quiet and text:
        click.echo(text)


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def warn(lines: Sequence[str], quiet: bool = False) -> None:
    if not quiet:
        for line in lines:
            click.echo(f"warning: {line}", err=True)


class Progress:
    """A line on stderr that says what is going on; on a terminal only."""

    def __init__(self, quiet: bool = False):
        self.on = sys.stderr.isatty() and not quiet

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.on:
            bar = "█" * (20 * done // max(total, 1))
            click.echo(f"\r\033[K[{bar:<20}] {done}/{total} {what}", err=True, nl=False)

    def clear(self) -> None:
        if self.on:
            click.echo("\r\033[K", err=True, nl=False)


def millions(number: float) -> str:
    return f"{number / 1e6:,.2f} M"


def megabytes(number: float) -> str:
    return f"{number / 1e6:,.2f} MB"


def ratio(before: float, after: float) -> str:
    """What is left, as a share; "–" where there was nothing."""
    return f"{after / before:.1%}" if before else "–"


def cost_table(before: dict, after: dict) -> str:
    """Before, after and what is left, for the summaries of report.json."""
    rows = [("layers", before["layers"], after["layers"], ratio(before["layers"], after["layers"]))]
    for key, label, form in (("params", "parameters", millions), ("macs", "MACs, one image", millions), ("storage_bytes", "storage", megabytes)):
        rows.append((label, form(before[key]), form(after[key]), ratio(before[key], after[key])))
    for key, label in (("caffe", "activations, as Caffe counts"), ("unique", "activations, distinct"), ("planned", "activations, planned")):
        b, a = before["activation_bytes"][key], after["activation_bytes"][key]
        rows.append((label, megabytes(b), megabytes(a), ratio(b, a)))
    return table(rows, ("", "before", "after", "left"), "lrrr")


def step_table(steps: Sequence[dict], first: dict) -> str:
    """A row for each step: what was merged, and the MACs left behind it."""
    rows = [
        (s["index"], s["name"], "yes" if s["exact"] else "no", _short(s["merged"]), millions(s["after"]["macs"]), ratio(first["macs"], s["after"]["macs"]))
        for s in steps
    ]
    return table(rows, ("step", "name", "exact", "merged", "MACs behind", "left"), "rlllrr")


def _short(names: Sequence[str], limit: int = 60) -> str:
    text = ", ".join(names)
    return text if len(text) <= limit else f"{', '.join(names[:2])} … ({len(names)} layers)"


def refusal_table(refusals: Sequence[dict]) -> str:
    return table([(r["pass"], r["layer"], r["reason"]) for r in refusals], ("pass", "layer", "left alone, because"))
