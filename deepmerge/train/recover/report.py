"""The "recovery" entry of report.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepmerge.train.recover.lsq import Solved


def solved_entry(name: str, found: Sequence[Solved], seconds: float, images: int) -> dict[str, Any]:
    """Return the entry of one of the stages lsq and refit."""
    parts = []
    for result in found:
        entry = result.entry()
        losses = _losses(entry.pop("error_before") ** 2, entry.pop("error_after") ** 2)
        parts.append({"name": entry.pop("segment"), **losses, **entry})
    return {"name": name, "seconds": seconds, "images": images, **_summed(parts), "segments": parts}


def trained_entry(name: str, asked: Mapping[str, Any], losses: Iterable[tuple[str, float, float]]) -> dict[str, Any]:
    """Return the entry of a stage that trains. asked: seconds, iterations and so on. losses: part, before, after."""
    parts = [{"name": part, **_losses(before, after)} for part, before, after in losses]
    return {"name": name, **asked, **_summed(parts), "outputs": parts}


def recovery_entry(
    entries: Sequence[Mapping[str, Any]], asked: Mapping[str, Any], agreement: float | None
) -> dict[str, Any]:
    """Return the report's "recovery". asked: seed, images and so on. agreement: at the end."""
    whole = sum(entry["seconds"] for entry in entries) or 1.0
    stages = []
    for entry in entries:
        times = {"seconds": round(entry["seconds"], 2), "share": round(entry["seconds"] / whole, 4)}
        rest = {key: value for key, value in entry.items() if key not in ("name", "seconds")}
        stages.append({"name": entry["name"], **times, **rest})
    known = [entry["agreement_before"] for entry in stages if entry.get("agreement_before") is not None]
    overall = {"agreement_before": known[0], "agreement_after": agreement} if known else {}
    return {**asked, **overall, "stages": stages}


def _losses(before: float, after: float) -> dict[str, float]:
    return {"loss_before": float(f"{before:.6g}"), "loss_after": float(f"{after:.6g}")}


def _summed(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return _losses(sum(part["loss_before"] for part in parts), sum(part["loss_after"] for part in parts))
