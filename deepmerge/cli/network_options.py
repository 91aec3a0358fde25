"""What profile and bench have in common: NET …, and how networks are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from deepmerge.cli.options import Listed
from deepmerge.engines import ENGINES


def networks(command: Callable) -> Callable:
    """NET … and the options of running them."""
    for option in (
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Of the order in which networks take turns.",
        ),
        click.option(
            "--seconds",
            type=click.FloatRange(0, min_open=True),
            default=30.0,
            show_default=True,
            help="At most so long, for each engine's whole forwards.",
        ),
        click.option(
            "--repeat", type=click.IntRange(2), metavar="N", help="Just so many rounds, instead of as many as it takes."
        ),
        click.option(
            "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Of engine torch."
        ),
        click.option(
            "--batch", type=click.IntRange(1), metavar="N", help="Images at a time.  [default: as the prototxt says]"
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="N",
            help="CPU threads of every engine.",
        ),
        click.option(
            "--engine",
            "engines",
            type=Listed(tuple(ENGINES), empty=False),
            default=",".join(ENGINES),
            show_default=True,
            help="The engines to measure on; those that are not installed are told.",
        ),
        click.argument("words", metavar="NET...", nargs=-1, required=True),
    ):
        command = option(command)
    return command


def read(words: tuple[str, ...], batch: int | None) -> list[Any]:
    """The networks that NET … names; UsageError where the words make none."""
    from deepmerge.measure.harness.networks import parse_networks, read_networks

    try:
        sources = parse_networks(words)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return read_networks(sources, batch)


def budget(repeat: int | None, seconds: float):
    """When to stop measuring."""
    from deepmerge.engines.timing.timing import Budget

    if repeat is None:
        return Budget(seconds=seconds)
    return Budget(narrow=-1, least=repeat, most=repeat, seconds=None)


def settings_line(report: dict) -> str:
    """What was measured on, for people."""
    machine, chosen = report["machine"], report["settings"]
    loads = [one[0] for one in (machine["load"], report["load_after"]) if one]
    load = f"; load average {loads[0]:.2f} before, {loads[-1]:.2f} after" if loads else ""
    threads = "1 thread" if chosen["threads"] == 1 else f"{chosen['threads']} threads"
    return f"{machine['processor']}, {machine['cores']} cores, {threads} an engine{load}"


def random_note(networks: list[dict]) -> str:
    """Which networks run with made-up weights, a line; "" if none does."""
    labels = [one["label"] for one in networks if one["random_weights"]]
    return f"{', '.join(labels)}: no caffemodel given, random weights (seeded): for times alone" if labels else ""
