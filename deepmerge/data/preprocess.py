"""From a picture to what a network is fed: resize, crop, channel order, mean, scale, as Caffe's data layers do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.data.mean_file import find_mean_file, mean_for
from deepmerge.data.resize import resize
from deepmerge.errors import ReadError
from deepmerge.read.scalars import Reader

if TYPE_CHECKING:
    from deepmerge.graph import Graph, Message

USUAL_MEAN = (104.0, 117.0, 123.0)  # blue, green, red of ImageNet, as Caffe's models subtract it
GREY = np.array(
    [0.299, 0.587, 0.114], np.float32
)  # of red, green, blue; ITU-R BT.601, as OpenCV reads images for Caffe


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture. Caffe: image_data_layer.cpp, data_transformer.cpp, in the TEST phase.

    mean: subtracted; one number for each channel in the order of the network's channels, or one for all, or none.
    scale: multiplied by, behind the mean. resize: (width, height) in pixels, None to leave the size.
    crop: the side of a square from the centre, None to keep all. channel_order: bgr or rgb.
    mean_image: subtracted in place of `mean`, float32 (C, H, W), as large as the network's input.
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    resize: tuple[int, int] | None = None
    crop: int | None = None
    channel_order: str = "bgr"
    mean_image: np.ndarray | None = field(default=None, compare=False)

    def array(self, pixels: np.ndarray, channels: int = 3) -> np.ndarray:
        """RGB pixels (H, W, 3) in 0..255 → float32 (channels, h, w), channels being 3, or 1 for a grey image.

        ReadError where the picture is smaller than the crop.
        """
        if self.resize is not None:
            pixels = resize(pixels, self.resize[1], self.resize[0])
        if self.crop is not None:
            pixels = _centre(pixels, self.crop)
        if channels == 1:
            planes = (pixels.astype(np.float32) @ GREY)[None]
        else:
            planes = np.moveaxis(pixels if self.channel_order == "rgb" else pixels[:, :, ::-1], 2, 0).astype(np.float32)
        return self.normalised(planes)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the mean can be subtracted from an input of this shape, (N, C, H, W)."""
        if self.mean_image is not None:
            return self.mean_image.shape == tuple(shape[1:])
        return len(self.mean) in (0, 1, shape[1])

    def normalised(self, planes: np.ndarray) -> np.ndarray:
        """Values in 0..255 (…, C, H, W), in the network's channel order → float32, mean and scale applied."""
        mean = self.mean_image if self.mean_image is not None else np.array(self.mean or (0.0,), np.float32)[:, None, None]
        return np.ascontiguousarray((planes - mean) * np.float32(self.scale), dtype=np.float32)


def _centre(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if side > height or side > width:
        raise ReadError(f"the image is {width}×{height}, smaller than --crop {side}; give --resize")
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def choose_preprocessing(
    graph: Graph,
    shape: tuple[int, ...],
    mean: tuple[float, ...] | None = None,
    scale: float | None = None,
    resize: tuple[int, int] | None = None,
    crop: int | None = None,
    channel_order: str = "bgr",
    folder: Path = Path(),
) -> tuple[Preprocessing, list[str]]:
    """What is given, and for the rest what the network asks for; and what to tell the user, a line each.

    Mean (mean_value or mean_file) and scale come from the data layer's transform_param if the network was read from a train_val.prototxt;
    else 104, 117, 123 (blue, green, red) is the mean for 3 channels, 0 for others, and the scale 1. A picture is
    resized to the input's size, unless a size or a crop is given. shape: the input's, (N, C, H, W). folder: the
    prototxt's, where a mean_file may lie.
    ReadError where the mean has another number of channels, or the pictures would have another size than the input.
    """
    transform, notes, image = _transform(graph), [], None
    if mean is None:
        mean, image, notes = _asked_mean(transform, shape, folder)
        if not mean and image is None and shape[1] == 3:
            mean = USUAL_MEAN if channel_order == "bgr" else USUAL_MEAN[::-1]
    if len(mean) not in (0, 1, shape[1]):
        raise ReadError(f"--mean has {len(mean)} numbers; give one for each of the {shape[1]} channels, or one for all")
    height, width = shape[2:]
    if resize is None and crop is None:
        resize = (width, height)
    made = (crop, crop) if crop is not None else resize
    if made != (width, height):
        flag = f"--crop {crop}" if crop is not None else f"--resize {resize[0]},{resize[1]}"
        raise ReadError(
            f"{flag} makes images of {made[0]}×{made[1]}; the network takes {width}×{height} (width×height)"
        )
    if crop is not None and resize is not None and crop > min(resize):
        raise ReadError(f"--crop {crop} is larger than --resize {resize[0]},{resize[1]}")
    scale = transform.one("scale") if scale is None else scale
    return Preprocessing(mean, scale, resize, crop, channel_order, image), notes


def _asked_mean(transform: Reader, shape: tuple[int, ...], folder: Path) -> tuple[tuple[float, ...], np.ndarray | None, list[str]]:
    """The data layer's mean_value, or its mean_file's values, and what to tell the user."""
    mean = tuple(transform.all("mean_value"))
    if mean or not transform.has("mean_file"):
        return mean, None, []
    name = str(transform.one("mean_file"))
    found = find_mean_file(name, folder)
    if found is None:
        return (), None, [f"{transform.where}: mean_file {name!r} is not there; --mean says what to subtract"]
    return (), mean_for(found, shape), []


def _transform(graph: Graph) -> Reader:
    """The transform_param of the network's data layer, the TEST phase's before others'; an empty one if it has none."""
    found = [m for m in graph.train_layers if "bottom" not in m and m.message("transform_param") is not None]
    found.sort(key=lambda layer: not _in_test(layer))
    layer = found[0] if found else None
    where = "" if layer is None else f"layer {str(layer.value('name') or '')!r}"
    return Reader(layer and layer.message("transform_param"), "TransformationParameter", None, where)


def _in_test(layer: Message) -> bool:
    rules = [rule for rule in layer.values("include") if hasattr(rule, "value")]
    return any(str(rule.value("phase")) == "TEST" for rule in rules)
