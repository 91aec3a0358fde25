"""Compare a measurement with an earlier one: which ratios got worse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.measure.bench.measure import VERSION

SIZES = ("params", "macs", "storage_bytes")
ACTIVATIONS = ("caffe", "unique", "planned")


def read_baseline(file: Path) -> dict[str, Any]:
    """Read what `bench --json` wrote. ReadError for anything else."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(error.strerror or str(error), file) from None
    except ValueError as error:
        raise ReadError(f"is not JSON ({error}); give what `deepmerge bench --json` printed", file) from None
    if not isinstance(report, dict) or report.get("version") != VERSION or not {"networks", "engines"} <= report.keys():
        raise ReadError(f"is not a bench report of version {VERSION}; give what `deepmerge bench --json` printed", file)
    try:
        dict(ratios(report))
    except (LookupError, TypeError, ZeroDivisionError, AttributeError) as error:
        raise ReadError(f"is a damaged bench report ({type(error).__name__}: {error}); measure again", file) from None
    return report


def ratios(report: dict[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield (network, figure) and the figure as a share of the first network's; less is better.

    Figures: `time ENGINE`, `peak memory ENGINE`, parameters, MACs, storage, activations counted in three ways. Energy
    is left out, as it needs a quiet machine.
    """
    for engine in report["engines"]:
        first: dict[str, Any] = {}
        for entry in engine["networks"]:
            if entry.get("refused"):
                continue
            if entry.get("ratio"):
                yield (entry["label"], f"time {engine['engine']}"), entry["ratio"]["value"]
            peak = (entry.get("memory") or {}).get("peak")
            if not first:
                first = entry
            elif peak and (first.get("memory") or {}).get("peak"):
                yield (entry["label"], f"peak memory {engine['engine']}"), peak / first["memory"]["peak"]
    base = report["networks"][0]
    for network in report["networks"][1:]:
        for key in SIZES:
            if base[key]:
                yield (network["label"], key), network[key] / base[key]
        for key in ACTIVATIONS:
            before, now = (one["activation_bytes"][key] for one in (base, network))
            if before and now is not None:
                yield (network["label"], f"activations {key}"), now / before


def worse(now: dict[str, Any], baseline: dict[str, Any], tolerance: float) -> list[str]:
    """Return a line for each ratio that is missing, or above the baseline's by more than `tolerance` (0.05: 5 %)."""
    found, wanted = dict(ratios(now)), dict(ratios(baseline))
    first, before = now["networks"][0]["label"], baseline["networks"][0]["label"]
    if first != before:
        text = f"the first network is {first!r}, and was {before!r}: ratios cannot be compared"
        return [f"{text}; give the same networks in the same order"]
    lines = []
    for (label, figure), old in wanted.items():
        new = found.get((label, figure))
        if new is None:
            lines.append(f"{label}, {figure}: was {old:.3f}, is not measured now")
        elif new > old * (1 + tolerance):
            lines.append(
                f"{label}, {figure}: {new:.3f} times the first network's, was {old:.3f} ({new / old - 1:+.1%})"
            )
    return lines
