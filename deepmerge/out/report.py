"""report.json: what was asked, what was done, and why the rest was not."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepmerge.formats import schema
from deepmerge.formats.write.messages import is_source, runs_in
from deepmerge.graph.tokens import integer, number
from deepmerge.graph.tree import Message, Quoted, Token

VERSION = 1
_WORDS = {"true": True, "false": False}


def source_entry(path: str | Path, sha256: str | None = None) -> dict[str, str]:
    """A source file by its path and SHA-256. sha256: of a large file, as deepmerge.out.digest takes it."""
    return {"path": str(path), "sha256": sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def report_text(report: dict[str, Any]) -> str:
    """The report as JSON, two spaces an indent, keys in the order given."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def transforms(layers: Iterable[Message]) -> list[dict[str, Any]]:
    """What the data layers among `layers` do to images: name, phases, and the fields of their transform_param.

    Values are as the prototxt has them, those of forks, too; what may stand often is a list.
    """
    made = []
    for layer in layers:
        param = layer.message("transform_param")
        if is_source(layer) and param is not None:
            phases = [phase for phase in ("TRAIN", "TEST") if runs_in(layer, phase)]
            made.append(
                {"layer": str(layer.value("name")), "phases": phases, **_plain(param, "TransformationParameter")}
            )
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
    if isinstance(value, Quoted) or text in _WORDS:
        return _WORDS.get(text, text) if isinstance(value, Token) else text
    for read in (integer, number):
        try:
            found = read(text)
        except ValueError:
            continue
        return found if math.isfinite(found) else text
    return text
