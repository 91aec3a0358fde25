"""Reading OUT, the folder that a conversion has made: its report, its networks, and the original that they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.read.files import map_file, read_text
from deepmerge.graph.graph import Graph
from deepmerge.out.report import VERSION
from deepmerge.out.write import folder_name

_AGAIN = "give the folder that `deepmerge convert` has written"
_PAIR = ("deploy.prototxt", "weights.caffemodel")


class Pair(NamedTuple):
    """A network's two files."""

    prototxt: Path
    caffemodel: Path

    def read(self) -> Graph:
        """The network with its weights; see read.read_network."""
        return read_network(self.prototxt, self.caffemodel)


@dataclass(frozen=True)
class StepFolder:
    """The folder of one approximate step: the network with all steps up to `index` (its number in the report) merged."""

    index: int
    name: str
    folder: Path
    pair: Pair

    @property
    def new_layers(self) -> Path:
        """The caffemodel of what the step made."""
        return self.folder / "new_layers.caffemodel"


@dataclass(frozen=True)
class Converted:
    """What is in OUT. report: report.json. steps: the approximate steps' folders in order, [] where --no-steps left them out.

    given: the original's files, where they are not those that the report names.
    """

    folder: Path
    report: dict[str, Any]
    final: Pair
    steps: list[StepFolder]
    given: Pair | None = field(default=None)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The report's steps, the exact ones included, in order."""
        return self.report["steps"]

    @property
    def approximate(self) -> list[dict[str, Any]]:
        """Those of the report's steps that are not exact."""
        return [entry for entry in self.entries if not entry["exact"]]

    @cached_property
    def original(self) -> Pair:
        """The network that was converted.

        ReadError where a file is no longer where the report says (from the current folder, or from OUT's), or no longer
        the same. What was given is taken as it is.
        """
        if self.given is not None:
            for file in self.given:
                map_file(file).release()
            return self.given
        return Pair(*(self._source(kind) for kind in ("prototxt", "caffemodel")))

    def _source(self, kind: str) -> Path:
        entry = self.report["source"][kind]
        path, here = Path(entry["path"]), self.folder.resolve()
        found = next((place for place in (path, here / path, here.parent / path) if place.is_file()), None)
        if found is None:
            text = (
                f"the original's {kind}, {path}, is not there (any more); say where with --original PROTOTXT CAFFEMODEL"
            )
            raise ReadError(text, self.folder / "report.json")
        with map_file(found) as data:
            same = hashlib.sha256(data).hexdigest() == entry["sha256"]
        if not same:
            text = f"has changed since {self.folder} was made from it; convert it again, or give the old one with --original"
            raise ReadError(text, found)
        return found


def read_converted(
    folder: str | Path, original: tuple[Path, Path] | None = None, need_steps: bool = False, need_final: bool = True
) -> Converted:
    """The conversion in `folder`. original: the original's prototxt and caffemodel, if not those that the report names.

    need_steps: whether a folder for each approximate step must be there. need_final: whether model.onnx alone will not do.
    ReadError (one line) where it is no such folder, or not all of it is there. The weights are not read yet, and the
    original is not looked for before it is asked for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError(f"is not a folder; {_AGAIN}" if folder.exists() else f"no such folder; {_AGAIN}", folder)
    report = _read_report(folder / "report.json")
    final = Pair(*(folder / name for name in _PAIR))
    onnx_alone = not any(file.exists() for file in final) and (folder / "model.onnx").exists()
    if onnx_alone and need_final:
        raise ReadError("holds model.onnx alone, which cannot be trained; convert again with --emit caffe,onnx", folder)
    steps = _step_folders(folder, report, need_steps)
    for file in (*(() if onnx_alone else final), *(file for step in steps for file in (*step.pair, step.new_layers))):
        if not file.is_file():
            raise ReadError(
                f"is missing, so that {folder} is not all that `deepmerge convert` wrote; convert again", file
            )
    return Converted(folder, report, final, steps, None if original is None else Pair(*map(Path, original)))


def _step_folders(folder: Path, report: Mapping[str, Any], needed: bool) -> list[StepFolder]:
    rough = [entry for entry in report["steps"] if not entry["exact"]]
    if rough and not (folder / "steps").exists():
        if needed:
            raise ReadError("has no folder for each step (steps/); convert again without --no-steps", folder)
        return []
    made = []
    for entry in rough:
        here = folder / "steps" / folder_name(entry["index"], entry["name"])
        made.append(StepFolder(entry["index"], entry["name"], here, Pair(*(here / name for name in _PAIR))))
    return made


def _read_report(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ReadError(f"holds no report.json; {_AGAIN}", path.parent)
    try:
        report = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"is not JSON ({error}); convert again", path) from None
    version = report.get("version") if isinstance(report, dict) else None
    if version != VERSION and isinstance(version, int):
        raise ReadError(f"is of version {version}, and this deepmerge reads version {VERSION}; convert again", path)
    wrong = _wrong(report)
    if wrong:
        raise ReadError(f"is no report of a conversion: {wrong}; {_AGAIN}", path)
    return report


_STEP = {"index": int, "name": str, "exact": bool, "into": list, "merged": list}


def _wrong(report: Any) -> str:
    """What a report lacks, "" if nothing."""
    if not isinstance(report, dict):
        return "it is not an object"
    for key, kind in (("version", int), ("source", dict), ("steps", list)):
        if not isinstance(report.get(key), kind):
            return f"it has no {key!r}"
    for kind in ("prototxt", "caffemodel"):
        entry = report["source"].get(kind)
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "sha256")):
            return f"its source has no {kind}"
    for number, entry in enumerate(report["steps"], 1):
        lacks = [
            key for key, kind in _STEP.items() if not isinstance(entry, dict) or not isinstance(entry.get(key), kind)
        ]
        if lacks:
            return f"step {number} has no {lacks[0]!r}"
    return ""
