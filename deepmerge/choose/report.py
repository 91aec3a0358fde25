"""The frontier and the choice as JSON."""

from __future__ import annotations

import math
from typing import Any

from deepmerge.choose.frontier import Point, Whole
from deepmerge.choose.goal import Chosen
from deepmerge.choose.plans import Plans
from deepmerge.machine import cores
from deepmerge.text import count


def study_entry(plans: Plans) -> dict[str, Any]:
    """Return the frontier: times in milliseconds, losses in nats, agreement as shares.

    timed_on: the engine, or the file that gave a device's times. images: how many were asked for. expected: what the
    corrected model says. whole_plans: predicted and measured, side by side.
    """
    base, job = plans.original_ms, plans.study.job
    here = f"{job.engine}, {count(job.threads, 'thread')}"
    return {
        "engine": job.engine,
        "threads": job.threads,
        "timed_on": f"times given in {plans.known.file}" if plans.has_given_times else here,
        "images": job.images,
        "fit_threads": cores(),
        "measurements": str(plans.known.file),
        "original_ms": base,
        "exact_ms": plans.left_ms + plans.rest,
        "points": [_point(plans, point) for point in plans.points],
        "whole_plans": [_whole(one, base) for one in plans.wholes],
    }


def chosen_entry(plans: Plans, chosen: Chosen) -> dict[str, Any]:
    """Return the choice for report.json: the goal, what was predicted and measured, and why, region by region."""
    goal = {key: value for key, value in vars(chosen.goal).items() if value is not None}
    found = _whole(chosen.whole, plans.original_ms)
    entry = {"goal": goal, "kept": chosen.kept, "measured": chosen.measured, "time_measured": chosen.timed, **found}
    if chosen.checked is not None:
        entry["checked_agreement"], entry["checked_images"] = chosen.checked
    entry["regions"] = [
        {"region": row.region, "choice": row.choice, "ms": row.price.ms, "loss": row.price.loss}
        | {"left_ms": row.left.ms, "next_best": row.other, "why": row.why}
        for row in chosen.rows
    ]
    return entry | {"frontier": study_entry(plans)}


def _point(plans: Plans, point: Point) -> dict[str, Any]:
    expected = plans.curves.corrected(point.predicted)
    entry = _whole(expected, plans.original_ms)
    return {"predicted": entry["predicted"], "expected": {k: v for k, v in entry.items() if k != "predicted"}}


def _whole(one: Whole, base: float) -> dict[str, Any]:
    predicted = {"ms": one.point.predicted.ms, "loss": one.point.predicted.loss}
    loss = one.loss if math.isfinite(one.loss) else None
    found = {"ms": one.ms, "speedup": base / one.ms, "loss": loss, "agreement": one.agreement}
    return {"predicted": predicted, **found}
