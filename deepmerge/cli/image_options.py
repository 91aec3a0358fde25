"""Options of commands that run networks on images, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click


class Numbers(click.ParamType):
    """Numbers between commas."""

    name = "X,X,X"

    def convert(self, value: Any, param, ctx) -> tuple[float, ...]:
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

    def convert(self, value: Any, param, ctx) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if len(words) != 2 or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value!r} is not a width and a height in pixels, such as 224,224", param, ctx)
        return int(words[0]), int(words[1])


class Tolerance(click.ParamType):
    """A number from 0 on; `none` and `inf` for none."""

    name = "X|none"

    def convert(self, value: Any, param, ctx) -> float:
        if isinstance(value, float):
            return value
        try:
            number = math.inf if str(value) == "none" else float(value)
        except ValueError:
            number = math.nan
        if not number >= 0:
            self.fail(f"{value!r} is neither a number from 0 on nor 'none'", param, ctx)
        return number


def running(command: Callable) -> Callable:
    """--engine and --threads, of all commands that run a network."""
    for option in (
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads."),
        click.option(
            "--engine",
            type=click.Choice(["ort", "torch", "caffe"]),
            default="ort",
            show_default=True,
            help="What runs the networks.",
        ),
    ):
        command = option(command)
    return command


PREPROCESSING = ("mean", "scale", "resize", "crop", "channel_order", "mirror")

_PREPROCESSING_OPTIONS = (
    click.option(
        "--mean",
        type=Numbers(),
        help="Subtracted, a number for each channel (B,G,R). Default: the train_val's, or 104,117,123.",
    ),
    click.option("--scale", type=float, help="Multiplied by, behind the mean. Default: the train_val's, or 1."),
    click.option(
        "--resize",
        type=Size(),
        help="Width and height, bilinear. Default: the train_val's, or the network's input size.",
    ),
    click.option(
        "--crop",
        type=click.IntRange(1),
        metavar="N",
        help="The side of a square from the centre, behind --resize. Default: the train_val's.",
    ),
    click.option(
        "--channel-order",
        type=click.Choice(["bgr", "rgb"]),
        default="bgr",
        show_default=True,
        help="The network's; --mean is in it.",
    ),
)


def preprocessing(command: Callable) -> Callable:
    """What is done to images before a network gets them; see image_wishes. Commands that train say what --mirror does."""
    for option in reversed(_PREPROCESSING_OPTIONS):
        command = option(command)
    return command


def mirror(what: str) -> Callable:
    """--mirror, of the commands where it does something; `what` is its help."""
    return click.option("--mirror", is_flag=True, default=None, help=what)


def image_wishes(chosen: dict[str, Any]):
    """The preprocessing options, taken out of `chosen`, as the library wants them."""
    from deepmerge.data import ImageWishes

    return ImageWishes(**{name: chosen.pop(name) for name in PREPROCESSING if name in chosen})
