"""index.jsonl: a line a model, made from what the models' folders say."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.names import encoded
from deepmerge.out.staging import replacing
from deepmerge.zoo.manifest import Model
from deepmerge.zoo.record import LOG, read_record

VERSION = 1
FILE = "index.jsonl"
WAITING = "to do"
_PART = re.compile(r"index-(\d+)-of-(\d+)\.jsonl")
_RESULT = ("steps", "approximate_steps", "before", "after", "refusals", "warnings", "failure")
_ALWAYS = {"version": int, "number": int, "name": str, "folder": str, "status": str}
_RUN = ("seconds", "peak_bytes", "checks")

Entry = dict[str, Any]


def entries(models: Iterable[Model], out: Path, waiting: Collection[str] = ()) -> Iterator[Entry]:
    """Yield the index's entry of each model, from its folder in `out`; `waiting` have none, or one of other options."""
    for model in models:
        record = None if model.name in waiting else read_record(out / model.folder)
        entry = {"version": VERSION, "number": model.number, "name": model.name, "folder": model.folder}
        entry |= {"status": WAITING if record is None else record.status}
        entry |= {"prototxt": model.prototxt, "caffemodel": model.caffemodel, **model.notes}
        if record is not None:
            entry |= {key: record.result[key] for key in _RESULT if key in record.result}
            entry |= {key: record.run[key] for key in _RUN if key in record.run}
            if "failure" in entry:
                entry["log"] = f"{model.folder}/{LOG}"
            if record.result.get("page"):
                entry["report"] = f"{model.folder}/report.html"
        yield entry


def write_index(file: Path, found: Iterable[Entry]) -> Iterator[Entry]:
    """Write the entries, and yield each; the file comes into its place at the end. Its folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)  # no model may have made it: a shard can be empty
    with replacing(file) as partial:
        with open(partial, "wb") as stream:
            for entry in found:
                stream.write(encoded(json.dumps(entry, ensure_ascii=True)) + b"\n")
                yield entry


def is_index(file: Path) -> bool:
    """Return whether a zoo, of any version, has written the file: its first line, if there is one, is an entry."""
    try:
        lines = file.read_bytes().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return False
    return not lines or _entry(lines[0]) is not None


def part(shard: tuple[int, int]) -> str:
    """Return the name of the index that the run with this --shard writes."""
    index, count = shard
    return FILE if count == 1 else f"index-{index}-of-{count}.jsonl"


def read_parts(out: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries of all parts in `out`, in the manifest's order, and the names of the parts that are missing.

    ReadError if there are none, or if they are of runs with different n.
    """
    names = sorted(path.name for path in out.glob("index-*-of-*.jsonl") if _PART.fullmatch(path.name))
    counts = {int(_PART.fullmatch(name)[2]) for name in names}
    if not names:
        raise ReadError("holds no index-i-of-n.jsonl", out, remedy="give the folder that the runs with --shard wrote")
    if len(counts) > 1:
        text = f"holds parts of runs with different numbers of shards: {', '.join(names)}"
        raise ReadError(text, out, remedy="delete the old ones")
    found = [entry for name in names for entry in _read(out / name)]
    expected = [part((index, *counts)) for index in range(1, *(count + 1 for count in counts))]
    return sorted(found, key=lambda entry: entry["number"]), [name for name in expected if name not in names]


def _read(file: Path) -> Iterator[Entry]:
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        entry = _entry(line)
        if entry is None or entry["version"] != VERSION:
            text = "is not a line of an index that this deepmerge writes"
            raise ReadError(text, file, number, remedy="run that shard again")
        yield entry


def _entry(line: bytes) -> Entry | None:
    """Return the entry that a zoo, of any version, has written; None for any other line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    ours = isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in _ALWAYS.items())
    return entry if ours else None
