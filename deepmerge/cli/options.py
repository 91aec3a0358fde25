"""Options that several commands share, and their types."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deepmerge.passes.support import choices

FILE = click.Path(path_type=Path)
DEBUG = "deepmerge.debug"  # in Context.meta: whether --debug was given
PLANNING = ("exact", "steps", "absorb", "keep", "width", "kernel", "init", "tucker", "rank")


class Listed(click.ParamType):
    """Words between commas, each once; with `choices`, only those. `empty`: whether no word at all will do."""

    name = "LIST"

    def __init__(self, choices: tuple[str, ...] = (), empty: bool = True):
        self.choices, self.empty = choices, empty

    def convert(self, value: Any, param, ctx) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(w.strip() for w in str(value).split(",") if w.strip()))
        for word in words:
            if self.choices and word not in self.choices:
                near = difflib.get_close_matches(word, self.choices, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self.fail(f"{word!r} is none of {', '.join(self.choices)}{hint}", param, ctx)
        if not words and not self.empty:
            self.fail("wants one word or more" + (f": {', '.join(self.choices)}" if self.choices else ""), param, ctx)
        return words


class Checked(click.ParamType):
    """What a function makes of the option's text; its ValueError is a usage error."""

    def __init__(self, name: str, check: Callable[[str], Any]):
        self.name, self.check = name, check

    def convert(self, value: Any, param, ctx) -> Any:
        try:
            return self.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def common(command: Callable) -> Callable:
    """--json, -q, -v, --debug, which every command has."""
    for option in (
        click.option("--debug", is_flag=True, callback=_remember_debug, help="Show the traceback of an error."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors (and --json's result)."),
        click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
    ):
        command = option(command)
    return command


def _remember_debug(ctx: click.Context, _param, value: bool) -> bool:
    ctx.meta[DEBUG] = value
    return value


_PLANNING_OPTIONS = (
    click.option("--exact", is_flag=True, help="Lossless passes only."),
    click.option(
        "--steps",
        type=Listed(empty=False),
        default="all",
        show_default=True,
        help="all, or approximate steps by name, and ranges that make one step: conv1,inception_4b-4d.",
    ),
    click.option(
        "--absorb",
        type=Listed(choices.ABSORB),
        default=",".join(choices.ABSORB),
        show_default=True,
        help="What approximate steps may absorb.",
    ),
    click.option("--keep", type=Listed(), default="", help="Layers, by name or type, to leave alone."),
    click.option(
        "--width",
        type=Checked("width", choices.width),
        metavar="FACTOR|full",
        default="0.5",
        show_default=True,
        help="Reducers' width in merged branches; 'full' embeds exactly.",
    ),
    click.option(
        "--kernel",
        type=click.Choice(choices.KERNELS),
        default=choices.KERNELS[0],
        show_default=True,
        help="The merged convolution's kernel: as it is, or all that it and the pooling see.",
    ),
    click.option(
        "--init",
        type=click.Choice(choices.INITS),
        default=choices.INITS[0],
        show_default=True,
        help="Where merged layers' weights start.",
    ),
    click.option("--tucker", is_flag=True, help="Decompose what is left (Tucker-2, SVD)."),
    click.option(
        "--rank",
        type=Checked("rank", choices.rank),
        metavar="vbmf|energy:X|ratio:X|macs:X",
        default="energy:0.85",
        show_default=True,
        help="How --tucker chooses ranks; macs:X keeps that share of the MACs of all that it could decompose.",
    ),
)


def planning(command: Callable) -> Callable:
    """What to do to the network: of convert and plan."""
    for option in reversed(_PLANNING_OPTIONS):
        command = option(command)
    return command


def given(*names: str) -> list[str]:
    """Those of the current command's parameters that stand on the command line."""
    source = click.get_current_context().get_parameter_source
    return [name for name in names if source(name) is click.core.ParameterSource.COMMANDLINE]


def wishes(chosen: dict[str, Any]):
    """The planning options, taken out of `chosen`, as the library wants them; UsageError where two are at odds."""
    one = {name: chosen.pop(name) for name in PLANNING}
    if one["exact"] and one["tucker"]:
        raise click.UsageError("--exact and --tucker exclude each other: Tucker decomposition is approximate")
    if one["exact"] and given("steps") and one["width"] != "full":
        raise click.UsageError(
            "--exact takes no approximate steps: leave --steps out, or add --width full to embed branches exactly"
        )
    if given("rank") and not one["tucker"]:
        raise click.UsageError("--rank says how --tucker chooses its ranks: give --tucker too")
    from deepmerge.passes.support.base import Options
    from deepmerge.plan import Wishes

    options = {name: one[name] for name in ("absorb", "width", "kernel", "init", "rank")}
    return Wishes(one["exact"], ",".join(one["steps"]), one["tucker"], Options(**options, keep=frozenset(one["keep"])))
