"""Draw the frontier: agreement with the original over the speed-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.chart import chart
from deepmerge.names import for_chart


def draw(network: str, entry: dict[str, Any], file: Path, chosen: dict[str, Any] | None = None) -> None:
    """Draw a frontier (report.study_entry); the file name's suffix gives the format (png, svg, pdf).

    Raises EngineError if matplotlib is missing or does not know the format; OSError if the file cannot be written.
    """
    with chart("--frontier", file, 6.4, 4.0) as figure:
        axes = figure.subplots()
        line = [point["expected"] for point in entry["points"]]
        axes.plot(*_xy(line), color="#1f77b4", marker=".", label="expected")
        axes.plot(*_xy(entry["whole_plans"]), "o", color="#ff7f0e", label="measured")
        if chosen is not None:
            axes.plot(*_xy([chosen]), "*", color="#d62728", markersize=14, label="chosen")
        axes.set_xlabel(f"times as fast as the original ({for_chart(entry['timed_on'])})")
        axes.set_ylabel("agreement with the original, %")
        axes.set_title(for_chart(network), fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


def _xy(points: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    known = [one for one in points if one["agreement"] is not None]
    return [one["speedup"] for one in known], [100 * one["agreement"] for one in known]
