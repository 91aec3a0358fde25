"""train_val.prototxt: the network with data, loss and accuracy, new layers learning faster than old ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from deepmerge.emit.data_layers import Source, data_layer
from deepmerge.emit.layers import blob_names, layer_message
from deepmerge.emit.prototxt import message
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Field, Message, Quoted, Token

# (lr_mult, decay_mult) of weights and bias, as the paper fine-tunes: what is new learns 10 times as fast
NEW_RATES = ((10, 1), (20, 0))
OLD_RATES = ((1, 1), (2, 0))
PHASES = ("TRAIN", "TEST")
_PREDICTIONS = frozenset(("Softmax", "Sigmoid"))
_FED_BY_NO_FILE = frozenset(("Input", "DummyData", "Parameter"))


@dataclass(frozen=True)
class TrainData:
    """Where the train_val's images come from if the network brings no data layers of its own.

    home: what leads from the train_val's folder to the one where train_lmdb and test_lmdb are looked for
    when no source is given.
    """

    train: Source | None = None
    test: Source | None = None
    batch_size: int = 32
    home: str = ""

    def source(self, phase: str) -> Source:
        return {"TRAIN": self.train, "TEST": self.test}[phase] or Source("lmdb", f"{self.home}{phase.lower()}_lmdb")


@dataclass
class TrainVal:
    """The train_val network. notes: what had to be left out or guessed, a line each. phases: those that have data.

    guessed: whether there are data layers whose source or mean nobody has given.
    """

    tree: Message
    phases: tuple[str, ...] = PHASES
    batch_size: int = 0
    guessed: bool = False
    notes: list[str] = field(default_factory=list)


def train_val(graph: Graph, is_new: Callable[[Layer], bool], data: TrainData) -> TrainVal:
    """The train_val network. is_new: whether a layer learns at the new layers' rate."""
    made = TrainVal(Message())
    names = blob_names(graph)
    own = _with_renamed_inputs(graph, names)
    sources = [m for m in own if _is_source(m)]
    front = _front(graph, names, sources, data, made)
    heads = [] if any(_type(m).endswith("Loss") or "loss_weight" in m for m in own) else _losses(graph, names, _label(front, graph, names), made.notes)
    rest = [m for m in own if not _is_source(m)] + heads
    replaced = _predictions(graph, names, rest)
    body = [_with_rates(layer, names, is_new(layer)) for layer in graph.layers if layer.type != "Input" and layer not in replaced]
    if graph.name:
        made.tree.add("name", Quoted(graph.name))
    made.tree.fields += graph.tree.fields
    made.tree.fields += [Field("layer", m) for m in _joined(front + body, rest, made.notes)]
    return made


def _type(layer: Message) -> str:
    return str(layer.value("type"))


def _tops(layers: list[Message]) -> list[str]:
    return [str(top) for m in layers for top in m.values("top")]


def _read(layers: list[Message]) -> set[str]:
    return {str(bottom) for m in layers for bottom in m.values("bottom")}


def _is_source(layer: Message) -> bool:
    return "bottom" not in layer and "top" in layer


# -- data ----------------------------------------------------------------------------------------


def _front(graph: Graph, names: dict[Blob, str], sources: list[Message], data: TrainData, made: TrainVal) -> list[Message]:
    """The layers that feed the network: the user's, or new ones; what none of them feeds stays an Input."""
    wanted = [names[b] for b in graph.inputs]
    feeding = [m for m in sources if set(_tops([m])) & set(wanted)]
    if feeding:
        made.phases = tuple(p for p in PHASES if any(_runs_in(m, p) for m in feeding))
        made.batch_size = next((b for m in feeding if _runs_in(m, "TRAIN") and (b := _batch_size(m))), 0)
        if data.train or data.test:
            made.notes.append("the network's own data layers are kept; --train-source and --test-source are for networks that have none")
        front = list(sources)
    else:
        made.batch_size = data.batch_size
        made.guessed = not (data.train and data.test)
        front = _data_layers(graph, names, data) + sources
    missing = [b for b in graph.inputs if names[b] not in _tops(front)]
    if missing:
        made.notes.append(f"train_val.prototxt has no data for the input {missing[0].name!r}; give --train-val")
    shapes = infer_shapes(graph, strict=False)
    return front + [_input(names[b], shapes[b]) for b in missing]


def _data_layers(graph: Graph, names: dict[Blob, str], data: TrainData) -> list[Message]:
    blob = graph.inputs[0]
    shape = infer_shapes(graph, strict=False)[blob]
    tops = (names[blob], _free("label", names))
    return [data_layer(phase, tops, shape, data.source(phase), data.batch_size) for phase in PHASES]


def _input(name: str, shape: tuple[int, ...]) -> Message:
    return message(name=Quoted(name), type=Quoted("Input"), top=Quoted(name), input_param=message(shape=message(dim=list(shape))))


def _label(front: list[Message], graph: Graph, names: dict[Blob, str]) -> str:
    """What the data layers call the labels."""
    inputs = {names[b] for b in graph.inputs}
    return next((top for top in _tops(front) if top not in inputs), "label")


def _with_renamed_inputs(graph: Graph, names: dict[Blob, str]) -> list[Message]:
    """The user's layers; where their data layer calls the images otherwise than the network's only input, it takes over that name."""
    inputs, own = [names[b] for b in graph.inputs], list(graph.train_layers)
    sources = [m for m in own if _is_source(m)]
    images = [_tops([m])[0] for m in sources if _type(m) not in _FED_BY_NO_FILE]
    if len(inputs) != 1 or inputs[0] in _tops(sources) or not images:
        return own
    read = _read(own)  # by a loss, say: then it is labels
    old = next((top for top in images if top not in read), images[0])
    return [_renamed(m, old, inputs[0]) for m in own]


def _renamed(layer: Message, old: str, new: str) -> Message:
    copy = layer.copy()
    for key in ("bottom", "top"):
        if key in copy:
            copy.set(key, *(Quoted(new if v == old else v) for v in copy.values(key)))
    return copy


def _runs_in(layer: Message, phase: str) -> bool:
    """Whether the layer's include and exclude rules leave it in the phase (levels and stages aside)."""
    includes, excludes = layer.values("include"), layer.values("exclude")
    if includes:
        return any(rule.value("phase") in (None, phase) for rule in includes)
    return not any(rule.value("phase") == phase for rule in excludes)


def _batch_size(layer: Message) -> int:
    sizes = [f.value.value("batch_size") for f in layer if isinstance(f.value, Message)]
    return next((int(s) for s in sizes if s is not None and str(s).isdigit()), 0)


# -- layers --------------------------------------------------------------------------------------


def _with_rates(layer: Layer, names: dict[Blob, str], new: bool) -> Message:
    """The layer's message with learning rates; those that the user gave to an old layer stay."""
    made = layer_message(layer, names)
    if layer.type == "BatchNorm" or not layer.weights:
        return made  # Caffe itself keeps BatchNorm's statistics from learning
    given = list(layer.param_specs)
    if given and not new:
        return made
    rates = NEW_RATES if new else OLD_RATES
    specs = [message(lr_mult=lr, decay_mult=decay) for lr, decay in rates[: len(layer.weights)]]
    for spec, old in zip(specs, given, strict=False):
        spec.fields[:0] = [f for f in old if f.name not in ("lr_mult", "decay_mult")]
    made.remove("param")
    place = 1 + max(i for i, f in enumerate(made.fields) if f.name in ("name", "type", "bottom", "top"))
    made.fields[place:place] = [Field("param", spec) for spec in specs]
    return made


def _joined(layers: list[Message], rest: list[Message], notes: list[str]) -> list[Message]:
    """`layers` with the training layers put where they can run: in-place ones behind their blob's maker."""
    made = list(layers)
    read, own = _read(rest), set(_tops(layers))
    for extra in rest:
        bottoms, tops = ([str(v) for v in extra.values(n)] for n in ("bottom", "top"))
        makers = {str(t): i for i, m in enumerate(made) for t in m.values("top")}
        missing = [b for b in bottoms if b not in makers]
        if _type(extra) == "Dropout" and len(tops) == 1 and tops[0] not in read | makers.keys():
            extra = _renamed(extra, tops[0], bottoms[0])  # in the deploy network its readers read its bottom
            tops = bottoms
        if missing:
            notes.append(f"train_val.prototxt leaves out layer {str(extra.value('name'))!r}: its bottom {missing[0]!r} was merged away")
        elif twice := [t for t in tops if t in own and t not in bottoms]:
            notes.append(f"train_val.prototxt leaves out layer {str(extra.value('name'))!r}: its top {twice[0]!r} is made by the network itself")
        elif len(bottoms) == 1 and bottoms == tops:
            made.insert(makers[bottoms[0]] + 1, extra)
        else:
            made.append(extra)
    return made


# -- loss ----------------------------------------------------------------------------------------


def _ends(graph: Graph) -> list[Layer]:
    """The layers that only turn scores into probabilities, at the network's very end."""
    outputs = set(graph.outputs)
    return [layer for layer in graph.layers if layer.type in _PREDICTIONS and outputs.issuperset(layer.tops)]


def _predictions(graph: Graph, names: dict[Blob, str], readers: list[Message]) -> set[Layer]:
    """The probabilities that training does without, as no training layer reads them."""
    read = _read(readers)
    return {layer for layer in _ends(graph) if not read & {names[t] for t in layer.tops}}


def _losses(graph: Graph, names: dict[Blob, str], label: str, notes: list[str]) -> list[Message]:
    """SoftmaxWithLoss and Accuracy on the scores: on what the last Softmax reads, else on the last output."""
    end = (_ends(graph) or [b.producer for b in graph.outputs])[-1]
    scores = end.bottom if end.type in _PREDICTIONS else end.tops[-1]
    shape = infer_shapes(graph, strict=False).get(scores)
    if len(graph.outputs) > 1:
        notes.append(f"train_val.prototxt has a loss on {scores.name!r} alone, of {len(graph.outputs)} outputs; add the others, or give --train-val")
    if shape is not None and len(shape) == 4 and shape[2] * shape[3] > 1:
        notes.append(f"train_val.prototxt has a loss on {scores.name!r}, which wants {shape[2]}x{shape[3]} labels an image; give --train-val")
    bottoms = [Quoted(names[scores]), Quoted(label)]
    loss = _free("loss", names)
    if end.type == "Sigmoid":
        return [message(name=Quoted(loss), type=Quoted("SigmoidCrossEntropyLoss"), bottom=bottoms, top=Quoted(loss))]
    axis = end.params.axis if end.type == "Softmax" and end.params.axis != 1 else None
    of_axis = None if axis is None else message(axis=axis)
    heads = [message(name=Quoted(loss), type=Quoted("SoftmaxWithLoss"), bottom=bottoms, top=Quoted(loss), softmax_param=of_axis)]
    for k in (1, 5):
        if shape is not None and len(shape) > 1 and shape[1 if axis is None else axis] > k:
            name = Quoted(_free(f"accuracy/top-{k}", names))
            heads.append(message(name=name, type=Quoted("Accuracy"), bottom=bottoms, top=name, include=message(phase=Token("TEST")),
                                 accuracy_param=message(top_k=k, axis=axis)))  # fmt: skip
    return heads


def _free(name: str, names: dict[Blob, str]) -> str:
    """`name`, or with a number behind it, such that no blob of the network has it."""
    taken, free, number = set(names.values()), name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
