"""The files that real Caffe runs a stage from: its solver and networks, which read the given images, and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepmerge.data import ImageWishes, Preprocessing
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.heads import blobs, is_data
from deepmerge.formats.read.solver import NetSource, Solver
from deepmerge.formats.read.training import TrainingNet, phase_layers
from deepmerge.formats.read.weights import Weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.formats.write.data_layers import Source, data_layer, from_anywhere, hdf5_list
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.names import encoded
from deepmerge.train.finetune.caffe_data import CaffeData, batch_shape, ways_of
from deepmerge.train.finetune.spec import solver_tests
from deepmerge.train.finetune.start import load_start
from deepmerge.train.shared.guards import writing

NEVER = 2**31 - 1
_NOT_COPIED = (
    *("train_state", "test_state", "test_iter", "test_interval", "test_initialization"),
    *("weights", "snapshot_after_train"),
)
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")


@dataclass(frozen=True)
class CaffeStage:
    """What real Caffe runs in one stage.

    nets: the networks that read_training made of the solver's, the TRAIN one first. test: None without test images.
    """

    solver: Solver
    nets: Sequence[TrainingNet]
    train: CaffeData
    test: CaffeData | None
    wishes: ImageWishes
    seed: int
    shuffle: bool


def write_solver(stage: CaffeStage, folder: Path) -> Path:
    """Write solver.prototxt and its networks into `folder`, and return its path.

    By itself the solver tests, displays and saves nothing.
    """
    solver = stage.solver
    tree = solver.tree.copy()
    tree.remove(*_NETS, *_NOT_COPIED)
    phases = [(solver.train, "TRAIN", stage.train)]
    if stage.test is not None:
        phases += [(source, "TEST", stage.test) for source, _ in solver_tests(solver)]
    for number, ((source, phase, data), net) in enumerate(zip(phases, stage.nets, strict=False)):
        name = f"net_{number}.prototxt"
        _write(folder / name, format_tree(_net_tree(stage, source, phase, data.source, net, folder)))
        tree.add("train_net" if number == 0 else "test_net", Quoted(name))
        if number:
            tree.add("test_iter", Token("1"))
    if len(phases) > 1:
        tree.set("test_interval", Token(str(NEVER)))
        tree.set("test_initialization", Token("false"))
    for key, value in (("display", 0), ("snapshot", 0), ("random_seed", stage.seed), ("solver_mode", "CPU")):
        tree.set(key, Token(str(value)))
    tree.set("snapshot_prefix", Quoted("state"))
    tree.set("snapshot_format", Token("BINARYPROTO"))
    with writing(folder):
        (folder / "solver.prototxt").write_bytes(encoded(format_tree(tree)))
    return folder / "solver.prototxt"


def _net_tree(
    stage: CaffeStage, source: NetSource, phase: str, images: Source, net: TrainingNet, folder: Path
) -> Message:
    """Return the network of one phase, with a data layer for `images` in place of its own and the phase resolved."""
    tree, layers, _ = phase_layers(source, phase)
    others = from_anywhere((layer for layer in layers if not _feeds(layer, net)), (source.path.parent,))
    net_tree = Message([field for field in tree if field.name not in ("layer", "state")])
    net_tree.add("layer", _data_layer(phase, images, net, stage))
    net_tree.fields += [Field("layer", _always(layer)) for layer in others]
    listed = hdf5_list(phase, images)
    if listed:
        _write(folder / listed[0], listed[1])
    return net_tree


def _feeds(layer: Message, net: TrainingNet) -> bool:
    """Return whether the new data layer replaces a layer: one that reads data, or an Input of images or labels."""
    fed = {net.images, net.labels}
    return is_data(layer) or (kind_of(layer) == "Input" and not fed.isdisjoint(blobs(layer, "top")))


def _write(file: Path, text: str) -> None:
    with writing(file):
        file.write_bytes(encoded(text))


def _always(layer: Message) -> Message:
    copy = layer.copy()
    copy.remove("include", "exclude")
    return copy


def _data_layer(phase: str, source: Source, net: TrainingNet, stage: CaffeStage) -> Message:
    """Return the layer that reads `source`, transforming as the network's own data layer or the user says."""
    tops = (net.images, net.labels or "label")
    layer = data_layer(phase, tops, batch_shape(net), source, net.batch_size)
    layer.remove("transform_param", "include")
    if source.kind == "hdf5":
        return layer
    (how,) = ways_of([net], stage.wishes)
    if source.kind == "list":
        param = layer.message("image_data_param")
        param.remove("new_height", "new_width", "shuffle")
        width, height = how.resize or (None, None)  # a crop takes images of any size
        shuffle = True if stage.shuffle and phase == "TRAIN" else None
        param.fields += message(new_height=height, new_width=width, shuffle=shuffle).fields
    layer.add("transform_param", _transform(how, net, phase))
    return layer


def _transform(how: Preprocessing, net: TrainingNet, phase: str) -> Message:
    file = None
    if how.mean_file is not None:
        own = next(m.message("transform_param") for m in net.graph.train_layers if m.message("transform_param"))
        absolute = from_anywhere([message(transform_param=own)], (net.file.parent,))[0].message("transform_param")
        file = absolute.value("mean_file")
    return message(
        mean_file=file,
        mean_value=[] if file else [float(mean) for mean in how.mean],
        scale=how.scale,
        crop_size=how.crop,
        mirror=True if how.mirror and phase == "TRAIN" else None,
    )


def write_start(
    nets: Sequence[TrainingNet], starts: Sequence[Path | Weights], seed: int, folder: Path
) -> tuple[list[Path], list[str]]:
    """Write the networks' first weights as caffemodels, each layer's once; return them, and notes for the user.

    Layers that still have none, of unknown types, are left to Caffe's own fillers: it refuses them without their blobs.
    """
    notes = [load_start(net, starts, seed) for net in nets][0]  # the TRAIN network's
    files, stored = [], set()
    for number, net in enumerate(nets):
        layers = [layer for layer in net.graph.layers if layer.weights and layer.name not in stored]
        if layers:
            files.append(folder / f"start_{number}.caffemodel")
            with writing(files[-1]):
                write_caffemodel(net.graph, files[-1], layers)
        stored.update(layer.name for layer in layers)
    return files, notes
