"""deepmerge recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.cli.image_options import image_wishes, mirror, preprocessing
from deepmerge.cli.options import FILE, Checked, Listed, common
from deepmerge.cli.output import Progress, count, show, show_json, table, warn
from deepmerge.train.recover import STAGES, TRAINED, USUAL


def _iterations(text: str) -> dict[str, int]:
    """segments=400,distill=8000 → a number for each stage."""
    if isinstance(text, dict):
        return text
    found: dict[str, int] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        stage, _, number = word.partition("=")
        if stage not in TRAINED or not (number.isascii() and number.isdigit() and 0 < int(number) < 10**9):
            raise ValueError(f"{word!r} is not STAGE=N, STAGE being {', '.join(TRAINED)}, and N a number from 1 on")
        found[stage] = int(number)
    return found


@click.command(short_help="recover accuracy without labels")
@click.argument("out", type=FILE)
@click.option(
    "--data",
    required=True,
    metavar="SPEC",
    help="Images: folder:, list:, lmdb:, hdf5: or npz:, then a path; no labels.",
)
@click.option(
    "-o", "--out", "to", type=FILE, required=True, metavar="OUT2", help="The folder to write; it has OUT's form."
)
@click.option(
    "--stages",
    type=Listed(STAGES, empty=False),
    default=",".join(USUAL),
    show_default=True,
    help=f"What to do, of {', '.join(STAGES)}, in this order. lsq and refit need no PyTorch.",
)
@click.option(
    "--steps", default="all", show_default=True, metavar="LIST", help="all, or approximate steps by name, and ranges."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Time for everything: the speed is measured, and the stages get their shares of it.",
)
@click.option(
    "--iterations",
    type=Checked("STAGE=N,…", _iterations),
    default="",
    help="Iterations of segments, chain, distill, such as those that report.json tells of an earlier run.",
)
@click.option(
    "--images",
    "limit",
    type=click.IntRange(1),
    metavar="N",
    help="At most so many images, spread evenly. Default: all.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Images of an iteration. Default: 128, or less on a CPU."
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="How far an iteration moves a weight, as a share of its layer's weights. "
    "Default: the largest of five, up to 0.015, that does no great harm in a trial.",
)
@click.option(
    "--device",
    metavar="cpu|cuda",
    default="cpu",
    show_default=True,
    help="Where PyTorch runs; cuda:1 is the second GPU.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. Default: every core.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of distill's forward and backward; auto: bfloat16 where the machine is faster at it, and rounding costs little.",
)
@click.option(
    "--vary/--no-vary",
    default=True,
    show_default=True,
    help="distill shows images shifted, and a quarter of them mixed with others, so that few images say much.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the images' order, mirroring and crops."
)
@click.option(
    "--stop-after",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Stop after so many minutes with a checkpoint; the same command goes on from there.",
)
@click.option(
    "--original", type=(FILE, FILE), metavar="PROTOTXT CAFFEMODEL", help="The original, if not where report.json says."
)
@preprocessing
@mirror("Turn half of the images left to right in training. Default: as the train_val says.")
@click.option("--strict", is_flag=True, help="Fail on an image that cannot be read.")
@click.option("--force", is_flag=True, help="Replace an existing OUT2.")
@common
def recover(out, data, to, stages, iterations, as_json, quiet, verbose, debug, **chosen):
    """Bring back the accuracy that the approximate steps of a conversion have cost, with images and no labels: what
    `convert` wrote to OUT learns to do what its original does.

    \b
    lsq       the last linear layers of each merged segment, by least squares
    refit     the linear layers behind the merged segments, by least squares
    segments  all layers of each merged segment, on the original's inputs
    chain     the same, on the merged network's own inputs
    distill   the whole network, on the original's scores

    refit is for conversions that merge a few layers and leave many behind them;
    it takes a minute or so for each of these.

    A run that was killed goes on from its last checkpoint (OUT2.checkpoint) when it is started again with the same
    command. The same seed, iterations and number of threads give the same weights on the CPU.

    \b
    Examples:
      deepmerge recover out/ --data folder:photos -o recovered/ --minutes 20 --mirror
      deepmerge recover out/ --data lmdb:train_lmdb -o recovered/ --device cuda --stop-after 9
      deepmerge recover out/ --data npz:train.npz -o recovered/ --stages lsq --images 1000
      deepmerge recover out/ --data npz:train.npz -o recovered/ --stages lsq,refit,distill
    """
    wishes = image_wishes(chosen)
    from deepmerge.train.recover.job import recover as run
    from deepmerge.train.recover.spec import Job
    from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder

    ordered = tuple(stage for stage in STAGES if stage in stages)
    job = Job(out, data, to, wishes=wishes, stages=ordered, counts=iterations, **chosen)
    report = None
    progress = Progress(quiet or as_json)
    try:
        report = run(job, progress)
    except Paused:
        pass
    except KeyboardInterrupt:
        told_interrupted(to)
        raise
    finally:
        progress.clear()
    if report is None:
        told = f"paused after {chosen['stop_after']:g} minutes (--stop-after); run the same command again to go on"
        show_json({"paused": True, "checkpoint": str(checkpoint_folder(to))}) if as_json else show(told, quiet)
        return
    story = report["recovery"]
    warn(story.get("warnings", []), quiet)
    if as_json:
        show_json(story)
    else:
        show(f"{recovery_table(story, verbose)}\n\nwritten to {to}", quiet)


def told_interrupted(out: Path | None) -> None:
    """Leave, if a checkpoint is left behind that the same command goes on from."""
    from deepmerge.train.shared.checkpoint import checkpoint_folder

    if out is not None and checkpoint_folder(out).exists():
        click.echo(f"deepmerge: interrupted; the same command goes on from {checkpoint_folder(out)}", err=True)
        raise SystemExit(130) from None


def recovery_table(story: dict[str, Any], full: bool = False) -> str:
    """A row for each stage: its time, and what it gained. full: a row for each segment, too. A stage that did harm was undone."""
    if not story["stages"]:
        return story["note"]
    rows = []
    for stage in story["stages"]:
        took = f"{stage['seconds']:.0f} s", f"{stage['share']:.0%}"
        name = f"{stage['name']} (undone)" if stage.get("undone") else stage["name"]
        rows.append((name, *took, stage.get("iterations", ""), *_losses(stage), *_agreement(stage)))
        for part in stage.get("segments", stage.get("outputs", [])) if full else []:
            rows.append((f"  {part['name']}", "", "", "", *_losses(part), "", ""))
    head = ("stage", "time", "share", "iterations", "loss", "→", "agreement", "→")
    parts = [table(rows, head, "lrrrrrrr")]
    if "agreement_after" in story:
        on = (
            f"on {count(story['held_out'], 'image')} held out" if story["held_out"] else "on the images it learned from"
        )
        told = f"{on}, the same first class as the original's: {story['agreement_before']:.1%} → {story['agreement_after']:.1%}"
        parts.append(told)
    return "\n\n".join(parts)


def _losses(entry: dict[str, Any]) -> tuple[str, str]:
    return f"{entry['loss_before']:.4g}", f"{entry['loss_after']:.4g}"


def _agreement(stage: dict[str, Any]) -> tuple[str, str]:
    if "agreement_after" not in stage:
        return "", ""
    return f"{stage['agreement_before']:.1%}", f"{stage['agreement_after']:.1%}"
