"""report.json: what was asked for, what was done, and why the rest was not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deepmerge.formats import schema
from deepmerge.formats.messages import is_source, runs_in
from deepmerge.graph.tokens import integer, number
from deepmerge.graph.tree import Message, Quoted, Token
from deepmerge.names import encoded, for_json

VERSION = 1
_WORDS = {"true": True, "false": False}


def source_entry(path: str | Path, sha256: str | None = None) -> dict[str, str]:
    """Return a source file's path and SHA-256. sha256: the digest, if deepmerge.out.digest has computed it already."""
    return {"path": str(path), "sha256": sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def report_text(report: dict[str, Any]) -> str:
    """Return the report as JSON, indented by two spaces, with the keys in the order given."""
    return for_json(report) + "\n"


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write report.json into the folder."""
    (folder / "report.json").write_bytes(encoded(report_text(dict(report))))


def transforms(layers: Iterable[Message]) -> list[dict[str, Any]]:
    """Return what the data layers among `layers` do to images: name, phases, and the fields of transform_param.

    Values are as in the prototxt, also in fields of Caffe's forks. Repeated fields are lists.
    """
    made = []
    for layer in layers:
        param = layer.message("transform_param")
        if is_source(layer) and param is not None:
            phases = [phase for phase in ("TRAIN", "TEST") if runs_in(layer, phase)]
            entry = {"layer": str(layer.value("name")), "phases": phases}
            made.append(entry | _plain(param, "TransformationParameter"))
    return made


def _plain(message: Message, type_name: str = "") -> dict[str, Any]:
    known = schema.fields(type_name) if type_name else {}
    made: dict[str, Any] = {}
    for name in dict.fromkeys(field.name for field in message):
        values = [_value(value) for value in message.values(name)]
        often = known[name].repeated if name in known else len(values) > 1
        made[name] = values if often else values[-1]
    return made


def _value(value: Message | Quoted | Token) -> Any:
    if isinstance(value, Message):
        return _plain(value)
    text = str(value)
    if isinstance(value, Quoted):
        return text
    if text in _WORDS:
        return _WORDS[text]
    for read in (integer, number):
        try:
            found = read(text)
        except ValueError:
            continue
        return found if math.isfinite(found) else text
    return text
