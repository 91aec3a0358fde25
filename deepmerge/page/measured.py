"""What was measured: the JSON of `deepmerge profile`, `bench` and `table`, read into what the page shows of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.formats import INT8_FILE
from deepmerge.formats.read.files import read_text
from deepmerge.page.checked import is_number

_INT8 = "int8"  # the row beside the steps' in the table; see measure/steps/job.py


@dataclass(frozen=True)
class Timed:
    """A layer's time. seconds: the median. group: its step."""

    name: str
    type: str
    group: str
    tensor: bool
    seconds: float


@dataclass(frozen=True)
class Run:
    """A network on an engine. forward: (median, low, high) seconds. ratio: speed-up over the first (value, low, high).

    total, non_tensor: the sum of the layers' times, and the share of it outside tensor layers. figures: what was
    measured of peak (bytes of the process), joules (of an image) and batch (the largest).
    """

    label: str
    forward: tuple[float, float, float] | None = None
    ratio: tuple[float, float, float] | None = None
    total: float | None = None
    non_tensor: float | None = None
    layers: list[Timed] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """A file's content. where: the machine, in words. engines: name → a Run for each network. absent: engine → reason.

    accuracy: label → {"1": share, …}. images: how many they were taken on. int8: the labels of networks in int8.
    """

    file: Path
    where: str
    engines: dict[str, list[Run]]
    absent: dict[str, str]
    accuracy: dict[str, dict[str, float]] = field(default_factory=dict)
    images: int | None = None
    int8: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """The network after a step ("" for the original). top: column → {"1": share}. speedup: over the original."""

    step: str
    index: int | None
    top: dict[str, dict[str, float]]
    seconds: float | None
    speedup: float | None

    @property
    def int8(self) -> bool:
        """Whether the row is that of the networks in int8. In old reports a step, with an index, may have the name."""
        return self.step == _INT8 and self.index is None


@dataclass(frozen=True)
class Steps:
    """`deepmerge table`'s content. columns: merged, recovered, fine-tuned, …; images: how many, of what."""

    file: Path
    where: str
    columns: list[str]
    rows: list[Row]
    images: str
    engine: str


def read_measured(file: Path, command: str) -> Measured:
    """Read what `deepmerge profile --json` or `deepmerge bench --json` wrote. ReadError if it is something else."""
    return _read(file, command, _measured)


def read_steps(file: Path) -> Steps:
    """Read what `deepmerge table --json` wrote. ReadError if it is something else."""
    return _read(file, "table", _steps)


def _read(file: Path, command: str, take) -> Any:
    try:
        return take(Path(file), json.loads(read_text(file), parse_constant=_not_a_number))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError):
        raise ReadError(f"is not what `deepmerge {command} … --json` writes; give its output", file) from None


def _not_a_number(word: str) -> None:
    """NaN and Infinity, which Python writes and no page can show."""


def _measured(file: Path, found: dict[str, Any]) -> Measured:
    engines, absent = {}, {}
    for engine in found["engines"]:
        if engine["absent"] is not None:
            absent[_text(engine["engine"])] = _text(engine["absent"])
        else:
            engines[_text(engine["engine"])] = [
                _run(entry) for entry in engine["networks"] if entry.get("refused") is None
            ]
    accuracy, images, int8 = {}, None, set()
    for network in found["networks"]:
        scores, onnx = network.get("accuracy"), network.get("onnx")
        if scores:
            accuracy[_text(network["label"])] = _shares(scores["top"])
            images = int(scores["images"])
        if onnx is not None and Path(_text(onnx)).name == INT8_FILE:
            int8.add(_text(network["label"]))
    return Measured(file, _where(found), engines, absent, accuracy, images, frozenset(int8))


def _run(entry: dict[str, Any]) -> Run:
    ratio = entry.get("ratio")
    layers = [
        Timed(*map(_text, (one["name"], one["type"], one["group"])), bool(one["tensor"]), _median(one["seconds"]))
        for one in entry.get("layers") or ()
    ]
    memory, energy, batch = (entry.get(key) or {} for key in ("memory", "energy", "largest_batch"))
    figures = {"peak": memory.get("peak"), "joules": energy.get("joules_per_image"), "batch": batch.get("images")}
    return Run(
        _text(entry["label"]),
        _three(entry["forward"], "median") if entry.get("forward") else None,
        None if not ratio else tuple(1 / _three(ratio, "value")[i] for i in (0, 2, 1)),
        _median(entry["sum"]) if layers else None,
        _median(entry["non_tensor"]) if layers else None,
        layers,
        {name: _number(value) for name, value in figures.items() if value is not None},
    )


def _steps(file: Path, found: dict[str, Any]) -> Steps:
    rows = []
    for row in found["rows"]:
        step, index, seconds, speedup = (row[key] for key in ("step", "index", "seconds", "speedup"))
        rows.append(
            Row(
                "" if step is None else _text(step),
                None if index is None else int(index),
                {_text(column): _shares(top) for column, top in (row["top"] or {}).items()},
                None if seconds is None else _median(seconds),
                None if speedup is None else _number(speedup["value"]),
            )
        )
    kind, colon, path = _text(found.get("data") or "").partition(":")
    images = f"{int(found['images']):,} images of {kind}{colon}{Path(path).name}" if kind else ""
    columns = [_text(column["title"]) for column in found["columns"]]
    return Steps(file, _where(found), columns, rows, images, _text(found.get("time_engine", found["engine"])))


def _where(found: dict[str, Any]) -> str:
    machine = found["machine"]
    threads = found.get("threads") or (found.get("settings") or {}).get("threads")
    load = machine.get("load")
    parts = [_text(machine["processor"]), f"{int(machine['cores'])} cores"]
    parts += [f"{int(threads)} thread{'' if threads == 1 else 's'}"] if threads else []
    parts += [f"load average {_number(load[0]):.2f}"] if load else []
    return ", ".join(parts)


def _median(value: dict[str, Any]) -> float:
    return _number(value["median"])


def _three(value: dict[str, Any], middle: str) -> tuple[float, float, float]:
    return tuple(_number(value[key]) for key in (middle, "low", "high"))


def _shares(top: dict[str, Any]) -> dict[str, float]:
    return {_text(k): _number(share) for k, share in top.items()}


def _number(value: Any) -> float:
    if not is_number(value):
        raise TypeError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
