"""Options that several commands share, their types, and how `--help` lists them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from deepmerge.cli.complete import complete_layers, complete_steps
from deepmerge.cli.output import Console
from deepmerge.passes.support import option_values
from deepmerge.targets.names import TARGETS
from deepmerge.text import nearest

FILE = click.Path(path_type=Path, readable=False)  # reading it says what is wrong, in one line
DEBUG = "deepmerge.debug"  # in Context.meta: whether --debug was given
USAGE = "deepmerge.usage"  # in Context.meta: whether the command is only to check its options
WORDS = "deepmerge.words"  # in Context.meta: the words after the command's name
MORE = "More options"
SPEC = "folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE"
_ALL = "deepmerge.help_all"  # in Context.meta: whether --help-all was given


class Command(click.Command):
    """A command whose `--help` fits on a screen: it lists the options without a heading. `--help-all` lists all."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all parameters, `--help-all` among them."""
        return [*super().get_params(ctx), HELP_ALL]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words as they were typed, and parse them."""
        ctx.meta[WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section for each heading."""
        sections: dict[str, list[tuple[str, str]]] = {"": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                sections.setdefault(getattr(param, "heading", ""), []).append(record)
        for heading, records in sections.items():
            if not heading or _ALL in ctx.meta:
                with formatter.section(heading or "Options"):
                    formatter.write_dl(records)


def _show_all(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show all options and exit.",
)

command = functools.partial(click.command, cls=Command)
option = functools.partial(click.option, show_default=True)


def options(*decorators: Callable, heading: str = "") -> Callable:
    """Return one decorator that adds several options in this order, under a heading of `--help-all` if one is given."""

    def decorate(function: Callable) -> Callable:
        before = len(getattr(function, "__click_params__", ()))
        for decorator in reversed(decorators):
            function = decorator(function)
        for param in function.__click_params__[before:]:
            param.heading = getattr(param, "heading", heading)
        return function

    return decorate


def bundle(name: str, make: Callable[..., Any], *decorators: Callable, heading: str = "") -> Callable:
    """Return a decorator that adds options and hands the command one object in place of their values.

    The command gets it as its argument `name`. `make` is called with the options' values as keywords.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def bundled(**values: Any) -> Any:
            values[name] = make(**{key: values.pop(key) for key in keys})
            return function(**values)

        before = len(getattr(function, "__click_params__", ()))
        decorated = options(*decorators, heading=heading)(bundled)
        keys = [param.name for param in decorated.__click_params__[before:] if param.expose_value]
        return decorated

    return decorate


class Listed(click.ParamType):
    """Words between commas, each once. choices: the allowed words; () for any. empty: whether "" is allowed."""

    name = "LIST"

    def __init__(self, choices: tuple[str, ...] = (), empty: bool = True):
        self.choices, self.empty = choices, empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the words."""
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(w.strip() for w in str(value).split(",") if w.strip()))
        for word in words:
            if self.choices and word not in self.choices:
                near = nearest(word, self.choices, most=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self.fail(f"{word!r} is not one of {', '.join(self.choices)}{hint}", param, ctx)
        if not words and not self.empty:
            some = f": {', '.join(self.choices)}" if self.choices else ""
            self.fail(f"give one word or more{some}", param, ctx)
        return words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that may follow the last comma."""
        before, comma, _ = incomplete.rpartition(",")
        words = [before + comma + choice for choice in self.choices if choice not in before.split(",")]
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class Amount(click.FloatRange):
    """A number in a range; inf and nan, which click takes, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Checked(click.ParamType):
    """What a function makes of the option's text; its ValueError is a usage error."""

    def __init__(self, name: str, check: Callable[[str], Any]):
        self.name, self.check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the function returns."""
        try:
            return self.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def override(text: str) -> Any:
    """Return KEY and VALUE of `--solver KEY=VALUE`; ValueError where Caffe's solver has no such field."""
    from deepmerge.errors import EmitError
    from deepmerge.formats.write.solver import parse_override

    try:
        return parse_override(text)
    except EmitError as error:
        raise ValueError(str(error)) from None


def tops(text: str) -> tuple[int, ...]:
    """Return the numbers of `--top 1,5`; ValueError where the text is something else."""
    if isinstance(text, tuple):
        return text
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10**6 for word in words):
        raise ValueError(f"{text!r} is not a list of numbers from 1 on, such as 1,5")
    return tuple(int(word) for word in words)


def input_size(text: Any) -> tuple[str, tuple[int, ...]]:
    """Return the name and the size of `--input data=1,3,224,224`; ValueError where the text is something else."""
    if isinstance(text, tuple):
        return text
    name, equals, size = text.rpartition("=")  # a name may have a = in it
    words = [word.strip() for word in size.split(",")]
    if not (equals and name) or not all(w.isascii() and w.isdigit() and 0 < int(w[:19]) < 2**31 for w in words):
        raise ValueError(f"{text!r} is not NAME=N,C,H,W with whole numbers from 1 on, such as data=1,3,224,224")
    return name, tuple(map(int, words))


def _each_once(
    ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, tuple[int, ...]], ...]
) -> dict[str, tuple[int, ...]]:
    """Return the sizes by name; BadParameter where a name has two."""
    sizes: dict[str, tuple[int, ...]] = {}
    for name, size in value:
        if name in sizes:
            raise click.BadParameter(f"{name!r} is given twice; keep one of them", ctx, param)
        sizes[name] = size
    return sizes


def given(*names: str) -> list[str]:
    """Return those of the current command's parameters that the command line gives."""
    source = click.get_current_context().get_parameter_source
    return [name for name in names if source(name) is click.core.ParameterSource.COMMANDLINE]


def refuse(names: list[str], why: str) -> None:
    """Raise UsageError about the option of the first of these parameters, if there are any."""
    if names:
        params = click.get_current_context().command.params
        spelling = next(param.opts[-1] for param in params if param.name == names[0])
        raise click.UsageError(f"{spelling} {why}")


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


common = bundle(
    "console",
    Console,
    option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    option("-q", "--quiet", is_flag=True, help="Print errors only (and the result of --json)."),
    option("-v", "--verbose", is_flag=True, help="Print more."),
    options(
        option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_remember_debug,
            help="Print the traceback of an error.",
        ),
        heading=MORE,
    ),
)

inputs = option(
    "--input",
    "inputs",
    type=Checked("NAME=N,C,H,W", input_size),
    multiple=True,
    callback=_each_once,
    help="Size of an input, if the prototxt gives none or you want another; C,H,W keeps its batch. May be repeated.",
)

target = option(
    "--target",
    type=click.Choice(TARGETS),
    metavar="NAME",
    help=f"Compiler: {', '.join(TARGETS)}.",
)

original = options(
    option(
        "--original",
        type=(FILE, FILE),
        metavar="PROTOTXT CAFFEMODEL",
        help="The original network, if it is not where report.json says.",
    ),
    heading=MORE,
)


@dataclass(frozen=True)
class Planning:
    """The planning options of convert and plan. Their names are those of `deepmerge.Network.plan`."""

    exact: bool
    steps: tuple[str, ...]
    absorb: tuple[str, ...]
    keep: tuple[str, ...]
    width: float | str
    kernel: str
    init: str
    tucker: bool
    rank: str

    def __post_init__(self):
        if self.exact and self.tucker:
            raise click.UsageError("--exact and --tucker exclude each other: Tucker decomposition is approximate")
        if self.exact and given("steps") and self.width != "full":
            raise click.UsageError(
                "--exact takes no approximate steps: leave --steps out, or add --width full to embed branches exactly"
            )
        if not self.tucker:
            refuse(given("rank"), "has no effect without --tucker; add --tucker")

    def keywords(self, target: str | None = None) -> dict[str, Any]:
        """Return the options as `deepmerge.Network.plan` takes them."""
        return {**asdict(self), "steps": ",".join(self.steps), "target": target or ""}


PLANNING = tuple(Planning.__dataclass_fields__)

planning = bundle(
    "planning",
    Planning,
    option("--exact", is_flag=True, help="Run exact passes only."),
    option(
        "--steps",
        type=Listed(empty=False),
        default="all",
        shell_complete=complete_steps,
        help="Approximate steps to take: all, or names and ranges such as conv1,inception_4b-4d.",
    ),
    option(
        "--keep",
        type=Listed(),
        default="",
        show_default=False,
        shell_complete=complete_layers,
        help="Layers to leave alone, by name or type.",
    ),
    option(
        "--width",
        type=Checked("width", option_values.width),
        metavar="X|full",
        default="0.5",
        help="Share of their channels that the reducers of merged branches keep; 'full' keeps all.",
    ),
    option("--tucker", is_flag=True, help="Decompose the remaining convolutions (Tucker-2, SVD)."),
    option(
        "--rank",
        type=Checked("rank", option_values.rank),
        metavar="RULE",
        default="energy:0.85",
        help="What --tucker keeps: energy:X, ratio:X or macs:X (X is a share), or vbmf.",
    ),
    options(
        option(
            "--absorb",
            type=Listed(option_values.ABSORB),
            default=",".join(option_values.ABSORB),
            help="What approximate steps may merge.",
        ),
        option(
            "--kernel",
            type=click.Choice(option_values.KERNELS),
            default=option_values.KERNELS[0],
            help="Kernel of a merged convolution: keep the convolution's own, or cover the pooling window as well.",
        ),
        option(
            "--init",
            type=click.Choice(option_values.INITS),
            default=option_values.INITS[0],
            help="Initial weights of merged layers.",
        ),
        heading=MORE,
    ),
)
