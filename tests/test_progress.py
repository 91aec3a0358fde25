"""How tasks report progress."""

from __future__ import annotations

from deepmerge.progress import of_budget, within


def test_a_part_of_the_work_names_itself_and_a_budget_is_in_percent():
    calls = []
    used = of_budget(within("ort", lambda *call: calls.append(call)), "timing")
    for share in (0.0, 0.333, 1.0):
        used(share)
    assert calls == [("ort, timing", 0, 100), ("ort, timing", 33, 100), ("ort, timing", 100, 100)]
