"""Options of zoo: those of convert, which a manifest may give, and its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmerge.cli.convert import convert as convert_command
from deepmerge.cli.image_options import PREPROCESSING, Preprocessing
from deepmerge.cli.options import FILE, MORE, USAGE, Checked, Listed, bundle, given, option, options, refuse
from deepmerge.errors import DeepmergeError
from deepmerge.machine import cores
from deepmerge.zoo.options import FLAG, LISTED, MANY, ONE, Option

if TYPE_CHECKING:
    from deepmerge.data import ImageWishes
    from deepmerge.zoo.run import Choice

_NOT_THEIRS = ("out", "dry_run", "force", "as_json", "quiet", "verbose")  # options of convert that are the zoo's
_WRITTEN = ("measurements",)  # files that convert adds to: no result depends on what is in them already


# -- convert, as a zoo uses it ---------------------------------------------------------------------


def run_convert(words: Sequence[str]) -> ImageWishes:
    """Run `deepmerge convert` with these words, and return their image options.

    DeepmergeError for a usage error, and what convert itself raises.
    """
    try:
        with convert_command.make_context("deepmerge convert", list(words)) as ctx:
            convert_command.invoke(ctx)
            return Preprocessing(**{key: ctx.params[key] for key in PREPROCESSING if key in ctx.params}).wishes()
    except click.ClickException as error:
        raise DeepmergeError(error.format_message()) from None


def check_convert(words: Sequence[str]) -> None:
    """Raise ValueError if convert does not take these words, or not together."""
    try:
        with convert_command.make_context("convert", [*words, "-o", "out", "--", "a.prototxt", "a.caffemodel"]) as ctx:
            ctx.meta[USAGE] = True
            convert_command.invoke(ctx)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from None


def _manifest_options() -> dict[str, Option]:
    """Return the options of convert that a manifest may give, by their keys there."""
    found = {}
    for param in convert_command.params:
        if isinstance(param, click.Option) and param.expose_value and param.name not in _NOT_THEIRS:
            spelling = max(param.opts, key=len)
            kind = FLAG if param.is_flag else MANY if param.multiple else ONE
            kind = LISTED if isinstance(param.type, Listed) else kind
            found[spelling.lstrip("-").replace("-", "_")] = Option(spelling, kind, _reads(param))
    return found


def _reads(param: click.Option) -> str:
    """Return what the option's value names, if the result depends on what is in it: see Option."""
    if param.name in _WRITTEN:
        return ""
    if param.type is FILE:
        return "file"
    return "images" if param.metavar == "SPEC" else ""


@dataclass(frozen=True)
class Converter:
    """See deepmerge.zoo.options.Converter."""

    options: dict[str, Option] = field(default_factory=_manifest_options)
    check = staticmethod(check_convert)
    convert = staticmethod(run_convert)


# -- its own options -------------------------------------------------------------------------------


def _shard(text: Any) -> tuple[int, int]:
    """Return i and n of `--shard i/n`; ValueError where the text is something else."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} is not i/n with i from 1 to n, such as 3/20")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Running:
    """Which models are converted, where, and when the run stops."""

    out: Path | None
    workers: int | None
    scheduler: str | None
    names: tuple[str, ...]
    shard: tuple[int, int]
    retry_failed: bool
    fail_fast: bool

    def __post_init__(self):
        if self.scheduler:
            refuse(given("workers"), "has no effect with --scheduler: the cluster's workers are what there are")

    @property
    def choice(self) -> Choice:
        """The models."""
        from deepmerge.zoo.run import Choice

        return Choice(self.names, self.shard)

    @property
    def threads(self) -> int:
        """CPU threads of each model: workers × threads ≤ cores. On a cluster, one."""
        return 1 if self.scheduler else max(1, cores() // (self.workers or cores()))


running = bundle(
    "running",
    Running,
    option("-o", "--out", type=FILE, metavar="OUT", help="Folder for the results, a folder for each model."),
    option(
        "-j",
        "--jobs",
        "workers",
        type=click.IntRange(1),
        metavar="N",
        help="Models at a time. The cores are shared among them. Default: as many as cores.",
    ),
    option("--name", "names", metavar="PAT", multiple=True, help="Only these models: 'resnet*'. May be repeated."),
    option("--retry-failed", is_flag=True, help="Try the models again that failed or were set aside."),
    option("--fail-fast", is_flag=True, help="Stop at the first failure."),
    option("--scheduler", metavar="ADDRESS", help="Use this Dask cluster (tcp://host:8786), not local processes."),
    option(
        "--shard",
        type=Checked("i/n", _shard),
        default="1/1",
        show_default=False,
        help="Only the i-th of n parts, as one of n jobs; --merge-index joins what they write.",
    ),
)


@dataclass(frozen=True)
class Showing:
    """What is done in place of converting, and what is written beside the index."""

    dry_run: bool
    only_list: bool
    check: bool
    merge_index: bool
    junit: Path | None
    markdown: Path | None

    def __post_init__(self):
        if self.dry_run + self.only_list + self.check + self.merge_index > 1:
            raise click.UsageError("--dry-run, --list, --check and --merge-index exclude each other")
        if self.dry_run or self.only_list or self.check:
            refuse(given("junit", "markdown"), "has no effect with --dry-run, --list or --check; leave it out")
        if self.merge_index:
            unused = given("names", "retry_failed", "fail_fast", "shard")
            refuse(unused, "has no effect with --merge-index; leave it out")


showing = bundle(
    "showing",
    Showing,
    option("--dry-run", is_flag=True, help="Show what would be done; write nothing."),
    option("--list", "only_list", is_flag=True, help="List the models and their states; write nothing."),
    option("--check", is_flag=True, help="Check the manifest, and that its files are there; convert nothing."),
    option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML for CI."),
    option("--merge-index", is_flag=True, help="Join what runs with --shard wrote in OUT; convert nothing."),
    options(
        option(
            "--markdown",
            type=FILE,
            metavar="FILE",
            help="Append a summary in Markdown. Default: where GITHUB_STEP_SUMMARY says.",
        ),
        heading=MORE,
    ),
)
