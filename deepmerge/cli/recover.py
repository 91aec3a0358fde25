"""deepmerge recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.cli.complete import complete_steps
from deepmerge.cli.image_options import Preprocessing
from deepmerge.cli.next_command import after_training
from deepmerge.cli.options import MORE, SPEC, Amount, Checked, Listed, command, common, option, options
from deepmerge.cli.output import Console, table, written_line
from deepmerge.cli.training_options import (
    MINUTES,
    files,
    limit,
    precision,
    resumable,
    show_paused,
    show_warnings,
    training,
    warnings_in,
)
from deepmerge.text import count
from deepmerge.train.recover import STAGES, TRAINED


def _iterations(text: str) -> dict[str, int]:
    """Return a number for each stage of `tail=4000,distill=8000`."""
    if isinstance(text, dict):
        return text
    found: dict[str, int] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        stage, _, number = word.partition("=")
        if stage not in TRAINED or not (number.isascii() and number.isdigit() and 0 < int(number) < 10**9):
            raise ValueError(f"{word!r} is not STAGE=N, with a STAGE of {', '.join(TRAINED)}, and N from 1 on")
        found[stage] = int(number)
    return found


@command(short_help="recover accuracy without labels")
@files
@option(
    "--data",
    required=True,
    metavar="SPEC",
    help=f"Images to learn from (no labels needed): {SPEC}.",
)
@option(
    "--stages",
    type=Listed(STAGES, empty=False),
    help="Stages to run. Default: lsq,front,tail for a large network on a CPU, else lsq,distill.",
)
@option(
    "--minutes",
    type=MINUTES,
    metavar="N",
    help="Minutes for all stages together. Default: as long as it takes, about an hour at most on two cores.",
)
@limit
@option(
    "--steps",
    type=Listed(empty=False),
    default="all",
    shell_complete=complete_steps,
    help="Solve by least squares only what these steps merged: all, or names and ranges. "
    "It does not limit front, tail and distill.",
)
@option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the images' order and augmentation.")
@options(
    option(
        "--iterations",
        "counts",
        type=Checked("STAGE=N,…", _iterations),
        default="",
        show_default=False,
        help="Iterations of the stages that train, e.g. front=400,tail=300.",
    ),
    option(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Batch size. Default: 128; 64 for a large network on a CPU.",
    ),
    option(
        "--lr",
        type=Amount(0, min_open=True),
        metavar="X",
        help="Learning rate, relative to each layer's weights. "
        "Default: the largest of four, up to 0.015, that passes a trial, or else a quarter of the smallest.",
    ),
    precision,
    option(
        "--vary/--no-vary",
        default=True,
        help="Augmentation against overfitting on few images: shift images, and mix a quarter of them.",
    ),
    heading=MORE,
)
@training
@common
def recover(
    out: Path, to: Path, data: str, steps: tuple[str, ...], images: Preprocessing, console: Console, **how: Any
):
    """Recover the accuracy that approximate steps cost, with images and no labels.

    The network in OUT learns from its original. A run that was killed resumes from OUT2.checkpoint.

    \b
    lsq      the linear layers of each merged segment, by least squares
    refit    the linear layers after the merged segments, by least squares (a minute or two a layer)
    front    the layers before a cut, on the original's values at the cut
    tail     the layers after the cut, on the original's scores and its last feature map
    distill  the whole network, on the original's scores and its last feature map

    \b
    Examples:
      deepmerge recover out/ --data folder:photos -o recovered/ --minutes 20
      deepmerge recover out/ --data lmdb:train_lmdb -o recovered/ --device cuda
      deepmerge recover out/ --data npz:train.npz -o recovered/ --stages lsq,refit,distill
    """
    import deepmerge
    from deepmerge.train.shared.checkpoint import Paused

    shown = warnings_in(out)
    try:
        with resumable(to), console.progress() as progress:
            asked = {**how, "steps": ",".join(steps), "wishes": images.wishes()}
            report = deepmerge.recover(out, data, to, progress=progress, **asked)
    except Paused:
        return show_paused(console, to, how["stop_after"])
    story = report["recovery"]
    show_warnings(console, story, report, shown)
    console.show(story, lambda: f"{recovery_table(story, console.verbose)}\n\n{written_line(to)}")
    console.next(after_training(to))


def recovery_table(story: dict[str, Any], full: bool = False) -> str:
    """Return a row for each stage: its time and what it gained. full: a row for each segment, too."""
    if not story["stages"]:
        return story.get("note", "no stage had time")
    rows = []
    for stage in story["stages"]:
        took = f"{stage['seconds']:.0f} s", f"{stage['share']:.0%}"
        name = f"{stage['name']} (rolled back)" if stage.get("undone") else stage["name"]
        rows.append((name, *took, stage.get("iterations", ""), *_losses(stage), *_agreement(stage)))
        for part in stage.get("segments", stage.get("outputs", [])) if full else []:
            rows.append((f"  {part['name']}", "", "", "", *_losses(part), "", ""))
    head = ("stage", "time", "share", "iterations", "loss before", "after", "agreement before", "after")
    parts = [table(rows, head, "lrrrrrrr")]
    if "agreement_after" in story:
        held_out = story["held_out"]
        images = f"{count(held_out, 'held-out image')}" if held_out else "the training images"
        before, after = _agreement(story)
        parts.append(f"top-1 agreement with the original on {images}: {before} → {after}")
    return "\n\n".join(parts)


def _losses(entry: dict[str, Any]) -> tuple[str, str]:
    return f"{entry['loss_before']:.4g}", f"{entry['loss_after']:.4g}"


def _agreement(entry: dict[str, Any]) -> tuple[str, str]:
    if "agreement_after" not in entry:
        return "", ""
    return f"{entry['agreement_before']:.1%}", f"{entry['agreement_after']:.1%}"
