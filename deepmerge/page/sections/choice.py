"""How the merges were chosen by measurement: the frontier with the chosen point, and the reason in each region."""

from __future__ import annotations

from typing import Any

from deepmerge.page.checked import is_number
from deepmerge.page.markup import Html, code, element, join, table, written
from deepmerge.page.svg import Line, speed_chart
from deepmerge.text import count, times


def choice(entry: Any) -> Html:
    """Return the choice of report.json; nothing if the merges were not chosen by measurement."""
    if not isinstance(entry, dict) or not isinstance(entry.get("frontier"), dict):
        return Html("")
    frontier, regions = entry["frontier"], [one for one in entry.get("regions", ()) if isinstance(one, dict)]
    return join(
        [element("h3", "Chosen by measurement"), _lead(entry, frontier), _chart(entry, frontier), _table(regions)], "\n"
    )


def _lead(entry: dict[str, Any], frontier: dict[str, Any]) -> Html:
    goals = ", ".join(f"--{key.replace('_', '-')} {value}" for key, value in (entry.get("goal") or {}).items())
    on = frontier.get("timed_on") or f"{frontier.get('engine')}, {count(frontier.get('threads') or 1, 'thread')}"
    agreement = written("{:.1%}".format, entry.get("agreement")) or "unknown"
    found = f"{written(times, entry.get('speedup'))} as fast as the original ({on})"
    how = "measured" if entry.get("measured") else "expected"
    return element(
        "p", "Asked for: ", code(goals), f". {found}; agreement with it after a quick fit: {agreement} ({how})."
    )


def _chart(entry: dict[str, Any], frontier: dict[str, Any]) -> Html:
    expected = [one.get("expected") for one in frontier.get("points", ())]
    lines = [
        Line("frontier, expected", _points(expected)),
        Line("plans measured whole", _points(sorted(frontier.get("whole_plans", ()), key=lambda one: one["speedup"]))),
        Line("chosen", _points([entry], "chosen")),
    ]
    lines = [line for line in lines if line.points]
    if len(lines) < 2:
        return Html("")
    label = "Agreement with the original against speed, with the chosen plan."
    on = "given times" if entry.get("time_measured") is False else frontier.get("engine")
    chart = speed_chart(lines, f"times as fast ({on})", "agreement with the original, %", label)
    caption = (
        "The line is what is expected along the frontier; single points were measured whole, but for the chosen one."
    )
    return element("figure", chart, element("figcaption", caption))


def _points(entries: list[Any], sign: str = "") -> list[tuple[str, float, float]]:
    whole = [one for one in entries if isinstance(one, dict)]
    good = [one for one in whole if is_number(one.get("speedup")) and is_number(one.get("agreement"))]
    return [(sign, one["speedup"], one["agreement"]) for one in good]


def _table(regions: list[dict[str, Any]]) -> Html:
    rows = [
        (
            code(one.get("region", "?")),
            one.get("choice", "?"),
            written("{:.2f}".format, one.get("ms")),
            written("{:.2f}".format, one.get("left_ms")),
            written("{:.4f}".format, one.get("loss")),
            f"{one['next_best']}: {one.get('why', '')}" if one.get("next_best") else "",
        )
        for one in regions
    ]
    head = ("region", "choice", "ms", "left alone, ms", "loss", "next best, and why not")
    return table("What became of each region", head, rows, "llrrrl")
