"""deepmerge convert."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import click

from deepmerge.cli.image_options import PREPROCESSING, image_wishes, preprocessing
from deepmerge.cli.options import FILE, PLANNING, Checked, Listed, common, given, planning, wishes
from deepmerge.cli.output import Progress, count, shortened, show, show_json, warn
from deepmerge.cli.recover import recovery_table, told_interrupted
from deepmerge.cli.tables import cost_table, refusal_table, step_table
from deepmerge.formats import STYLES
from deepmerge.train.recover import STAGES, USUAL


def _source(spec: str) -> Any:
    from deepmerge.formats.write.data_layers import Source

    return _usage(Source.parse, spec)


def _override(text: str) -> Any:
    from deepmerge.formats.write.solver import parse_override

    return _usage(parse_override, text)


def _usage(parse, text: str) -> Any:
    """What `parse` makes of an option's text; what is wrong with it as the ValueError that Checked wants."""
    from deepmerge.errors import EmitError

    try:
        return parse(text)
    except EmitError as error:
        raise ValueError(str(error)) from None


SPEC = Checked("SPEC", _source)


@click.command(short_help="convert a trained network into a faster one")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE)
@click.option("-o", "--out", type=FILE, help="The folder to write; it is made whole or not at all.")
@planning
@click.option("--recipe", type=FILE, help="Replay a plan (TOML; `plan --write FILE` and every convert write one).")
@click.option(
    "--emit",
    "formats",
    type=Listed(("caffe", "onnx"), empty=False),
    default="caffe",
    show_default=True,
    help="Formats of the final network: caffe, onnx.",
)
@click.option(
    "--style",
    type=Listed(STYLES),
    default="",
    help="For toolchains: distinct-tops (each top is called as its layer, none in place), legacy-input (input: fields).",
)
@click.option(
    "--train-val", type=FILE, help="The original train_val.prototxt; its data, loss and accuracy layers are kept."
)
@click.option("--train-source", type=SPEC, help="Training images: lmdb:PATH, list:FILE or hdf5:FILE.")
@click.option("--test-source", type=SPEC, help="Test images, likewise.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Of data layers that deepmerge writes."
)
@click.option(
    "--solver",
    type=Checked("KEY=VALUE", _override),
    multiple=True,
    help="A field of the emitted solvers; may be repeated.",
)
@click.option(
    "--calibration",
    metavar="SPEC",
    help="Images (no labels) by which --tucker decomposes: folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE.",
)
@click.option(
    "--calibration-images",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    metavar="N",
    help="At most so many of them, spread evenly.",
)
@click.option(
    "--recover",
    "recover_data",
    metavar="SPEC",
    help="Images (no labels): `deepmerge recover` at once, with its defaults.",
)
@click.option(
    "--recover-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Time for it; see `deepmerge recover`.",
)
@click.option(
    "--recover-stages",
    type=Listed(STAGES, empty=False),
    default=",".join(USUAL),
    show_default=True,
    help="What it does.",
)
@click.option(
    "--recover-device", metavar="cpu|cuda", default="cpu", show_default=True, help="Where PyTorch runs for it."
)
@click.option("--no-steps", is_flag=True, help="The final network only, no folder for each step.")
@click.option("--report", "as_page", is_flag=True, help="Write OUT/report.html, too: see `deepmerge report`.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--check", is_flag=True, help="Check the graph's invariants behind every step.")
@click.option("--strict", is_flag=True, help="Fail on a warning.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
@preprocessing
@common
def convert(prototxt, caffemodel, out, recipe, formats, style, train_val, train_source, test_source, batch_size, solver,
            calibration, calibration_images, recover_data, no_steps, as_page, dry_run, check, strict, force, as_json, quiet, verbose,
            debug, **chosen):  # fmt: skip
    """Convert a trained network: exact folds first, then the approximate steps, each written with what it takes to
    fine-tune it.

    \b
    Examples:
      deepmerge convert net.prototxt net.caffemodel -o out/
      deepmerge convert net.prototxt net.caffemodel -o out/ --exact
      deepmerge convert net.prototxt net.caffemodel -o out/ --steps conv1,inception_3a-3b --width 0.75
      deepmerge convert net.prototxt net.caffemodel -o out/ --tucker --rank ratio:0.5 --emit caffe,onnx
      deepmerge convert net.prototxt net.caffemodel -o out/ --tucker --rank macs:0.5 --calibration folder:photos
      deepmerge convert net.prototxt net.caffemodel -o out/ --recover folder:photos --recover-minutes 20
      deepmerge convert net.prototxt net.caffemodel -o out/ --train-val train_val.prototxt --solver base_lr=0.01
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--out'.")
    if recipe is not None and (mixed := given(*PLANNING)):
        raise click.UsageError(f"--recipe and --{mixed[0]} exclude each other: edit the recipe instead")
    _check_calibration(calibration, recipe, recover_data, chosen)
    recovery = {name: chosen.pop(f"recover_{name}") for name in ("minutes", "stages", "device")}
    if recover_data is not None and (dry_run or "caffe" not in formats):
        raise click.UsageError(
            f"--recover trains what is written: leave {'--dry-run' if dry_run else '--emit onnx alone'} out"
        )
    from deepmerge.out.digest import Digest

    digest = Digest(caffemodel)  # begins before the imports do
    os.environ.setdefault(
        "OPENBLAS_THREAD_TIMEOUT", "4"
    )  # numpy's idle threads sleep, and leave the core to the hashing
    wanted, pictures = wishes(chosen), image_wishes(chosen)
    from deepmerge.convert.convert import Job
    from deepmerge.convert.convert import convert as run
    from deepmerge.formats.write.train_val import TrainData
    from deepmerge.out.write import Settings

    settings = Settings(formats, TrainData(train_source, test_source, batch_size), dict(solver), not no_steps, style)
    progress = Progress(quiet or as_json)
    images = None
    if calibration is not None:
        from deepmerge.convert.calibrate import CalibrationImages

        images = CalibrationImages(calibration, train_val or prototxt, calibration_images, pictures, strict, progress)
    job = Job(prototxt, caffemodel, out, wanted, recipe, train_val, settings, check, strict, force, dry_run, images)
    try:
        if recover_data is None:
            report = run(job, progress, digest, _page_writer(job) if as_page else lambda folder: None)
        else:
            from deepmerge.train.recover.job import convert_and_recover
            from deepmerge.train.recover.spec import Job as Recovery

            recovery |= {"strict": strict, "force": force}
            wish = Recovery(out, recover_data, out, (prototxt, caffemodel), pictures, **recovery)
            report = convert_and_recover(job, wish, progress, digest)
            if as_page:
                _page_writer(job)(job.out)
    except KeyboardInterrupt:
        told_interrupted(out if recover_data else None)
        raise
    finally:
        progress.clear()
    warn(report["warnings"], quiet)
    if as_json:
        show_json(report)
    else:
        show(_told(report, job, verbose), quiet)


def _page_writer(job):
    """What writes report.html into the folder of a conversion."""
    from deepmerge.out.read import Pair
    from deepmerge.page import write_page

    return lambda folder: write_page(folder, original=Pair(job.prototxt, job.caffemodel), force=True)


def _check_calibration(calibration: str | None, recipe: object, recover: str | None, chosen: dict[str, Any]) -> None:
    """Options that would do nothing are a misunderstanding."""
    if recover is None and (useless := given("recover_minutes", "recover_stages", "recover_device")):
        raise click.UsageError(f"--{useless[0].replace('_', '-')} goes with --recover")
    if calibration is not None and recipe is None and not chosen["tucker"]:
        raise click.UsageError("--calibration is what --tucker goes by: give --tucker too")
    if calibration is None and (useless := given("calibration_images", *(() if recover else PREPROCESSING))):
        raise click.UsageError(f"--{useless[0].replace('_', '-')} goes with --calibration")


def _told(report: dict, job, verbose: bool) -> str:
    parts = []
    if report["steps"]:
        parts.append(step_table(report["steps"], report["before"], verbose))
    if report["cleanup"]:
        counts = Counter(change["pass"] for change in report["cleanup"])
        parts.append("also, exactly: " + ", ".join(f"{name} ({number})" for name, number in counts.items()))
    parts.append(cost_table(report["before"], report["after"]))
    if "calibration" in report:
        parts.append(_calibrated(report["calibration"]))
    if report["refusals"]:
        told = f"{count(len(report['refusals']), 'merge')} left alone (-v says why; so does `deepmerge plan`)"
        parts.append(refusal_table(report["refusals"], full=True) if verbose else told)
    if "recovery" in report:
        parts.append(recovery_table(report["recovery"], verbose))
    elif rough := [step for step in report["steps"] if not step["exact"]]:
        how = " (`make -f finetune.mk` in the folder)" if "caffe" in job.settings.formats else ""
        parts.append(
            f"{count(len(rough), 'approximate step')}, which cost accuracy until the network is fine-tuned{how}"
        )
    parts.append("nothing was written (--dry-run)" if job.dry_run else f"written to {job.out}")
    return "\n\n".join(parts)


def _calibrated(entry: dict) -> str:
    told = f"calibrated on {count(entry['images'], 'image')} of {entry['source']}"
    if names := entry["separable"]:
        told += (
            f"; patches too large for a covariance of their own, which is taken as channels x taps: {shortened(names)}"
        )
    return told
