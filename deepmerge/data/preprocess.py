"""What is done to a picture before a network takes it: resize, crop, channel order, mean, scale, as in Caffe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from deepmerge.data.mean_file import centre_of, find_mean_file, whole_mean
from deepmerge.data.transform import Transform
from deepmerge.errors import ReadError, SourceError
from deepmerge.formats.write.data_layers import USUAL_MEAN
from deepmerge.text import count


@dataclass(frozen=True)
class ImageWishes:
    """The user's options for preprocessing; None: as the network says. See Preprocessing."""

    mean: tuple[float, ...] | None = None
    scale: float | None = None
    resize: tuple[int, int] | None = None
    crop: int | None = None
    channel_order: str = "bgr"
    mirror: bool | None = None


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture. Caffe: image_data_layer.cpp, data_transformer.cpp.

    mean: subtracted; one number for each channel in the network's order, or one for all, or none.
    scale: multiplied by after the mean. resize: (width, height) in pixels, None to keep the size.
    crop: the side of a square from the centre (in training: from anywhere), None to keep all. A smaller picture is an
    error, or is resized to that square with `enlarge`. channel_order: bgr or rgb.
    mirror: in training, half of the pictures are mirrored left to right.
    mean_file: a mean image, float32 (C, height, width); a crop from a picture of that size takes its part of it.
    mean_image: its centre, as large as the network's input, for other pictures; it replaces `mean`.
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
        """Return height and width after the resize, before the crop, of a picture of this height and width."""
        if self.resize is not None:
            return self.resize[1], self.resize[0]
        if self.enlarge and self.crop is not None and min(size) < self.crop:
            return self.crop, self.crop
        return size

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width after resize and crop of a picture of this height and width."""
        return self.resized(size) if self.crop is None else (self.crop, self.crop)

    def room(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return how many pixels the crop leaves out, down and across, of a picture of this height and width."""
        height, width = self.resized(size)
        return (0, 0) if self.crop is None else (height - self.crop, width - self.crop)

    def check(self, shape: tuple[int, ...], channels: int) -> None:
        """Raise ReadError for a picture (H, W, C) smaller than the crop, SourceError for one of other channels.

        Colour becomes grey for a network of one channel. Grey does not become colour here: sources do that for coded
        images, as Caffe's force_color does. What is stored as one channel without a code is what Caffe refuses, too.
        """
        height, width = shape[:2]
        if min(self.room((height, width))) < 0:
            raise ReadError(f"the image is {width}×{height}, smaller than --crop {self.crop}; give --resize")
        if shape[2] != channels and (shape[2], channels) != (3, 1):
            text = f"the image has {count(shape[2], 'channel')}, and the network takes {channels}"
            raise SourceError(f"{text}; make the data again")

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether the mean can be subtracted from an input of this shape, (N, C, H, W)."""
        if self.mean_image is not None:
            return self.mean_image.shape == tuple(shape[1:])
        return len(self.mean) in (0, 1, shape[1])

    def normalised(self, planes: np.ndarray) -> np.ndarray:
        """Apply mean and scale to values in 0..255, (…, C, H, W) in the network's channel order; return float32."""
        made = np.array(planes, np.float32, order="C")
        self.normalise(made)
        return made

    def normalise(self, planes: np.ndarray, at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> None:
        """Apply mean and scale in place. at: top and left of the crop; size: height and width of the whole pictures."""
        if self.mean_file is not None and self.mean_file.shape[1:] == size:
            planes -= self.mean_file[:, at[0] : at[0] + planes.shape[-2], at[1] : at[1] + planes.shape[-1]]
        elif self.mean_image is not None:
            planes -= self.mean_image
        elif any(self.mean):
            planes -= np.array(self.mean, np.float32)[:, None, None]
        if self.scale != 1:
            planes *= np.float32(self.scale)


def choose_preprocessing(
    transform: Transform, shape: tuple[int, ...], wishes: ImageWishes = ImageWishes()
) -> tuple[Preprocessing, list[str]]:
    """Return the preprocessing, and notes for the user: the user's wishes first, then what the data layer says.

    Without either (no data layer, no wish), the mean of three channels is 104, 117, 123 (blue, green, red), and there
    is none for other inputs. The mean of a data layer that `convert` has made up is this one, too.
    A picture is resized to the input's size unless a size or a crop is given. A picture smaller than the network's own
    crop_size, which Caffe refuses, is enlarged to it. shape: the input's, (N, C, H, W).
    Raises ReadError if the mean has another number of channels, or the pictures would not have the input's size.
    """
    mean, image, notes = wishes.mean, None, []
    if mean is None:
        mean, image, notes = _layers_mean(transform, shape)
        unsaid = not transform.where or transform.mean_file  # no data layer speaks, or its file is missing
        guessed = transform.guessed and mean == USUAL_MEAN
        if guessed or (unsaid and not mean and image is None and shape[1] == 3):
            mean = USUAL_MEAN if wishes.channel_order == "bgr" else USUAL_MEAN[::-1]
    if len(mean) not in (0, 1, shape[1]):
        raise _misfit(len(mean), shape[1], "" if wishes.mean is not None else transform.where)
    resize, crop, enlarge = _geometry(transform, shape, wishes)
    chosen = Preprocessing(
        mean=mean,
        scale=transform.scale if wishes.scale is None else wishes.scale,
        resize=resize,
        crop=crop,
        channel_order=wishes.channel_order,
        mirror=transform.mirror if wishes.mirror is None else wishes.mirror,
        enlarge=enlarge,
    )
    if image is None:
        return chosen, notes
    return replace(chosen, mean_file=image, mean_image=centre_of(image, shape)), notes


def _geometry(
    transform: Transform, shape: tuple[int, ...], wishes: ImageWishes
) -> tuple[tuple[int, int] | None, int | None, bool]:
    """Return resize, crop, and whether a picture smaller than the crop is enlarged."""
    height, width = shape[2:]
    own = Transform() if transform.guessed else transform
    own_crop = own.crop if own.crop == height == width else None
    if wishes.resize is None and wishes.crop is None:
        return (own.resize, own_crop, True) if own_crop is not None else ((width, height), None, False)
    resize, crop = wishes.resize or own.resize, wishes.crop or own_crop
    if resize is not None and crop is not None and crop > min(resize):
        resize, crop = wishes.resize, wishes.crop  # the data layer's other one does not go with it
    made = (crop, crop) if crop is not None else resize
    if made != (width, height):
        flag = f"--crop {crop}" if crop is not None else f"--resize {resize[0]},{resize[1]}"
        raise ReadError(
            f"{flag} makes images of {made[0]}×{made[1]}; the network takes {width}×{height} (width×height)"
        )
    if crop is not None and resize is not None and crop > min(resize):
        raise ReadError(f"--crop {crop} is larger than --resize {resize[0]},{resize[1]}")
    return resize, crop, False


def _misfit(numbers: int, channels: int, where: str) -> ReadError:
    """Return the error about a mean of `numbers` numbers. where: the data layer that gives it; "" for --mean."""
    if where:
        text = f"{where}: mean_value has {numbers} numbers, and the network takes {count(channels, 'channel')}"
        return ReadError(text, remedy="--mean says what to subtract")
    return ReadError(f"--mean has {numbers} numbers; give one for each of the {channels} channels, or one for all")


def _layers_mean(
    transform: Transform, shape: tuple[int, ...]
) -> tuple[tuple[float, ...], np.ndarray | None, list[str]]:
    """Return the data layer's mean_value, or its mean_file's values, and notes for the user."""
    if transform.mean or transform.mean_file is None:
        return transform.mean, None, []
    found = find_mean_file(transform.mean_file, transform.folder)
    if found is None:
        text = f"mean_file {transform.mean_file!r} is not there; --mean says what to subtract"
        return (), None, [f"{transform.where}: {text}"]
    return (), whole_mean(found, shape), []
