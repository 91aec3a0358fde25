"""deepmerge finetune."""

from __future__ import annotations

import os
from typing import Any

import click

from deepmerge.cli.image_options import image_wishes, mirror, preprocessing
from deepmerge.cli.options import FILE, Checked, common
from deepmerge.cli.output import show, show_json, table, warn


def _override(text: str) -> Any:
    from deepmerge.errors import EmitError
    from deepmerge.formats.write.solver import parse_override

    try:
        return parse_override(text)
    except EmitError as error:
        raise ValueError(str(error)) from None


@click.command(short_help="fine-tune a converted network with labels")
@click.argument("out", type=FILE)
@click.option(
    "--data", required=True, metavar="SPEC", help="Labelled images: folder:, list:, lmdb:, hdf5: or npz:, then a path."
)
@click.option(
    "--test-data", metavar="SPEC", help="Labelled images to test with, as often as the solver says and at the end."
)
@click.option(
    "-o", "--out", "to", type=FILE, required=True, metavar="OUT2", help="The folder to write; it has OUT's form."
)
@click.option(
    "--steps",
    is_flag=False,
    flag_value="all",
    metavar="[LIST]",
    help="One step after the other, each by its own solver: all, or names and ranges. Default: the final network at once.",
)
@click.option(
    "--solver",
    type=Checked("KEY=VALUE", _override),
    multiple=True,
    help="A field of Caffe's solver in the place of the file's; may be repeated.",
)
@click.option(
    "--max-iter", type=click.IntRange(0), metavar="N", help="Iterations (of each step); as --solver max_iter=N."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Stop after so much time, with what there is.",
)
@click.option(
    "--stop-after",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Stop after so many minutes with a checkpoint; the same command goes on from there.",
)
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="In the place of the data layers'.")
@click.option(
    "--images",
    "limit",
    type=click.IntRange(1),
    metavar="N",
    help="Train on at most so many images, spread evenly. Default: all.",
)
@click.option(
    "--in-order",
    is_flag=True,
    help="Take the images in the order of the source, as Caffe does; else they are shuffled.",
)
@click.option("--vary", is_flag=True, help="Show images shifted by up to an eighth, so that few images say much.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    help="Of shuffling, augmentation, dropout. Default: the solver's random_seed, or 0.",
)
@click.option(
    "--engine",
    type=click.Choice(["torch", "caffe"]),
    default="torch",
    show_default=True,
    help="What trains: PyTorch, or real Caffe.",
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
    "--distill",
    is_flag=False,
    flag_value="kl",
    type=click.Choice(["kl", "mse"]),
    metavar="[kl|mse]",
    help="The original as a teacher: its scores are added to the loss, as a divergence or a squared distance.",
)
@click.option(
    "--distill-weight",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Of the teacher's loss.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    metavar="X",
    help="Of kl: softens both.",
)
@click.option(
    "--original", type=(FILE, FILE), metavar="PROTOTXT CAFFEMODEL", help="The original, if not where report.json says."
)
@preprocessing
@mirror("Turn half of the images left to right in training. Default: as the train_val says.")
@click.option("--strict", is_flag=True, help="Fail on an image that cannot be read.")
@click.option("--force", is_flag=True, help="Replace an existing OUT2.")
@common
def finetune(out, data, to, solver, max_iter, in_order, as_json, quiet, verbose, debug, **chosen):
    """Fine-tune what `convert` or `recover` wrote to OUT, as its solver.prototxt and train_val.prototxt say.

    A run that was killed goes on from its last checkpoint (OUT2.checkpoint) when it is started again with the same
    command. The same seed and number of threads give the same weights on the CPU.
    Several GPUs or hosts: torchrun --nproc-per-node N -m deepmerge finetune …; they share each batch.

    \b
    Examples:
      deepmerge finetune out/ --data lmdb:train_lmdb --test-data lmdb:test_lmdb -o tuned/
      deepmerge finetune out/ --data folder:photos -o tuned/ --steps --max-iter 2000 --device cuda
      deepmerge finetune out/ --data npz:train.npz -o tuned/ --solver base_lr=0.01 --solver type=Adam --minutes 30
      deepmerge finetune out/ --data npz:train.npz -o tuned/ --distill --vary --mirror
      deepmerge finetune out/ --data lmdb:train_lmdb -o tuned/ --engine caffe
    """
    _refuse_mixture(chosen)
    overrides = dict(solver)
    if max_iter is not None:
        if "max_iter" in overrides:
            raise click.UsageError("--max-iter and --solver max_iter exclude each other")
        overrides["max_iter"] = str(max_iter)
    wishes = image_wishes(chosen)
    from deepmerge.train.finetune.job import finetune as run
    from deepmerge.train.finetune.spec import Job
    from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder

    job = Job(out, to, data, solver=overrides, shuffle=not in_order, wishes=wishes, **chosen)
    first = os.environ.get("RANK", "0") == "0"  # of those that torchrun starts, one speaks
    report = None
    try:
        report = run(job, lambda line: None if quiet or not first else click.echo(line, err=True))
    except Paused:
        pass
    except KeyboardInterrupt:
        if not checkpoint_folder(to).exists():
            raise
        click.echo(f"deepmerge: interrupted; the same command goes on from {checkpoint_folder(to)}", err=True)
        raise SystemExit(130) from None
    if not first:
        return
    if report is None:
        told = f"paused after {chosen['stop_after']:g} minutes (--stop-after); run the same command again to go on"
        show_json({"paused": True, "checkpoint": str(checkpoint_folder(to))}) if as_json else show(told, quiet)
        return
    warn(report["finetuning"]["warnings"], quiet)
    if as_json:
        show_json(report["finetuning"])
    else:
        show(_told(report["finetuning"], to), quiet)


def _refuse_mixture(chosen: dict[str, Any]) -> None:
    """Options that would do nothing are a misunderstanding."""
    source = click.get_current_context().get_parameter_source
    given = {name for name in chosen if source(name) is click.core.ParameterSource.COMMANDLINE}
    if not chosen["distill"]:
        for name in sorted(given & {"distill_weight", "temperature", "original"}):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --distill")
    if chosen["engine"] == "caffe":
        for name in sorted(given & {"distill", "device", "limit", "strict", "vary"}):
            raise click.UsageError(f"--{'images' if name == 'limit' else name} is for --engine torch")
        if chosen.get("channel_order") == "rgb":
            raise click.UsageError("--channel-order rgb is for --engine torch: Caffe reads images as BGR")


def _told(story: dict[str, Any], to) -> str:
    rows = []
    for run in story["runs"]:
        tests = [test for test in run["tests"] if "top1" in test]
        top = [f"{test['top1']:.2%}" for test in (tests[0], tests[-1])] if tests else ["", ""]
        if len(tests) == 1:
            top[0] = ""
        losses = [f"{run[key]:.4g}" if run[key] is not None else "" for key in ("loss_before", "loss_after")]
        rows.append([run["step"] or "all", str(run["iterations"]), *losses, *top, f"{run['seconds']:.0f} s"])
    head = ["step", "iterations", "loss before", "after", "top-1 before", "after", "time"]
    if not any(row[5] for row in rows):
        rows, head = [row[:4] + row[6:] for row in rows], head[:4] + head[6:]
    parts = [table(rows, head, "lrrrrrr"[: len(head)])]
    parts += [f"{run['step'] or 'training'}: {run['stopped']}" for run in story["runs"] if run["stopped"]]
    return "\n\n".join([*parts, f"written to {to}"])
