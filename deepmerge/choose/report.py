"""The frontier and the choice as JSON."""

from __future__ import annotations

from typing import Any

from deepmerge.choose.frontier import Point, Whole
from deepmerge.choose.goal import Chosen
from deepmerge.choose.study import Study
from deepmerge.machine import cores


def study_entry(study: Study) -> dict[str, Any]:
    """Return the frontier: times in milliseconds, losses in nats, agreement as shares.

    expected: what the corrected model says. whole_plans: predicted and measured, side by side.
    """
    study.measure()
    base = study.original_ms
    return {
        "engine": study.job.engine,
        "threads": study.job.threads,
        "images": study.job.images,
        "fit_threads": cores(),
        "measurements": str(study.known.file),
        "original_ms": base,
        "exact_ms": study.left_ms + study.rest,
        "points": [_point(study, point) for point in study.points],
        "whole_plans": [_whole(one, base) for one in study.wholes],
    }


def chosen_entry(study: Study, chosen: Chosen) -> dict[str, Any]:
    """Return the choice for report.json: the goal, what was predicted and measured, and why, region by region."""
    goal = {key: value for key, value in vars(chosen.goal).items() if value is not None}
    found = _whole(chosen.whole, study.original_ms)
    entry = {"goal": goal, "kept": chosen.kept, "measured": chosen.measured, **found}
    if chosen.checked is not None:
        entry["checked_agreement"] = chosen.checked
    entry["regions"] = [
        {"region": row.region, "choice": row.choice, "ms": row.price.ms, "loss": row.price.loss}
        | {"left_ms": row.left.ms, "next_best": row.other, "why": row.why}
        for row in chosen.rows
    ]
    return entry | {"frontier": study_entry(study)}


def _point(study: Study, point: Point) -> dict[str, Any]:
    expected = study.curves.corrected(point.predicted)
    entry = _whole(expected, study.original_ms)
    return {"predicted": entry["predicted"], "expected": {k: v for k, v in entry.items() if k != "predicted"}}


def _whole(one: Whole, base: float) -> dict[str, Any]:
    predicted = {"ms": one.point.predicted.ms, "loss": one.point.predicted.loss}
    found = {"ms": one.ms, "speedup": base / one.ms, "loss": one.loss, "agreement": one.agreement}
    return {"predicted": predicted, **found}
