"""What recover and finetune share: options, and how a run is interrupted and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.image_options import preprocessing
from deepmerge.cli.options import FILE, MORE, Amount, inputs, option, options, original
from deepmerge.cli.output import Console
from deepmerge.errors import ReadError
from deepmerge.train.shared.device import PRECISIONS

MINUTES = Amount(0, min_open=True)

files = options(
    click.argument("out", type=FILE),
    option("-o", "--out", "to", type=FILE, required=True, metavar="OUT2", help="Output folder, laid out like OUT."),
)
training = options(
    option("--device", metavar="cpu|cuda", default="cpu", help="Where PyTorch runs; cuda:1 is the second GPU."),
    option("--force", is_flag=True, help="Replace an existing OUT2."),
    options(
        option(
            "--stop-after",
            type=MINUTES,
            metavar="N",
            help="Stop after N minutes with a checkpoint; the same command resumes from it.",
        ),
        option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads. Default: all cores."),
        original,
        inputs,
        option("--strict", is_flag=True, help="Fail on an image that cannot be read."),
        heading=MORE,
    ),
    preprocessing("Flip half of the images left to right in training. Default: as the train_val says."),
)
limit = option("--images", "limit", type=click.IntRange(1), metavar="N", help="Use at most N images, sampled evenly.")

precision = option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    help="Precision of training; auto picks bf16 if the processor has instructions for it and the loss hardly changes.",
)


@contextlib.contextmanager
def resumable(to: Path | None) -> Iterator[None]:
    """Say where an interrupted run resumes, if it left a checkpoint for `to`."""
    try:
        yield
    except KeyboardInterrupt:
        from deepmerge.train.shared.checkpoint import checkpoint_folder

        if to is None or not checkpoint_folder(to).exists():
            raise
        raise KeyboardInterrupt(f"interrupted; the same command resumes from {checkpoint_folder(to)}") from None


def warnings_in(out: Path) -> list[str]:
    """Return the warnings in OUT's report, shown when it was made; [] where OUT cannot be read: the run says why."""
    from deepmerge.out.read import read_converted

    try:
        found = read_converted(out).report.get("warnings")
    except ReadError:
        return []
    return found if isinstance(found, list) else []


def show_warnings(
    console: Console, story: Mapping[str, Any], report: Mapping[str, Any], shown: Collection[str]
) -> None:
    """Print the warnings of a run that is over, and those of its report that are not in `shown`.

    story: the report's entry of the run.
    """
    console.warn([*story.get("warnings", []), *(line for line in report.get("warnings", []) if line not in shown)])


def show_paused(console: Console, to: Path, minutes: float) -> None:
    """Print that --stop-after has ended the run."""
    from deepmerge.train.shared.checkpoint import checkpoint_folder

    result = {"paused": True, "checkpoint": str(checkpoint_folder(to))}
    console.show(
        result, lambda: f"paused after {minutes:g} minutes (--stop-after); run the same command again to resume"
    )
