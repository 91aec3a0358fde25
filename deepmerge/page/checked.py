"""report.json, as far as the page shows it: looked through before it is believed, since a file may hold anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError

_SUMMARY = ("layers", "params", "macs", "storage_bytes")
_AGAIN = "give the folder that `deepmerge convert` has written"


def checked(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the report with every part that the page needs, absent ones empty. ReadError if one is of another kind."""
    made = dict(report)
    for key, empty in (("before", {}), ("after", {}), ("cleanup", []), ("refusals", []), ("warnings", [])):
        made.setdefault(key, empty)
    wrong = next((key for key, fits in _parts(made) if not fits), None)
    if wrong is not None:
        raise ReadError(
            f"is not a report of a conversion: {wrong!r} is not what it should be; {_AGAIN}", folder / "report.json"
        )
    return made


def _parts(report: dict[str, Any]):
    """Each part's name, and whether it is of the right kind."""
    yield "network", isinstance(report.get("network", ""), str)
    for key in ("before", "after"):
        yield key, _is_summary(report[key])
    for step in report["steps"]:
        yield "steps", _is_summary(step.get("after", {})) and _is_summary(step.get("before", {}))
        yield "steps", all(texts(step.get(key, [])) for key in ("merged", "into", "passes"))
    yield "warnings", texts(report["warnings"])
    onnx = report.get("onnx", {})
    yield "onnx", isinstance(onnx, dict) and isinstance(onnx.get("int8", {}), dict)
    yield "choice", isinstance(report.get("choice", {}), dict)
    for key, names, lists in (("refusals", ("pass", "layer", "reason"), ()), ("cleanup", ("pass",), ("layers",))):
        yield key, isinstance(report[key], list) and all(_has(one, names, lists) for one in report[key])


def _is_summary(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    memory = value.get("activation_bytes", {})
    numbers = [value.get(key, 0) for key in _SUMMARY]
    return isinstance(memory, dict) and all(map(is_number, [*numbers, *memory.values()]))


def _has(value: Any, names: tuple[str, ...], lists: tuple[str, ...]) -> bool:
    found = value if isinstance(value, dict) else {}
    return all(isinstance(found.get(key), str) for key in names) and all(texts(found.get(key)) for key in lists)


def texts(value: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_number(value: Any) -> bool:
    """Whether it is a number that can be shown: neither infinite, nor NaN, nor of hundreds of digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
