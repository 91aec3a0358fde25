"""Options that several commands share, and their types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)


class Listed(click.ParamType):
    """Words between commas; with `choices`, only those, and the nearest one named in the error."""

    name = "LIST"

    def __init__(self, choices: tuple[str, ...] = ()):
        self.choices = choices

    def convert(self, value: Any, param, ctx) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(w.strip() for w in str(value).split(",") if w.strip()))
        for word in words:
            if self.choices and word not in self.choices:
                self.fail(f"{word!r} is none of {', '.join(self.choices)}", param, ctx)
        return words


class Width(click.ParamType):
    """A factor above 0 and up to 1, or the word full."""

    name = "FACTOR|full"

    def convert(self, value: Any, param, ctx) -> float | str:
        if value == "full" or isinstance(value, float):
            return value
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number <= 1:
            self.fail(f"{value!r} is neither a number above 0 and up to 1 nor 'full'", param, ctx)
        return number


class Rank(click.ParamType):
    """vbmf, energy:SHARE or ratio:SHARE."""

    name = "vbmf|energy:X|ratio:X"

    def convert(self, value: Any, param, ctx) -> str:
        kind, _, share = str(value).partition(":")
        try:
            good = (kind == "vbmf" and not share) or (kind in ("energy", "ratio") and 0 < float(share) <= 1)
        except ValueError:
            good = False
        if not good:
            self.fail(f"{value!r} is none of vbmf, energy:SHARE and ratio:SHARE (a share above 0 and up to 1)", param, ctx)
        return str(value)


def common(command: Callable) -> Callable:
    """--json, -q, -v, --debug, which every command has."""
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
        click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
    ):
        command = option(command)
    return command


def planning(command: Callable) -> Callable:
    """What to do to the network: of convert and plan."""
    for option in reversed(
        (
            click.option("--exact", is_flag=True, help="Lossless passes only."),
            click.option("--steps", default="all", show_default=True, metavar="LIST", help="Approximate steps by name or range: conv1,inception_4b-4d."),
            click.option("--absorb", type=Listed(("lrn", "pooling", "branches")), default="lrn,pooling,branches", show_default=True, help="What approximate steps may absorb."),
            click.option("--keep", type=Listed(), default="", help="Layers (by name or type) to leave alone."),
            click.option("--width", type=Width(), default="0.5", show_default=True, help="Reducers' width in merged branches; 'full' embeds exactly."),
            click.option("--kernel", type=click.Choice(["keep", "cover"]), default="keep", show_default=True, help="The merged convolution's kernel."),
            click.option("--init", type=click.Choice(["trained", "xavier"]), default="trained", show_default=True, help="Where merged layers' weights start."),
            click.option("--tucker", is_flag=True, help="Decompose what is left (Tucker-2, SVD)."),
            click.option("--rank", type=Rank(), default="energy:0.85", show_default=True, help="How --tucker chooses ranks."),
        )
    ):
        command = option(command)
    return command


def wishes(exact, steps, absorb, keep, width, kernel, init, tucker, rank):
    """The planning options as the library wants them."""
    from deepmerge.passes.base import Options
    from deepmerge.plan.discover import Wishes

    if exact and tucker:
        raise click.UsageError("--exact and --tucker exclude each other: Tucker decomposition is approximate")
    return Wishes(exact, steps, tucker, Options(width, kernel, init, rank, absorb, frozenset(keep)))


PLANNING = ("exact", "steps", "absorb", "keep", "width", "kernel", "init", "tucker", "rank")
