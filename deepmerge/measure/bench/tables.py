"""A report as tables: for people, for Markdown, and one figure a line for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from deepmerge.names import for_markdown, for_terminal
from deepmerge.text import megabytes, millions, milliseconds, share_left, times_as_fast

NONE = "–"


class Table(NamedTuple):
    """A table as text."""

    head: list[str]
    rows: list[list[str]]


def tables(report: dict[str, Any]) -> list[Table]:
    """Return times (DeepRebirth's Table 4), sizes, memory and energy (Table 5), and accuracy if measured (Table 6)."""
    return [one for one in (_times(report), _sizes(report), _loads(report), _accuracy(report)) if one and one.rows]


def notes(report: dict[str, Any]) -> list[str]:
    """Return what was not measured, and why, one line for each reason."""
    said: dict[str, list[str]] = {}
    for engine in report["engines"]:
        if engine["absent"]:
            said.setdefault(engine["absent"], []).append(engine["engine"])
        for entry in engine["networks"]:
            where = f"{engine['engine']}, {entry['label']}"
            if entry["refused"]:
                said.setdefault(entry["refused"], []).append(where)
            for figure in ("memory", "energy", "largest_batch"):
                why = (entry.get(figure) or {}).get("not_available")
                if why:
                    said.setdefault(why, []).append(figure.replace("_", " "))
    return [for_terminal(f"{', '.join(dict.fromkeys(who))}: {why}") for why, who in said.items()]


def _measured(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [engine for engine in report["engines"] if not engine["absent"]]


def _entry(engine: dict[str, Any], label: str) -> dict[str, Any]:
    return next(entry for entry in engine["networks"] if entry["label"] == label)


def _times(report: dict[str, Any]) -> Table:
    """Make a row for each network and two columns for each engine."""
    engines = [e for e in _measured(report) if any("forward" in entry for entry in e["networks"])]
    head = ["time, ms", *(cell for e in engines for cell in (e["engine"], "times as fast"))]
    rows = []
    for network in report["networks"]:
        row = [network["label"]]
        for engine in engines:
            entry = _entry(engine, network["label"])
            row += (
                [milliseconds(entry["forward"]["median"]), times_as_fast(entry["ratio"])]
                if "forward" in entry
                else [NONE, NONE]
            )
        rows.append(row)
    return Table(head, rows if engines else [])


def _sizes(report: dict[str, Any]) -> Table:
    head = ["size", "parameters", "MACs", "storage", "left", "activations: Caffe", "distinct", "planned", "left"]
    base, rows = report["networks"][0], []
    for one in report["networks"]:
        memory = one["activation_bytes"]
        rows.append(
            [
                one["label"],
                millions(one["params"]),
                millions(one["macs"]),
                megabytes(one["storage_bytes"]),
                share_left(base["storage_bytes"], one["storage_bytes"]),
                *(megabytes(memory[key]) for key in ("caffe", "unique", "planned")),
                share_left(base["activation_bytes"]["unique"], memory["unique"]),
            ]
        )
    return Table(head, rows)


def _loads(report: dict[str, Any]) -> Table:
    """Make a row for each network on each engine: memory, energy, largest batch."""
    head, rows = (
        ["engine", "network", "peak memory", "running", "without the engine", "energy, mJ an image", "largest batch"],
        [],
    )
    for engine in _measured(report):
        for entry in engine["networks"]:
            memory, energy, batch = (entry.get(key) or {} for key in ("memory", "energy", "largest_batch"))
            if memory or energy or batch:
                rows.append(
                    [
                        engine["engine"],
                        entry["label"],
                        megabytes(memory.get("peak")),
                        megabytes(memory.get("running")),
                        megabytes(memory.get("network")),
                        f"{1e3 * energy['joules_per_image']:.1f}" if "joules_per_image" in energy else NONE,
                        str(batch.get("images", NONE)),
                    ]
                )
    used = [i for i in range(len(head)) if i < 2 or any(row[i] != NONE for row in rows)]
    return Table([head[i] for i in used], [[row[i] for i in used] for row in rows] if len(used) > 2 else [])


def _accuracy(report: dict[str, Any]) -> Table | None:
    scored = [one for one in report["networks"] if one.get("accuracy")]
    if not scored:
        return None
    ks = list(dict.fromkeys(k for one in scored for k in one["accuracy"]["top"]))  # networks may differ in classes
    rows = []
    for one in report["networks"]:
        found = one.get("accuracy") or {"top": {}, "images": NONE}
        shares = [f"{found['top'][k]:.2%}" if k in found["top"] else NONE for k in ks]
        rows.append([one["label"], *shares, str(found["images"])])
    return Table(["accuracy", *(f"top-{k}" for k in ks), "images"], rows)


def markdown(report: dict[str, Any], preface: str) -> str:
    """Return the tables, with the machine above and what was not measured below."""
    parts = [preface]
    for one in tables(report):
        lines = [one.head, ["---", *["---:"] * (len(one.head) - 1)], *one.rows]
        parts.append("\n".join("| " + " | ".join(map(for_markdown, line)) + " |" for line in lines))
    parts.append("\n".join(f"- {note}" for note in notes(report)))
    return "\n\n".join(part for part in parts if part)


CSV_HEAD = ("network", "engine", "figure", "value", "unit", "low", "high")


def figures(report: dict[str, Any]) -> Iterator[tuple]:
    """Yield every figure as a line of CSV_HEAD; times and ratios with quartiles and interval."""
    for one in report["networks"]:
        for key, unit in (("layers", ""), ("params", ""), ("macs", ""), ("storage_bytes", "B"), ("file_bytes", "B")):
            yield for_terminal(one["label"]), "", key, one[key], unit, "", ""
        for key, value in one["activation_bytes"].items():
            if value is not None:
                yield for_terminal(one["label"]), "", f"activation_bytes_{key}", value, "B", "", ""
        for key, value in ((one.get("accuracy") or {}).get("top") or {}).items():
            yield for_terminal(one["label"]), "", f"top{key}", value, "", "", ""
    for engine in _measured(report):
        for entry in engine["networks"]:
            where = for_terminal(entry["label"]), engine["engine"]
            for key, unit in (("forward", "s"), ("ratio", "")):
                if found := entry.get(key):
                    yield *where, key, found.get("median", found.get("value")), unit, found["low"], found["high"]
            for key, value in (entry.get("memory") or {}).items():
                if isinstance(value, int):
                    yield *where, f"memory_{key}", value, "B", "", ""
            if "joules_per_image" in (entry.get("energy") or {}):
                yield *where, "joules_per_image", entry["energy"]["joules_per_image"], "J", "", ""
            if "images" in (entry.get("largest_batch") or {}):
                yield *where, "largest_batch", entry["largest_batch"]["images"], "", "", ""
