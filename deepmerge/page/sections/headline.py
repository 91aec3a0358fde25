"""The first lines of the page: how many times as fast, and how accurate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmerge.page.checked import is_number
from deepmerge.page.markup import Html, element, join
from deepmerge.page.measured import Measured, Steps
from deepmerge.page.training import agreement, entry
from deepmerge.text import count, figures

_Figure = tuple[str, str]  # what is said in large letters, and about what


def headline(
    report: dict[str, Any], table: Steps | None, bench: Measured | None = None, profile: Measured | None = None
) -> Html:
    """Return the figures that one asks for first, each with where it comes from. Networks in int8 are left out."""
    shown = [speed(report, table, [one for one in (bench, profile) if one]), *accuracies(report, table, bench)]
    cells = [element("div", element("dt", about), element("dd", figure)) for figure, about in shown if figure]
    return element("dl", join(cells, "\n"), class_="headline")


def speed(report: dict[str, Any], table: Steps | None, timed: Sequence[Measured]) -> _Figure:
    """Return the speed-up, as measured or by given times, and how; without one, the ratio of the MACs, called so."""
    for found in timed:
        for engine, runs in found.engines.items():
            ratios = [run.ratio for run in runs if run.ratio and run.label not in found.int8]
            if ratios:
                return _fast(ratios[-1][0]), f"measured on {engine}"
    if table is not None:
        speedups = [row.speedup for row in table.rows if row.speedup and not row.int8]
        if speedups:
            return _fast(speedups[-1]), f"measured on {table.engine}"
    chosen = entry(report.get("choice"))
    frontier, here = entry(chosen.get("frontier")), chosen.get("time_measured", chosen.get("measured") or None)
    if isinstance(here, bool) and is_number(chosen.get("speedup")):
        how = f"measured on {frontier.get('engine')}" if here else f"by {frontier.get('timed_on')}"
        return _fast(chosen["speedup"]), f"{how}, when the merges were chosen"
    before, after = (report[key].get("macs") for key in ("before", "after"))
    if before and after:
        return f"{figures(before / after)} times fewer MACs", "counted; the time was not measured"
    return "", ""


def _fast(ratio: float) -> str:
    return f"{figures(ratio)} times as fast"


def accuracies(report: dict[str, Any], table: Steps | None, bench: Measured | None) -> list[_Figure]:
    """Return top-1 before and after, as it was measured; without that, the agreement that recover has measured."""
    rows = [] if table is None else [row for row in table.rows if not row.int8]
    if table is not None and rows and "original" in rows[0].top:
        last = {name: top for row in rows for name, top in row.top.items()}  # each column's last row
        found = {"before": rows[0].top["original"], **{name: last.get(name) for name in table.columns}}
        return [
            (f"{top['1']:.1%}", f"top-1 {name}, {table.images}") for name, top in found.items() if top and "1" in top
        ]
    scores = {} if bench is None else {name: top for name, top in bench.accuracy.items() if name not in bench.int8}
    if bench is not None and len(scores) > 1:
        images = "" if bench.images is None else f", {count(bench.images, 'image')}"
        return [(f"{top['1']:.1%}", f"top-1 of {name}{images}") for name, top in scores.items() if "1" in top]
    found = agreement(report)
    if found is not None:
        pairs = ((found.before, "merged"), (found.after, "recovered"))
        return [(f"{number:.1%}", f"same answer as the original, {name}, {found.images}") for number, name in pairs]
    measured = "finetuning" in report or all(step["exact"] for step in report["steps"])
    return [] if measured else [("not measured", "accuracy")]
