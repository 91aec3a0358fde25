"""Options of commands that run networks on images, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import click

from deepmerge.cli.options import MORE, bundle, option, options


class Number(click.ParamType):
    """A number; inf and nan, which click takes, are none."""

    name = "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Numbers(click.ParamType):
    """Numbers between commas."""

    name = "X,X,X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(word) for word in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r} is not a number for each channel, such as 104,117,123", param, ctx)
        return numbers


class Size(click.ParamType):
    """Width and height in pixels."""

    name = "W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return width and height."""
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if len(words) != 2 or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value!r} is not a width and a height in pixels, such as 224,224", param, ctx)
        return int(words[0]), int(words[1])


class Tolerance(click.ParamType):
    """A number from 0 on; `none` and `inf` for no limit."""

    name = "X|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, infinite for no limit."""
        if isinstance(value, float):
            return value
        try:
            number = math.inf if str(value) == "none" else float(value)
        except ValueError:
            number = math.nan
        if not number >= 0:
            self.fail(f"{value!r} is neither a number from 0 on nor 'none'", param, ctx)
        return number


running = options(
    option(
        "--engine", type=click.Choice(["ort", "torch", "caffe"]), default="ort", help="Engine that runs the networks."
    ),
    option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        help="CPU threads. Default: all cores, but 1 for measuring times.",
    ),
)
limit = option("--limit", type=click.IntRange(1), metavar="N", help="Use at most N images, sampled evenly.")
strict = options(option("--strict", is_flag=True, help="Fail on a warning, such as an unreadable image."), heading=MORE)


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared; None: as the network's prototxt says."""

    mean: tuple[float, ...] | None
    scale: float | None
    resize: tuple[int, int] | None
    crop: int | None
    channel_order: str
    mirror: bool | None = None

    def wishes(self):
        """Return the options as the library takes them."""
        from deepmerge.data import ImageWishes

        return ImageWishes(**asdict(self))


PREPROCESSING = tuple(Preprocessing.__dataclass_fields__)
_MIRRORED = "Average the scores of each image and its mirror image."


_PREPROCESSING_OPTIONS = (
    option(
        "--mean",
        type=Numbers(),
        help="Mean to subtract, one number per channel, in --channel-order. Default: the train_val's, or 104,117,123.",
    ),
    option("--scale", type=Number(), help="Scale factor, applied after the mean. Default: the train_val's, or 1."),
    option(
        "--resize",
        type=Size(),
        help="Width and height to resize to (bilinear). Default: the train_val's, or the network's input size.",
    ),
    option(
        "--crop",
        type=click.IntRange(1),
        metavar="N",
        help="Crop the centre to N×N, after --resize. Default: the train_val's.",
    ),
    option(
        "--channel-order",
        type=click.Choice(["bgr", "rgb"]),
        default="bgr",
        help="Channel order that the network expects; --mean uses it too.",
    ),
)


def preprocessing(mirror: str | None = _MIRRORED) -> Callable:
    """Return the decorator that adds the preprocessing options. mirror: help of --mirror; None for no such option."""
    mirroring = [option("--mirror", is_flag=True, default=None, help=mirror)] if mirror else []
    return bundle("images", Preprocessing, *_PREPROCESSING_OPTIONS, *mirroring, heading="Images")
