"""train_val.prototxt and a phase → the network that a solver runs, fed from outside.

Data layers become Input layers; losses, dropouts, accuracies and auxiliary heads of the phase stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.messages import kind_of, stated_batch
from deepmerge.formats.read.build import build
from deepmerge.formats.read.heads import TRANSFORMING, blobs, is_data, judges
from deepmerge.formats.read.naming import tell_apart
from deepmerge.formats.read.network import read_tree, shapes_of, todays_tree
from deepmerge.formats.read.phase import in_phase
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.solver import NetSource
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape
from deepmerge.graph.tree import Field, Message, Quoted, Token

USUAL_BATCH = 32  # if a data layer does not say


@dataclass
class TrainingNet:
    """A network in one phase. Its graph has no weights yet; see formats/read/weights.py.

    images, labels: the blobs to feed; labels is None if the network reads none. batch_size: the data layer's. file: the
    file that was read. Graph.train_layers has the data layers, whose transform_param says how images are prepared.
    """

    graph: Graph
    phase: str
    images: str
    labels: str | None
    batch_size: int
    file: Path
    shapes: dict[Blob, Shape | None] = field(repr=False, default_factory=dict)


def read_training(
    source: NetSource | str | Path, phase: str, image_shape: Sequence[int], batch_size: int | None = None
) -> TrainingNet:
    """Return the TRAIN or TEST network of a train_val prototxt, without weights.

    image_shape: (channels, height, width) of the images that will be fed; labels are (batch,). batch_size: replaces the
    data layer's. Graph.warnings has notes for the user.
    ReadError, GraphError or ShapeError if the file is not such a network, has no data or no loss (TRAIN), or reads
    other data than images and their labels.
    """
    source = source if isinstance(source, NetSource) else NetSource(Path(source))
    file = source.path
    tree, layers, typos = phase_layers(source, phase)
    sources = [m for m in layers if is_data(m) or (kind_of(m) == "Input" and "bottom" not in m)]
    images, labels = _fed(sources, layers, phase, file)
    size = batch_size or next((n for m in sources if (n := stated_batch(m))), USUAL_BATCH)
    _check_crop(sources, tuple(image_shape), file)
    shapes = {images: (size, *image_shape), labels: (size,)}
    made = [_input(m, shapes) if m in sources else _with_top(m) for m in layers]
    made, twins = tell_apart(made)
    graph = build(str(tree.value("name") or ""), made, file, phase, tree.values("layer"))
    graph.tree = Message([f for f in tree if f.name not in ("name", "layer", "state")])
    graph.train_layers = [m for m in sources if is_data(m)]
    graph.warnings = typos + twins + graph.warnings
    if phase == "TRAIN" and not any(weight for _, weight in losses(graph)):
        raise ReadError("has no loss in the TRAIN phase, so there is nothing to train for; add a loss layer", file)
    return TrainingNet(graph, phase, images, labels, size, file, shapes_of(graph, file))


def phase_layers(source: NetSource, phase: str) -> tuple[Message, list[Message], list[str]]:
    """Return the whole network as a tree in today's form, its layers in the phase, and a line for each misspelt field.

    The network's own state counts, and then the solver's. Caffe: Solver::InitTrainNet.
    """
    file = source.path
    tree, typos = read_tree(file) if source.tree is None else todays_tree(source.tree.copy(), file)
    state = Message([*(tree.message("state") or ()), *source.state])
    level = Reader(state, "NetState", file, "state").one("level")
    return tree, [m for m in tree.values("layer") if in_phase(m, state, file, phase, level)], typos


def losses(graph: Graph) -> list[tuple[Blob, float]]:
    """Return the blobs that are losses, each with its weight. Caffe: layer.hpp SetLossWeights, loss_layer.cpp."""
    found = []
    for layer in graph.layers:
        reader = Reader(layer.tree, "LayerParameter", None, f"layer {layer.name!r} ({layer.type})")
        weights = reader.all("loss_weight")
        if weights and len(weights) != len(layer.tops):
            raise reader.error(f"has {len(weights)} loss_weight for {len(layer.tops)} tops; give one for each")
        if not weights and layer.type.endswith("Loss"):
            weights = [1.0]
        found += [(top, weight) for top, weight in zip(layer.tops, weights, strict=False) if weight]
    return found


def multipliers(layer: Layer, index: int) -> tuple[float, float]:
    """Return (lr_mult, decay_mult) of a weight blob; 0 for statistics. Caffe: net.cpp, AppendParam."""
    if index in layer.kind.statistics:
        return 0.0, 0.0
    if index >= len(layer.param_specs):
        return 1.0, 1.0
    reader = Reader(layer.param_specs[index], "ParamSpec", None, f"layer {layer.name!r} ({layer.type}), param")
    return reader.one("lr_mult"), reader.one("decay_mult")


def _fed(sources: list[Message], layers: list[Message], phase: str, file) -> tuple[str, str | None]:
    """Return the blobs of images and of labels."""
    read = {b for m in layers for b in blobs(m, "bottom")}
    tops = [(m, top) for m in sources for top in blobs(m, "top") if top in read]
    if not tops:
        raise ReadError(
            f"has no data layer in the {phase} phase that anything reads; give the train_val.prototxt", file
        )
    if len(tops) > 2:
        layer, extra = tops[2]
        text = f"{name_of(layer)} gives {extra!r}, and what is fed are images and a label each"
        remedy = "such a network trains with `caffe train`, or finetune.mk"
        raise ReadError(text, file, layer.line, layer.column, remedy=remedy)
    judged = {b for m in layers if judges(m) for b in blobs(m, "bottom")}
    used = {b for m in layers if "top" in m and not judges(m) for b in blobs(m, "bottom")}
    names = [top for _, top in tops]
    if len(names) == 2 and names[0] in judged - used and names[1] not in judged:
        names.reverse()
    return names[0], names[1] if len(names) > 1 else None


def _check_crop(sources: list[Message], image_shape: tuple[int, ...], file) -> None:
    """Raise ReadError if a data layer cuts images to another size than the network takes."""
    for layer in (m for m in sources if kind_of(m) in TRANSFORMING and len(image_shape) == 3):
        where = f"{name_of(layer)}, transform_param"
        crop = Reader(layer.message("transform_param"), "TransformationParameter", file, where).one("crop_size")
        height, width = image_shape[1:]
        if crop and (crop, crop) != (height, width):
            text = f"crop_size is {crop}, and the network's input is {width}×{height} (width×height); make them one"
            raise ReadError(f"{where}: {text}", file, layer.line, layer.column)


def _input(layer: Message, shapes: dict[str | None, tuple[int, ...]]) -> Message:
    """Return the Input layer that replaces a data layer. The shape of a top that no layer reads does not matter."""
    made = Message([], layer.line, layer.column)
    made.add("name", Quoted(str(layer.value("name"))))
    made.add("type", Quoted("Input"))
    tops = blobs(layer, "top")
    made.fields += [Field("top", Quoted(top)) for top in tops]
    sizes = [Message([Field("dim", Token(n)) for n in shapes.get(top, (1,))]) for top in tops]
    made.add("input_param", Message([Field("shape", size) for size in sizes]))
    return made


def _with_top(layer: Message) -> Message:
    """Give a loss without a top one of its own name. Caffe: net.cpp, Init, AutoTopBlobs."""
    if "top" in layer or not kind_of(layer).endswith("Loss"):
        return layer
    made = layer.copy()
    made.add("top", Quoted(str(layer.value("name"))))
    return made
