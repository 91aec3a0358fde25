"""From a picture to what a network is fed: resize, crop, channel order, mean, scale, as Caffe's data layers do it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.data.mean_file import centre_of, find_mean_file, whole_mean
from deepmerge.data.transform import Transform, read_transform
from deepmerge.errors import ReadError, SourceError

if TYPE_CHECKING:
    from deepmerge.graph import Graph

USUAL_MEAN = (104.0, 117.0, 123.0)  # blue, green, red of ImageNet, as Caffe's models subtract it


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture. Caffe: image_data_layer.cpp, data_transformer.cpp.

    mean: subtracted; one number for each channel in the order of the network's channels, or one for all, or none.
    scale: multiplied by, behind the mean. resize: (width, height) in pixels, None to leave the size.
    crop: the side of a square from the centre (in training: from anywhere), None to keep all; a smaller picture cannot be
    read, or with `enlarge` becomes that square. channel_order: bgr or rgb.
    mirror: in training, half of the pictures are turned left to right.
    mean_image: subtracted in place of `mean`, float32 (C, H, W), as large as the network's input; it is the centre of
    mean_file, from which a crop elsewhere takes what lies under it, where the picture is as large as that.
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    resize: tuple[int, int] | None = None
    crop: int | None = None
    channel_order: str = "bgr"
    mirror: bool = False
    enlarge: bool = False
    mean_image: np.ndarray | None = field(default=None, compare=False)
    mean_file: np.ndarray | None = field(default=None, compare=False)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width, before the crop, of what a picture of this height and width becomes."""
        if self.resize is not None:
            return self.resize[1], self.resize[0]
        if self.enlarge and self.crop is not None and min(size) < self.crop:
            return self.crop, self.crop
        return size

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of what a picture of this height and width becomes."""
        return self.resized(size) if self.crop is None else (self.crop, self.crop)

    def room(self, size: tuple[int, int]) -> tuple[int, int]:
        """How many pixels the crop leaves over down and across, of a picture of this height and width."""
        height, width = self.resized(size)
        return (0, 0) if self.crop is None else (height - self.crop, width - self.crop)

    def check(self, shape: tuple[int, ...], channels: int) -> None:
        """ReadError for a picture (H, W, C) that is smaller than the crop, SourceError for one of other channels.

        Colour becomes grey for a network of one channel. Grey does not become colour: sources do that for coded images,
        as Caffe's force_color does it; what is stored as one channel without a code is what Caffe refuses, too.
        """
        height, width = shape[:2]
        if min(self.room((height, width))) < 0:
            raise ReadError(f"the image is {width}×{height}, smaller than --crop {self.crop}; give --resize")
        if shape[2] != channels and (shape[2], channels) != (3, 1):
            raise SourceError(
                f"the image has {_channels(shape[2])}, and the network takes {channels}; make the data anew"
            )

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the mean can be subtracted from an input of this shape, (N, C, H, W)."""
        if self.mean_image is not None:
            return self.mean_image.shape == tuple(shape[1:])
        return len(self.mean) in (0, 1, shape[1])

    def normalised(self, planes: np.ndarray) -> np.ndarray:
        """Values in 0..255 (…, C, H, W), in the network's channel order → float32, mean and scale applied."""
        made = np.array(planes, np.float32, order="C")
        self.normalise(made)
        return made

    def normalise(self, planes: np.ndarray, at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> None:
        """The same in place, for float32. at: the top and left of what was cut from pictures of this height and width."""
        if self.mean_file is not None and self.mean_file.shape[1:] == size:
            planes -= self.mean_file[:, at[0] : at[0] + planes.shape[-2], at[1] : at[1] + planes.shape[-1]]
        elif self.mean_image is not None:
            planes -= self.mean_image
        elif any(self.mean):
            planes -= np.array(self.mean, np.float32)[:, None, None]
        if self.scale != 1:
            planes *= np.float32(self.scale)


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def choose_preprocessing(
    graph: Graph,
    shape: tuple[int, ...],
    mean: tuple[float, ...] | None = None,
    scale: float | None = None,
    resize: tuple[int, int] | None = None,
    crop: int | None = None,
    channel_order: str = "bgr",
    mirror: bool | None = None,
    folder: Path = Path(),
    phase: str = "TEST",
    guessed: bool = False,
) -> tuple[Preprocessing, list[str]]:
    """What is given, and for the rest what the network asks for; and what to tell the user, a line each.

    Mean (mean_value or mean_file), scale, mirror, crop_size and ImageData's new_width and new_height come from the data
    layer of the phase if the network was read from a train_val.prototxt; else 104, 117, 123 (blue, green, red) is the
    mean for 3 channels, 0 for others, and the scale 1. A picture is resized to the input's size, unless a size or a crop
    is given; one that is smaller than the network's own crop_size, which Caffe refuses, is resized to it.
    shape: the input's, (N, C, H, W). folder: the prototxt's, where a mean_file may lie. guessed: the data layer is one that
    convert has made up, so that its crop_size says nothing about the pictures.
    ReadError where the mean has another number of channels, or the pictures would have another size than the input.
    """
    asked, notes = read_transform(graph, phase), []
    if mean is None:
        mean, image, notes = _asked_mean(asked, shape, folder)
        if not mean and image is None and shape[1] == 3:
            mean = USUAL_MEAN if channel_order == "bgr" else USUAL_MEAN[::-1]
    else:
        image = None
    if len(mean) not in (0, 1, shape[1]):
        raise ReadError(f"--mean has {len(mean)} numbers; give one for each of the {shape[1]} channels, or one for all")
    resize, crop, enlarge = _geometry(asked, shape, resize, crop, guessed)
    scale, mirror = asked.scale if scale is None else scale, asked.mirror if mirror is None else mirror
    chosen = Preprocessing(mean, scale, resize, crop, channel_order, mirror, enlarge)
    if image is None:
        return chosen, notes
    return replace(chosen, mean_file=image, mean_image=centre_of(image, shape)), notes


def _geometry(
    asked: Transform, shape: tuple[int, ...], resize: tuple[int, int] | None, crop: int | None, guessed: bool
) -> tuple[tuple[int, int] | None, int | None, bool]:
    """Resize, crop, and whether a picture smaller than the crop is to be enlarged."""
    height, width = shape[2:]
    if resize is None and crop is None:
        if asked.crop is not None and (asked.crop, asked.crop) == (height, width) and not guessed:
            return asked.resize, asked.crop, True
        return (width, height), None, False
    made = (crop, crop) if crop is not None else resize
    if made != (width, height):
        flag = f"--crop {crop}" if crop is not None else f"--resize {resize[0]},{resize[1]}"
        raise ReadError(
            f"{flag} makes images of {made[0]}×{made[1]}; the network takes {width}×{height} (width×height)"
        )
    if crop is not None and resize is not None and crop > min(resize):
        raise ReadError(f"--crop {crop} is larger than --resize {resize[0]},{resize[1]}")
    return resize, crop, False


def _asked_mean(
    asked: Transform, shape: tuple[int, ...], folder: Path
) -> tuple[tuple[float, ...], np.ndarray | None, list[str]]:
    """The data layer's mean_value, or its mean_file's values, and what to tell the user."""
    if asked.mean or asked.mean_file is None:
        return asked.mean, None, []
    found = find_mean_file(asked.mean_file, folder)
    if found is None:
        return (), None, [f"{asked.where}: mean_file {asked.mean_file!r} is not there; --mean says what to subtract"]
    return (), whole_mean(found, shape), []
