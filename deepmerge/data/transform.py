"""What a network's data layers say about its images: transform_param, and ImageData's sizes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.formats.read.network import read_tree
from deepmerge.formats.read.phase import in_phase
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.write.data_layers import GUESS

if TYPE_CHECKING:
    from deepmerge.graph import Graph, Message


@dataclass(frozen=True)
class Transform:
    """What one data layer asks for; see caffe.proto, TransformationParameter and ImageDataParameter.

    crop: None for crop_size 0. resize: (new_width, new_height), None where they are not given.
    where: the layer, for messages. folder: the prototxt's, where a mean_file may be.
    guessed: convert has made up the data layer, so its crop_size says nothing about the pictures.
    is_color, force_color and force_gray are left out: the network's weights say how many channels it takes.
    """

    mean: tuple[float, ...] = ()
    mean_file: str | None = None
    scale: float = 1.0
    mirror: bool = False
    crop: int | None = None
    resize: tuple[int, int] | None = None
    where: str = ""
    guessed: bool = False
    folder: Path = field(default=Path(), compare=False)


def network_transform(graph: Graph, prototxt: Path, phase: str = "TEST") -> Transform:
    """Return what the data layers of a network ask for.

    prototxt: the file that the graph was read from. For a deploy.prototxt the data layers are those of the
    train_val.prototxt beside it, if there is one. phase: TRAIN or TEST.
    """
    file = Path(prototxt)
    beside = file.with_name("train_val.prototxt")
    if not graph.train_layers and file.name == "deploy.prototxt" and beside.is_file():
        file, graph = beside, graph.copy()
        graph.train_layers = list(read_tree(beside)[0].values("layer"))  # the shapes stay those of deploy.prototxt
    guessed = bool(graph.train_layers) and _is_guess(file)
    return replace(read_transform(graph, phase), folder=file.parent, guessed=guessed)


def _is_guess(file: Path) -> bool:
    try:
        with open(file, errors="replace") as lines:
            return GUESS in "".join(islice(lines, 3))
    except OSError:
        return False


def read_transform(graph: Graph, phase: str = "TEST") -> Transform:
    """Return what the data layer of the phase says, else that of the other phase; the defaults if there is none."""
    found = [
        m for m in graph.train_layers if "bottom" not in m and (_sizes(m) or m.message("transform_param") is not None)
    ]
    found.sort(key=lambda layer: not in_phase(layer, None, None, phase))
    if not found:
        return Transform()
    where = f"layer {str(found[0].value('name') or '')!r}"
    param = Reader(found[0].message("transform_param"), "TransformationParameter", None, where)
    size = Reader(_sizes(found[0]), "ImageDataParameter", None, where)
    width, height = size.one("new_width"), size.one("new_height")
    return Transform(
        mean=tuple(param.all("mean_value")),
        mean_file=str(param.one("mean_file")) if param.has("mean_file") else None,
        scale=param.one("scale"),
        mirror=bool(param.one("mirror")),
        crop=param.one("crop_size") or None,
        resize=(width, height) if width and height else None,
        where=where,
    )


def _sizes(layer: Message) -> Message | None:
    return layer.message("image_data_param")
