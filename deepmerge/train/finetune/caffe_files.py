"""A stage's solver and networks for real Caffe: copies that read the given images.

Caffe's own data layers read `lmdb:`, `list:` and `hdf5:`. Other images are written as files with a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmerge.data import (
    Images,
    ImageWishes,
    Preprocessing,
    choose_preprocessing,
    network_transform,
    open_images,
    pictures,
)
from deepmerge.errors import ReadError
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.solver import NetSource, Solver
from deepmerge.formats.read.training import TrainingNet, phase_layers
from deepmerge.formats.write.data_layers import Source, data_layer, from_anywhere, hdf5_list
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.train.shared.guards import writing

NEVER = 2**31 - 1
_OWN = ("lmdb", "list", "hdf5")  # Caffe reads these itself
_NOT_COPIED = (
    *("train_state", "test_state", "test_iter", "test_interval", "test_initialization"),
    *("weights", "snapshot_after_train"),
)
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")


@dataclass(frozen=True)
class CaffeData:
    """Images for one phase, and how many there are."""

    source: Source
    count: int


def caffe_data(spec: str, folder: Path, seed: int, shuffle: bool) -> CaffeData:
    """Return images that Caffe can read. Those of npz: and folder: are written into `folder`, shuffled if asked for.

    ReadError where there are none, or one has no label; TrainingError where they cannot be written.
    """
    kind = spec.partition(":")[0]
    images = open_images(spec)
    if kind in _OWN:
        return CaffeData(Source.parse(spec), images.count)
    order = np.random.default_rng(seed).permutation(images.count) if shuffle else np.arange(images.count)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = _written(images, folder)
    if not lines:
        raise ReadError("none of the images could be read", spec)
    chosen = [lines[place] for place in order if place < len(lines)]
    with writing(folder):
        (folder / "list.txt").write_text("".join(chosen), encoding="utf-8")
    return CaffeData(Source("list", str((folder / "list.txt").absolute())), len(chosen))


def _written(images: Images, folder: Path) -> list[str]:
    """Write every readable image as a PNG, and return the lines of the list."""
    from PIL import Image

    lines = []
    for number, picture in enumerate(pictures(images)):
        if picture.label is None:
            raise ReadError("has no label, and labels are needed", picture.name)
        name = f"{number:07d}.png"
        Image.fromarray(picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels).save(folder / name)
        lines.append(f"{name} {picture.label}\n")
    return lines


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
        phases += [(source, "TEST", stage.test) for source, _ in solver.tests]
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
        (folder / "solver.prototxt").write_text(format_tree(tree), encoding="utf-8")
    return folder / "solver.prototxt"


def _net_tree(
    stage: CaffeStage, source: NetSource, phase: str, images: Source, net: TrainingNet, folder: Path
) -> Message:
    """Return the network of one phase, with a data layer for `images` in place of its own and the phase resolved."""
    tree, layers, _ = phase_layers(source, phase)
    others = from_anywhere((layer for layer in layers if not is_data(layer)), (source.path.parent,))
    net_tree = Message([field for field in tree if field.name not in ("layer", "state")])
    net_tree.add("layer", _data_layer(phase, images, net, stage))
    net_tree.fields += [Field("layer", _always(layer)) for layer in others]
    listed = hdf5_list(phase, images)
    if listed:
        _write(folder / listed[0], listed[1])
    return net_tree


def _write(file: Path, text: str) -> None:
    with writing(file):
        file.write_text(text, encoding="utf-8")


def _always(layer: Message) -> Message:
    copy = layer.copy()
    copy.remove("include", "exclude")
    return copy


def _data_layer(phase: str, source: Source, net: TrainingNet, stage: CaffeStage) -> Message:
    """Return the layer that reads `source`, transforming as the network's own data layer or the user says."""
    shape = next(shape for blob, shape in net.shapes.items() if blob.name == net.images)
    tops = (net.images, net.labels or "label")
    layer = data_layer(phase, tops, shape, source, net.batch_size)
    layer.remove("transform_param", "include")
    if source.kind == "hdf5":
        return layer
    how, _ = choose_preprocessing(network_transform(net.graph, net.file, net.phase), shape, stage.wishes)
    if source.kind == "list":
        param = layer.message("image_data_param")
        param.remove("new_height", "new_width", "shuffle")
        width, height = how.resize or (shape[3], shape[2])
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
