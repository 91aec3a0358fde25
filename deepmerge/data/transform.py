"""What a network's data layers say about its images: transform_param, and ImageData's sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepmerge.formats.read.scalars import Reader

if TYPE_CHECKING:
    from deepmerge.graph import Graph, Message


@dataclass(frozen=True)
class Transform:
    """One data layer's wishes; see caffe.proto, TransformationParameter and ImageDataParameter.

    crop: None for crop_size 0. resize: (new_width, new_height), None where they are not given. where: the layer, for messages.
    is_color, force_color and force_gray are not here: the network's weights say how many channels it takes.
    """

    mean: tuple[float, ...] = ()
    mean_file: str | None = None
    scale: float = 1.0
    mirror: bool = False
    crop: int | None = None
    resize: tuple[int, int] | None = None
    where: str = ""


def read_transform(graph: Graph, phase: str = "TEST") -> Transform:
    """That of the data layer of the phase, else of another phase's; the defaults where the network has no data layer."""
    found = [
        m for m in graph.train_layers if "bottom" not in m and (_sizes(m) or m.message("transform_param") is not None)
    ]
    found.sort(key=lambda layer: not _in_phase(layer, phase))
    if not found:
        return Transform()
    where = f"layer {str(found[0].value('name') or '')!r}"
    param = Reader(found[0].message("transform_param"), "TransformationParameter", None, where)
    size = Reader(_sizes(found[0]), "ImageDataParameter", None, where)
    width, height = size.one("new_width"), size.one("new_height")
    return Transform(
        tuple(param.all("mean_value")),
        str(param.one("mean_file")) if param.has("mean_file") else None,
        param.one("scale"),
        bool(param.one("mirror")),
        param.one("crop_size") or None,
        (width, height) if width and height else None,
        where,
    )


def _sizes(layer: Message) -> Message | None:
    return layer.message("image_data_param")


def _in_phase(layer: Message, phase: str) -> bool:
    rules = [rule for rule in layer.values("include") if hasattr(rule, "value")]
    return any(str(rule.value("phase")) == phase for rule in rules)
