"""The data layers of a train_val network: the user's own, or new ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepmerge.errors import EmitError
from deepmerge.formats.messages import is_source, kind_of, read_by, renamed, runs_in, stated_batch, tops_of
from deepmerge.formats.write.data_layers import Source, data_layer
from deepmerge.formats.write.prototxt import message
from deepmerge.graph.graph import Blob, Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Message, Quoted
from deepmerge.text import input_option, unused

PHASES = ("TRAIN", "TEST")
_FED_BY_NO_FILE = frozenset(("Input", "DummyData", "Parameter"))


@dataclass(frozen=True)
class TrainData:
    """Where the images come from if the network has no data layers of its own.

    home: the path from the train_val's folder to the one with train_lmdb and test_lmdb, the sources if none are given.
    """

    train: Source | None = None
    test: Source | None = None
    batch_size: int = 32
    home: str = ""

    def source(self, phase: str) -> Source:
        """Return the source of one phase."""
        return {"TRAIN": self.train, "TEST": self.test}[phase] or Source("lmdb", f"{self.home}{phase.lower()}_lmdb")


@dataclass
class Front:
    """The layers in front of a train_val network.

    label: the labels' blob. phases: those that have data. batch_size: in training; 0 if unknown. guessed: whether
    deepmerge has guessed a source and a mean. notes: what the user should know, a line each.
    """

    layers: list[Message]
    label: str = "label"
    phases: tuple[str, ...] = PHASES
    batch_size: int = 0
    guessed: bool = False
    notes: list[str] = field(default_factory=list)


def make_front(graph: Graph, names: dict[Blob, str], own: list[Message], data: TrainData) -> Front:
    """Return the user's data layers among `own` if they feed the network, else new ones. Other inputs stay Inputs."""
    inputs = [names[b] for b in graph.inputs]
    sources = [m for m in own if is_source(m)]
    feeding = [m for m in sources if set(tops_of([m])) & set(inputs)]
    front = _kept(sources, feeding, data) if feeding else _new(graph, names, sources, data)
    front.label = next((top for top in tops_of(front.layers) if top not in inputs), "label")
    for blob in (b for b in graph.inputs if names[b] not in tops_of(front.layers)):
        front.notes.append(f"train_val.prototxt has no data for the input {blob.name!r}; give --train-val")
        front.layers.append(_input(names[blob], _shape_of(graph, blob)))
    return front


def _kept(sources: list[Message], feeding: list[Message], data: TrainData) -> Front:
    front = Front(list(sources), phases=tuple(p for p in PHASES if any(runs_in(m, p) for m in feeding)))
    front.batch_size = next((b for m in feeding if runs_in(m, "TRAIN") and (b := stated_batch(m))), 0)
    if data.train or data.test:
        why = "--train-source and --test-source are for networks that have none"
        front.notes.append(f"the network's own data layers are kept; {why}")
    return front


def _new(graph: Graph, names: dict[Blob, str], sources: list[Message], data: TrainData) -> Front:
    blob = graph.inputs[0]
    shape, tops = _shape_of(graph, blob), (names[blob], unused("label", names.values()))
    layers = [data_layer(phase, tops, shape, data.source(phase), data.batch_size) for phase in PHASES]
    return Front(layers + sources, batch_size=data.batch_size, guessed=not (data.train and data.test))


def _shape_of(graph: Graph, blob: Blob) -> tuple[int, ...]:
    shape = infer_shapes(graph, strict=False)[blob]
    if shape is None:
        text = f"network {graph.name!r}: input {blob.name!r} has no shape, which train_val.prototxt has to say"
        remedy = f"give it: {input_option(blob.name, (1, 3, None, None))}"
        raise EmitError(text, layer=blob.producer.name, remedy=remedy)
    return shape


def _input(name: str, shape: tuple[int, ...]) -> Message:
    param = message(shape=message(dim=list(shape)))
    return message(name=Quoted(name), type=Quoted("Input"), top=Quoted(name), input_param=param)


def own_layers(graph: Graph, names: dict[Blob, str]) -> list[Message]:
    """Return the user's training layers.

    If the network has one input, and their data layer has another name for the images, it gets the input's name.
    """
    inputs, own = [names[b] for b in graph.inputs], list(graph.train_layers)
    sources = [m for m in own if is_source(m)]
    images = [tops_of([m])[0] for m in sources if kind_of(m) not in _FED_BY_NO_FILE]
    if len(inputs) != 1 or inputs[0] in tops_of(sources) or not images:
        return own
    labels = read_by(m for m in own if kind_of(m).endswith(("Loss", "Accuracy")))
    old = next((top for top in images if top not in labels), images[0])
    return [renamed(m, old, inputs[0]) for m in own]


def without_twins(graph: Graph) -> tuple[list[Message], list[str]]:
    """Return the training layers that stand for none of the network's own, and a note for each that does.

    Such a twin has the blobs of a layer and its name or type: it is this layer in the TRAIN phase, or --train-val calls
    it differently. Passes take layers away, so `graph` is the network as it was read.
    """
    own: dict[tuple, str] = {}
    for layer in graph.layers:
        ends = tuple(b.name for b in layer.bottoms), tuple(t.name for t in layer.tops)
        own |= dict.fromkeys(((layer.type, ends), (layer.name, ends)), layer.name)
    kept, notes = [], []
    for extra in graph.train_layers:
        name, ends = str(extra.value("name")), (tuple(map(str, extra.values("bottom"))), tuple(tops_of([extra])))
        twin = own.get((kind_of(extra), ends)) or own.get((name, ends))
        if is_source(extra) or twin is None:
            kept.append(extra)
        else:
            notes.append(f"train_val.prototxt leaves out layer {name!r}: the network's {twin!r} takes its place")
    return kept, notes
