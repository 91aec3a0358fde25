"""deepmerge finetune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.complete import complete_steps
from deepmerge.cli.image_options import Preprocessing
from deepmerge.cli.next_command import after_training
from deepmerge.cli.options import (
    MORE,
    SPEC,
    Amount,
    Checked,
    Listed,
    command,
    common,
    given,
    option,
    options,
    override,
    refuse,
)
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
from deepmerge.names import for_terminal

_TEACHER = "Distillation"

teacher = options(
    options(
        option(
            "--distill",
            is_flag=False,
            flag_value="kl",
            type=click.Choice(["kl", "mse"]),
            metavar="[kl|mse]",
            help="Learn from the original's scores as well: by their KL divergence (kl) or squared distance (mse).",
        ),
        option("--distill-weight", type=Amount(0), default=1.0, metavar="X", help="Weight of the teacher's loss."),
        option(
            "--temperature",
            type=Amount(0, min_open=True),
            default=2.0,
            metavar="X",
            help="Temperature of kl; softens both distributions.",
        ),
        heading=_TEACHER,
    )
)


@command(short_help="fine-tune a converted network with labels")
@files
@option("--data", required=True, metavar="SPEC", help=f"Labelled images to train on: {SPEC}.")
@option("--test-data", metavar="SPEC", help="Labelled images to test on, when the solver says and at the end.")
@option(
    "--steps",
    type=Listed(empty=False),
    is_flag=False,
    flag_value="all",
    metavar="[LIST]",
    shell_complete=complete_steps,
    help="Fine-tune steps in turn, each with its own solver: all, or names and ranges. Default: the final network.",
)
@option(
    "--solver",
    type=Checked("KEY=VALUE", override),
    multiple=True,
    help="Override a field of the solver; may be repeated.",
)
@option("--max-iter", type=click.IntRange(0), metavar="N", help="Iterations of each step, as --solver max_iter=N.")
@option(
    "--minutes",
    type=MINUTES,
    metavar="N",
    help="Train for N minutes at most. PyTorch shortens the solver's schedule to fit; Caffe stops.",
)
@limit
@option("--engine", type=click.Choice(["torch", "caffe"]), default="torch", help="What trains: PyTorch, or real Caffe.")
@options(
    option("--batch-size", type=click.IntRange(1), metavar="N", help="Override the data layers' batch size."),
    option("--in-order", is_flag=True, help="Read the images in order, as Caffe does, without shuffling."),
    option("--vary", is_flag=True, help="Augmentation against overfitting on few images: shift by up to an eighth."),
    option(
        "--seed",
        type=click.IntRange(0),
        metavar="N",
        help="Seed of shuffling, augmentation and dropout. Default: the solver's random_seed, or 0.",
    ),
    precision,
    heading=MORE,
)
@teacher
@training
@common
def finetune(out: Path, to: Path, data: str, images: Preprocessing, console: Console, **chosen):
    """Fine-tune what `convert` or `recover` wrote to OUT, as its solver.prototxt and train_val.prototxt say.

    A run that was killed resumes from OUT2.checkpoint. On several GPUs: torchrun --nproc-per-node N -m deepmerge
    finetune …

    \b
    Examples:
      deepmerge finetune out/ --data lmdb:train_lmdb --test-data lmdb:test_lmdb -o tuned/
      deepmerge finetune out/ --data folder:photos -o tuned/ --steps --max-iter 2000 --device cuda
      deepmerge finetune out/ --data npz:train.npz -o tuned/ --solver base_lr=0.01 --solver type=Adam
    """
    _check_usage(chosen, images)
    options = _options(**chosen)
    first = os.environ.get("RANK", "0") == "0"
    console = console if first else Console(quiet=True)  # of the processes that torchrun starts, one prints
    import deepmerge
    from deepmerge.train.shared.checkpoint import Paused

    shown = warnings_in(out)
    try:
        with resumable(to):
            done = deepmerge.finetune(out, data, to, wishes=images.wishes(), say=console.say, **options)
    except Paused:
        return show_paused(console, to, options["stop_after"])
    report = done["finetuning"]
    show_warnings(console, report, done, shown)
    console.show(report, lambda: _text(report, to))
    console.next(after_training(to, options["test_data"]))


def _options(
    steps: tuple[str, ...] | None,
    solver: Sequence[tuple[str, str]],
    max_iter: int | None,
    in_order: bool,
    **others: Any,
) -> dict[str, Any]:
    """Return the options as `deepmerge.finetune` takes them."""
    fields = dict(solver)
    if max_iter is not None:
        if "max_iter" in fields:
            raise click.UsageError("--max-iter and --solver max_iter exclude each other")
        fields["max_iter"] = str(max_iter)
    return {**others, "steps": steps and ",".join(steps), "solver": fields, "shuffle": not in_order}


def _check_usage(chosen: dict[str, Any], images: Preprocessing) -> None:
    """Raise UsageError for options that have no effect."""
    if not chosen["distill"]:
        refuse(given("distill_weight", "original", "temperature"), "has no effect without --distill")
    if chosen["engine"] == "caffe":
        refuse(given("device", "distill", "limit", "precision", "strict", "vary"), "is for --engine torch")
        if images.channel_order == "rgb":
            raise click.UsageError("--channel-order rgb is for --engine torch: Caffe reads images as BGR")


def _text(story: dict[str, Any], to: Path) -> str:
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
    parts += [for_terminal(f"{run['step'] or 'training'}: {run['stopped']}") for run in story["runs"] if run["stopped"]]
    return "\n\n".join([*parts, written_line(to)])
