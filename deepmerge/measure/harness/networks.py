"""From the words of a command line to networks: which files, with which label, in which batch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.graph import Graph
from deepmerge.measure.harness.fill import fill
from deepmerge.out.read import onnx_pair, read_converted
from deepmerge.text import unused

WEIGHTS = (".caffemodel", ".h5", ".hdf5")
FOLDER = ("deploy.prototxt", "weights.caffemodel")
PLAIN = frozenset({"deploy", "net", "network", "model", "train_val", "test"})  # file names that say nothing


@dataclass(frozen=True)
class Source:
    """A network's files, and its label in tables. caffemodel: None for random weights. onnx: as in out.read.Pair.

    folder: that which convert wrote, if the network is named by it. inputs: sizes of its inputs that the report has.
    """

    label: str
    prototxt: Path
    caffemodel: Path | None
    onnx: Path | None = None
    folder: Path | None = None
    inputs: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A network that has been read. random: its weights are made up, since there was no caffemodel."""

    label: str
    source: Source
    graph: Graph
    random: bool


def parse_networks(words: Sequence[str]) -> list[Source]:
    """Return the networks that the words name, in order, each with a label of its own.

    A word is a folder that `convert` wrote, or a step's in it that holds weights.caffemodel (the first one's; all with
    --step-weights), an ONNX file in it, or a PROTOTXT. The word after a PROTOTXT is its CAFFEMODEL if it ends like one
    (.caffemodel, .h5); PROTOTXT,CAFFEMODEL in one word works, too. NAME= before it sets the label. Raises ValueError
    for words that make no network.
    """
    found: list[Source] = []
    for word in words:
        name, path = _labelled(word)
        if path.suffix.lower() in WEIGHTS and "," not in path.name:
            if name or not found or found[-1].caffemodel is not None:
                raise ValueError(f"{word!r} are weights; give them after their PROTOTXT")
            found[-1] = dataclasses.replace(found[-1], caffemodel=path)
        else:
            found.append(_source(name, path))
    return _distinct(found)


def _labelled(word: str) -> tuple[str, Path]:
    """Split NAME=PATH; a file whose name has a = in it is a file."""
    name, equals, rest = word.partition("=")
    if equals and name and rest and "/" not in name and not Path(word).exists():
        return name, Path(rest)
    return "", Path(word)


def _source(name: str, path: Path) -> Source:
    if path.is_dir():
        return Source(name or path.resolve().name, path / FOLDER[0], path / FOLDER[1], folder=path)
    if path.suffix == ".onnx":
        pair = onnx_pair(path)
        kind = path.stem.removeprefix("model-") if path.stem != "model" else "ONNX"
        return Source(name or f"{path.resolve().parent.name}, {kind}", *pair, path)
    prototxt, comma, caffemodel = str(path).rpartition(",")
    if comma and prototxt and caffemodel and not path.exists():
        return Source(name or _plain(Path(prototxt)), Path(prototxt), Path(caffemodel))
    return Source(name or _plain(path), path, None)


def _plain(prototxt: Path) -> str:
    """Return a label for a prototxt: its own name, or its folder's if that says more."""
    stem = prototxt.name.removesuffix(".prototxt")
    return (prototxt.resolve().parent.name or stem) if stem in PLAIN else stem


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Labels that are taken get a number."""
    taken: set[str] = set()
    labelled = []
    for source in sources:
        label = unused(source.label, taken, "{} ({})")
        taken.add(label)
        labelled.append(dataclasses.replace(source, label=label))
    return labelled


def with_variants(sources: Sequence[Source]) -> list[Source]:
    """Return the networks, each folder's followed by that in int8 if the folder has it.

    A folder alone comes after its original, if that is where its report says.
    """
    found: list[Source] = []
    for source in sources:
        converted = None
        if source.folder is not None and (source.folder / "report.json").exists():
            converted = read_converted(source.folder)
        if converted is not None and len(sources) == 1:
            with contextlib.suppress(ReadError):
                found.append(Source("original", *converted.original, inputs=converted.original.inputs))
        found.append(source)
        if converted is not None and converted.int8:
            found.append(Source(f"{source.label}, int8", *converted.int8, converted.int8.onnx))
    return _distinct(found)


def read_networks(sources: Sequence[Source], batch: int | None = None, inputs: Sizes | None = None) -> list[Network]:
    """Read the networks, with random weights if there is no caffemodel.

    batch: images at a time (None: as declared). inputs: sizes of their inputs.
    Raises what read_network raises; ReadError if a folder is not one that convert wrote.
    """
    from deepmerge.formats.read import read_network

    networks = []
    for source in sources:
        if source.prototxt.name == FOLDER[0] and not source.prototxt.exists() and source.prototxt.parent.is_dir():
            raise ReadError(
                "holds no deploy.prototxt; give a folder that `deepmerge convert` wrote, or a PROTOTXT",
                source.prototxt.parent,
            )
        graph = read_network(source.prototxt, source.caffemodel, {**source.inputs, **(inputs or {})})
        if source.caffemodel is None:
            fill(graph)
        networks.append(
            Network(
                source.label, source, graph if batch is None else with_batch(graph, batch), source.caffemodel is None
            )
        )
    return networks


def with_batch(graph: Graph, batch: int) -> Graph:
    """Copy the network for another batch. ShapeError if it runs at its own batch only."""
    from deepmerge.graph.shapes import infer_shapes

    twin = graph.copy()
    for layer in twin.layers:
        if layer.type == "Input":
            shapes = tuple((batch, *shape[1:]) if len(shape) > 1 else shape for shape in layer.params.shape)
            layer.params = dataclasses.replace(layer.params, shape=shapes)
    infer_shapes(twin)
    return twin
