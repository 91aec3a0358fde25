"""Draw the table: accuracy step by step, a line for each folder, above the bars of the speed-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.chart import chart
from deepmerge.errors import EngineError
from deepmerge.names import for_chart

_LINES = ("#b0b0b0", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e")
_BAR = "#444444"


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a table (see job.run); the file name's suffix gives the format (png, svg, pdf).

    Raises EngineError if matplotlib is missing or does not know the format, or the table has nothing to draw; OSError
    if the file cannot be written.
    """
    rows = report["rows"]
    panels = [panel for panel, key in ((_accuracy, "top"), (_speedup, "speedup")) if rows[0][key] is not None]
    if not panels:
        raise EngineError("--png: the table has neither accuracy nor times, so there is nothing to draw")
    names = [for_chart(row["step"] or "original") for row in rows]
    with chart("--png", file, max(6.0, 0.75 * len(rows) + 2), 3.2 * len(panels)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for panel, place in zip(panels, axes, strict=True):
            panel(place, report)
        axes[-1].set_xticks(range(len(rows)), names, rotation=40, ha="right", fontsize=8)
        axes[0].set_title(for_chart(report["network"]), fontsize=10)


def _accuracy(axes: Any, report: dict[str, Any]) -> None:
    rows = report["rows"]
    k = min(rows[0]["top"]["original"])
    base = 100 * rows[0]["top"]["original"][k]
    axes.axhline(base, color="black", linewidth=1, linestyle="--")
    axes.annotate(f"original {base:.1f}", (0, base), xytext=(0, 4), textcoords="offset points", fontsize=8)
    for index, column in enumerate(report["columns"]):
        points = [
            (i, 100 * row["top"][column["title"]][k]) for i, row in enumerate(rows) if column["title"] in row["top"]
        ]
        if not points:
            continue
        points = [(0, base), *points] if points[0][0] == 1 else points
        colour = _LINES[index % len(_LINES)]
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, label=for_chart(column["title"]))
        axes.annotate(
            f"{points[-1][1]:.1f}", points[-1], xytext=(5, -3), textcoords="offset points", fontsize=8, color=colour
        )
    axes.set_ylabel(f"top-{k}, % of {report['images']} images")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, loc="lower left")


def _speedup(axes: Any, report: dict[str, Any]) -> None:
    ratios = {place: row["speedup"] for place, row in enumerate(report["rows"]) if row["speedup"]}
    values = {place: one["value"] for place, one in ratios.items()}
    spans = ratios.values()
    around = [[one["value"] - one["low"] for one in spans], [one["high"] - one["value"] for one in spans]]
    axes.bar(list(values), list(values.values()), 0.7, color=_BAR, yerr=around, ecolor="#999999")
    for place, value in values.items():
        axes.annotate(
            f"{value:.2f}", (place, value), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_ylabel("times as fast as the original")
    axes.set_ylim(0, max(values.values()) * 1.15)
