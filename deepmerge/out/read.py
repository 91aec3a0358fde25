"""Reading OUT: its report, its networks, and the original network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.formats import INT8_FILE
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.files import map_file, read_text
from deepmerge.formats.read.inputs import Sizes
from deepmerge.formats.read.weights import Weights, load_weights, weights_by_name
from deepmerge.graph.graph import Graph
from deepmerge.out.report import VERSION
from deepmerge.out.write import folder_name
from deepmerge.text import listed

_AGAIN = "give the folder that `deepmerge convert` has written"
_PAIR = ("deploy.prototxt", "weights.caffemodel")


@dataclass(frozen=True)
class Pair:
    """A network's two files, which iterating gives, and the sizes of inputs that the user gives for it.

    over: further caffemodels, whose layers replace those of `caffemodel`, the last one's first. A step's network has
    some if its folder holds new_layers.caffemodel alone.
    onnx: the file that is run in their place, such as model-int8.onnx; the two still say what the network is.
    """

    prototxt: Path
    caffemodel: Path
    inputs: Sizes = field(default_factory=dict)
    over: tuple[Path, ...] = ()
    onnx: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        return iter((self.prototxt, self.caffemodel))

    @property
    def caffemodels(self) -> tuple[Path, ...]:
        """All files that the weights are in, in the order in which Caffe's -weights takes them."""
        return self.caffemodel, *self.over

    def stored(self) -> Path | Weights:
        """Return the weights as `load_weights` takes them: a file, or those of several files by their layers' names."""
        if not self.over:
            return self.caffemodel
        stored: dict[str, Any] = {}
        for file in self.caffemodels:
            stored |= weights_by_name(read_caffemodel(file))
        return stored

    def read(self, weights: bool = True) -> Graph:
        """Return the network, with its weights or without; see read.read_network."""
        if not self.over or not weights:
            return read_network(self.prototxt, self.caffemodel if weights else None, self.inputs)
        graph = read_network(self.prototxt, None, self.inputs)
        if missing := load_weights(graph, self.stored()):
            files = listed([str(file) for file in self.caffemodels])
            text = f"layer {missing[0].name!r} has no weights in {files}"
            raise ReadError(text, self.prototxt, layer=missing[0].name, remedy="convert again")
        return graph


def onnx_pair(file: str | Path, inputs: Sizes | None = None) -> Pair:
    """Return the network of an ONNX file in OUT. ReadError without the Caffe files beside it."""
    file = Path(file)
    if not file.is_file():
        raise ReadError("no such file", file)
    pair = Pair(*(file.with_name(name) for name in _PAIR), inputs or {}, onnx=file)
    for beside in pair:
        if not beside.is_file():
            text = f"has no {beside.name} beside it, which says what its network is"
            raise ReadError(text, file, remedy="convert again with caffe in --emit")
    return pair


@dataclass(frozen=True)
class StepFolder:
    """The folder of one approximate step: the network after all steps up to this one.

    index: the step's number in the report.
    """

    index: int
    name: str
    folder: Path
    pair: Pair

    @property
    def new_layers(self) -> Path:
        """The caffemodel of the layers that the step made."""
        return self.folder / "new_layers.caffemodel"


@dataclass(frozen=True)
class Converted:
    """The content of OUT. report: report.json. steps: the folders of the approximate steps; [] after --no-steps.

    given: the original's files, if they are not those that the report names. inputs: sizes of inputs that the user
    gives for the original, beside those that the report has.
    """

    folder: Path
    report: dict[str, Any]
    final: Pair
    steps: list[StepFolder]
    given: Pair | None = field(default=None)
    inputs: Sizes = field(default_factory=dict)

    @property
    def int8(self) -> Pair | None:
        """The final network in int8, if OUT has it."""
        file = self.folder / INT8_FILE
        return replace(self.final, onnx=file) if file.is_file() else None

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The report's steps, the exact ones included, in order."""
        return self.report["steps"]

    @property
    def approximate(self) -> list[dict[str, Any]]:
        """The report's steps that are not exact."""
        return [entry for entry in self.entries if not entry["exact"]]

    @cached_property
    def original(self) -> Pair:
        """The network that was converted.

        ReadError if a file is not where the report says (relative to the current folder, to OUT or to its parent), or
        has changed. Of several such files, the unchanged one counts.
        Files that the user gave are not compared.
        """
        inputs = {**self.report.get("inputs", {}), **self.inputs}
        if self.given is not None:
            for file in self.given:
                map_file(file).release()
            return replace(self.given, inputs=inputs)
        return Pair(*(self._source(kind) for kind in ("prototxt", "caffemodel")), inputs)

    def _source(self, kind: str) -> Path:
        entry = self.report["source"][kind]
        path, here = Path(entry["path"]), self.folder.resolve()
        places = {place.resolve(): place for place in (here.parent / path, here / path, path) if place.is_file()}
        places = list(reversed(places.values()))  # as the report says it first
        if not places:
            text = f"the original's {kind}, {path}, is not there (any more)"
            remedy = "say where with --original PROTOTXT CAFFEMODEL"
            raise ReadError(text, self.folder / "report.json", remedy=remedy)
        found = next((place for place in places if _sha256(place) == entry["sha256"]), None)
        if found is None:
            text = f"has changed since {self.folder} was made from it"
            raise ReadError(text, places[0], remedy="convert it again, or give the old one with --original")
        return found


def _sha256(file: Path) -> str:
    with map_file(file) as data:
        return hashlib.sha256(data).hexdigest()


def read_converted(
    folder: str | Path,
    original: Iterable[Path] | None = None,
    need_steps: bool = False,
    need_final: bool = True,
    inputs: Sizes | None = None,
) -> Converted:
    """Return the conversion in `folder`. Neither weights nor the original are read yet.

    original: the original's prototxt and caffemodel, if not those that the report names. need_steps: whether each
    approximate step must have a folder. need_final: whether model.onnx alone is not enough. inputs: sizes
    of inputs, for all of its networks and the original.
    ReadError if it is not such a folder, or if files are missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReadError("is not a folder" if folder.exists() else "no such folder", folder, remedy=_AGAIN)
    report = _read_report(folder / "report.json")
    final = Pair(*(folder / name for name in _PAIR), inputs or {})
    onnx_alone = not any(file.exists() for file in final) and (folder / "model.onnx").exists()
    if onnx_alone and need_final:
        remedy = "convert again with --emit caffe,onnx"
        raise ReadError("holds model.onnx alone, which cannot be trained", folder, remedy=remedy)
    steps = _step_folders(folder, report, need_steps, final.inputs)
    expected = [] if onnx_alone else [*final]
    for step in steps:
        expected += [*step.pair, step.new_layers]
    for file in expected:
        if not file.is_file():
            text = f"is missing, so that {folder} is not all that `deepmerge convert` wrote"
            raise ReadError(text, file, remedy="convert again")
    given = None if original is None else Pair(*map(Path, original))
    return Converted(folder, report, final, steps, given, final.inputs)


def _step_folders(folder: Path, report: Mapping[str, Any], needed: bool, inputs: Sizes) -> list[StepFolder]:
    rough = [entry for entry in report["steps"] if not entry["exact"]]
    if rough and not (folder / "steps").exists():
        if needed:
            remedy = "convert again without --no-steps"
            raise ReadError("has no folder for each step (steps/)", folder, remedy=remedy)
        return []
    made = []
    for entry in rough:
        here = folder / "steps" / folder_name(entry["index"], entry["name"])
        made.append(StepFolder(entry["index"], entry["name"], here, _step_pair(here, made, inputs)))
    return made


def _step_pair(here: Path, before: list[StepFolder], inputs: Sizes) -> Pair:
    """Return a step's files: its own weights, or those of the step before it with the new layers on top."""
    own = Pair(*(here / name for name in _PAIR), inputs)
    if not before or own.caffemodel.exists():
        return own
    last = before[-1].pair
    return replace(own, caffemodel=last.caffemodel, over=(*last.over, here / "new_layers.caffemodel"))


def _read_report(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ReadError("holds no report.json", path.parent, remedy=_AGAIN)
    try:
        report = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"is not JSON ({error})", path, remedy="convert again") from None
    version = report.get("version") if isinstance(report, dict) else None
    if version != VERSION and isinstance(version, int):
        text = f"is of version {version}, and this deepmerge reads version {VERSION}"
        raise ReadError(text, path, remedy="convert again")
    lacking = _lacking(report)
    if lacking:
        raise ReadError(f"is not a report of a conversion: {lacking}", path, remedy=_AGAIN)
    return report


_STEP = {"index": int, "name": str, "exact": bool, "into": list, "merged": list}


def _lacking(report: Any) -> str:
    """Return what a report lacks; "" if nothing."""
    if not isinstance(report, dict):
        return "it is not an object"
    for key, kind in (("version", int), ("source", dict), ("steps", list)):
        if not isinstance(report.get(key), kind):
            return f"it has no {key!r}"
    for kind in ("prototxt", "caffemodel"):
        entry = report["source"].get(kind)
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "sha256")):
            return f"its source has no {kind}"
    inputs = report.get("inputs", {})
    if not isinstance(inputs, dict) or not all(isinstance(size, list) for size in inputs.values()):
        return "its inputs are not lists of numbers"
    for number, entry in enumerate(report["steps"], 1):
        fields = entry if isinstance(entry, dict) else {}
        for key, kind in _STEP.items():
            if not isinstance(fields.get(key), kind):
                return f"step {number} has no {key!r}"
    return ""
