from __future__ import annotations

import json

from deepmerge.passes.registry import PASSES


def test_name_exact_or_not_and_one_line(run):
    done = run("passes")
    assert done.code == 0 and done.err == ""
    rows = [line.split(None, 2) for line in done.out.splitlines()[2:]]
    assert [row[0] for row in rows] == list(PASSES)
    assert {row[0]: row[1] for row in rows}["merge_lrn"] == "approximate"
    assert {row[0]: row[1] for row in rows}["fold_batchnorm"] == "exact"
    assert [row[2] for row in rows] == [p.summary() for p in PASSES.values()]


def test_drawings_with_v(run):
    shown = run("passes", "-v").out
    for name in PASSES:
        assert f"{name}\n\n" in shown
    assert shown.count("Given:") >= len(PASSES) and shown.count("Exact: ") == len(PASSES)


def test_json(run):
    entries = [{"name": p.name, "exact": p.exact, "summary": p.summary()} for p in PASSES.values()]
    assert json.loads(run("passes", "--json").out) == {"version": 1, "passes": entries}
