from __future__ import annotations

import re

import pytest

from deepmerge.page.script_data import layouts
from deepmerge.page.svg import Line, _ticks, bar, columns, speed_chart, strip


@pytest.mark.parametrize("share, width", [(0.0, "0.0"), (0.304, "30.4"), (1.7, "100.0"), (-1, "0.0")])
def test_bars(share, width):
    assert f'class="ink" width="{width}"' in bar(share) and 'aria-hidden="true"' in bar(share)
    assert bar(None) == ""


def test_a_strip_has_a_block_for_each_layer(mini_stages):
    placed = layouts(mini_stages)[0]
    facts = mini_stages[0].facts
    touched = [fact.type == "LRN" for fact in facts]
    made = strip(facts, placed, touched, (placed.height, placed.width), "<label>")
    counts = {kind: path.count("M") for kind, path in re.findall(r'<path class="(\w+)" d="([^"]*)"', made)}
    tensor = sum(fact.tensor for fact in facts)
    assert counts == {"tensor": tensor, "touched": 2, "other": len(facts) - tensor - 2}
    assert 'aria-label="&lt;label&gt;"' in made


def test_columns():
    made = columns([0, 5, 10], ["tensor", "tensor", "other"], 10, 4, "label")
    assert "M11 100h8v-50h-8z" in made and "M21 100h8v-100h-8z" in made and 'viewBox="0 0 40 101"' in made
    assert "NaN" not in columns([0.0], ["other"], 0, 1, "nothing at all")


@pytest.mark.parametrize("low, high", [(1, 4.9), (0, 1), (0.1, 0.101), (1, 1), (0.83, 0.9), (0, 0), (1, 1000)])
def test_ticks_are_round_and_enclose(low, high):
    ticks = _ticks(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9 and 2 <= len(ticks) <= 9
    steps = {round(b - a, 9) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert len(steps) == 1 and str(steps.pop()).lstrip("0.").rstrip(".0")[:1] in ("1", "2", "5", "e", "")


def test_points_stand_where_they_should():
    """The fastest on the right, the most accurate on top; names do not cover one another."""
    lines = [
        Line("a", [("0", 1, 0.9), ("1", 2, 0.5), ("2", 2.001, 0.5), ("3", 2.002, 0.5), ("4", 4, 0.7)]),
        Line("b", [("0", 1, 0.9)]),
    ]
    made = speed_chart(lines, "times as fast", "top-1", "label")
    found = [(float(x), float(y)) for x, y in re.findall(r'<circle class="line0" cx="([\d.]+)" cy="([\d.]+)"', made)]
    assert len(found) == 5 and found[0][0] < found[1][0] < found[-1][0] and found[0][1] < found[-1][1] < found[1][1]
    assert len(re.findall(r'class="point"', made)) == 4 + 1 and '<circle class="last"' in made
