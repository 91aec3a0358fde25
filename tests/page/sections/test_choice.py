"""The page's section on a choice by measurement."""

from __future__ import annotations

import pytest

from deepmerge.page.sections.choice import choice

ENTRY = {
    "goal": {"speedup": 3.0},
    "kept": True,
    "measured": False,
    "predicted": {"ms": 20.0, "loss": 0.4},
    "ms": 25.0,
    "speedup": 3.02,
    "loss": 0.5,
    "agreement": 0.81,
    "regions": [
        {"region": "conv<1>", "choice": "leave", "ms": 4.0, "loss": 0.0, "left_ms": 4.0, "next_best": "", "why": ""},
        {"region": "b", "choice": "width 0.5", "ms": 1.0, "loss": 0.1, "left_ms": 4.0}
        | {"next_best": "leave", "why": "3.00 ms slower"},
    ],
    "frontier": {
        "engine": "ort",
        "threads": 1,
        "images": 800,
        "points": [{"expected": {"speedup": s, "agreement": a}} for s, a in ((1.0, 1.0), (2.0, 0.9), (4.0, 0.7))],
        "whole_plans": [{"speedup": 2.1, "agreement": 0.88}],
    },
}


def test_it_shows_the_goal_the_frontier_and_each_region():
    text = choice(ENTRY)
    assert "--speedup 3.0" in text and "3.02×" in text and "81.0%" in text
    assert text.count("<circle") == 3 + 1 + 1
    assert "conv&lt;1&gt;" in text and "conv<1>" not in text
    assert "leave: 3.00 ms slower" in text


def test_it_says_where_given_times_are_from():
    given = ENTRY | {"time_measured": False, "frontier": ENTRY["frontier"] | {"timed_on": "times given in m.csv"}}
    text = choice(given)
    assert "as fast as the original (times given in m.csv)" in text and "times as fast (given times)" in text
    assert "agreement with it after a quick fit: unknown (expected)" in choice(ENTRY | {"agreement": None})


def test_there_is_nothing_without_a_choice():
    assert choice(None) == ""


@pytest.mark.parametrize("key", ["regions", "agreement", "speedup", "goal"])
def test_a_report_that_somebody_edited_is_shown_as_far_as_it_goes(key):
    assert "Chosen by measurement" in choice({name: value for name, value in ENTRY.items() if name != key})
