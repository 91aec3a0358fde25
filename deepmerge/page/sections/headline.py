"""The first lines of the page: how many times as fast, and how accurate."""

from __future__ import annotations

from typing import Any

from deepmerge.page.checked import is_number
from deepmerge.page.markup import Html, element, join
from deepmerge.page.measured import Measured, Steps
from deepmerge.text import count, figures

_Figure = tuple[str, str]  # what is said in large letters, and about what


def headline(report: dict[str, Any], table: Steps | None, bench: Measured | None) -> Html:
    """Return the figures that one asks for first, each with where it comes from."""
    shown = [speed(report, table, bench), *accuracies(report, table, bench)]
    cells = [element("div", element("dt", about), element("dd", figure)) for figure, about in shown if figure]
    return element("dl", join(cells, "\n"), class_="headline")


def speed(report: dict[str, Any], table: Steps | None, bench: Measured | None) -> _Figure:
    """Return the measured speed-up and its engine; without one, the ratio of the MACs, called so."""
    if bench is not None:
        for engine, runs in bench.engines.items():
            if len(runs) > 1 and runs[-1].ratio:
                return f"{figures(runs[-1].ratio[0])} times as fast", f"measured on {engine}"
    if table is not None and table.rows and table.rows[-1].speedup:
        return f"{figures(table.rows[-1].speedup)} times as fast", f"measured on {table.engine}"
    before, after = (report[key].get("macs") for key in ("before", "after"))
    if before and after:
        return f"{figures(before / after)} times fewer MACs", "counted; the time was not measured"
    return "", ""


def accuracies(report: dict[str, Any], table: Steps | None, bench: Measured | None) -> list[_Figure]:
    """Return top-1 before and after, as it was measured; without that, the agreement that recover has measured."""
    if table is not None and table.rows and "original" in table.rows[0].top:
        last = next((row for row in reversed(table.rows) if row.top), table.rows[0])
        found = {"before": table.rows[0].top["original"], **{name: last.top.get(name) for name in table.columns}}
        return [
            (f"{top['1']:.1%}", f"top-1 {name}, {table.images}") for name, top in found.items() if top and "1" in top
        ]
    if bench is not None and len(bench.accuracy) > 1:
        images = "" if bench.images is None else f", {count(bench.images, 'image')}"
        return [(f"{top['1']:.1%}", f"top-1 of {name}{images}") for name, top in bench.accuracy.items() if "1" in top]
    story = report.get("recovery")
    story = story if isinstance(story, dict) else {}
    numbers = [story.get(f"agreement_{when}") for when in ("before", "after")]
    if not all(map(is_number, numbers)):
        return []
    held_out = story.get("held_out")
    images = f"{count(held_out, 'held-out image')}" if is_number(held_out) and held_out else "the training images"
    pairs = zip(numbers, ("merged", "recovered"), strict=True)
    return [(f"{number:.1%}", f"the original's answers, {name}, {images}") for number, name in pairs]
