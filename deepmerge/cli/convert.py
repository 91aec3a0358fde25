"""deepmerge convert."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.choosing import Choosing, choice_text, choosing, missed
from deepmerge.cli.convert_options import (
    Calibrating,
    Emitting,
    Recovering,
    Running,
    calibrating,
    emitting,
    how,
    recovering,
)
from deepmerge.cli.image_options import PREPROCESSING, Preprocessing, preprocessing
from deepmerge.cli.next_command import after_convert, after_dry_run
from deepmerge.cli.options import (
    FILE,
    PLANNING,
    USAGE,
    Planning,
    command,
    common,
    given,
    inputs,
    planning,
    refuse,
    target,
)
from deepmerge.cli.output import Console, shortened, written_line
from deepmerge.cli.recover import recovery_table
from deepmerge.cli.step_tables import cleanup_line, cost_table, int8_line, refusal_table, step_table, target_line
from deepmerge.cli.training_options import resumable
from deepmerge.formats import DISTINCT_TOPS, INT8
from deepmerge.names import for_terminal
from deepmerge.text import count


@command(short_help="convert a trained network into a faster one")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE)
@how
@planning
@target
@inputs
@emitting
@choosing
@recovering
@calibrating
@preprocessing(mirror=None)
@common
def convert(
    prototxt: Path,
    caffemodel: Path,
    how: Running,
    planning: Planning,
    target: str | None,
    emitting: Emitting,
    choosing: Choosing,
    recovering: Recovering,
    calibrating: Calibrating,
    images: Preprocessing,
    inputs: dict,
    console: Console,
):
    """Convert a trained network: exact steps, then approximate ones to fine-tune.

    \b
    Examples:
      deepmerge convert net.prototxt net.caffemodel -o out/ --exact
      deepmerge convert net.prototxt net.caffemodel -o out/ --steps conv1,inception_3a-3b --width 0.75
      deepmerge convert net.prototxt net.caffemodel -o out/ --tucker --rank ratio:0.5 --emit caffe,onnx
      deepmerge convert net.prototxt net.caffemodel -o out/ --recover folder:photos
      deepmerge convert net.prototxt net.caffemodel -o out/ --data folder:photos --speedup 3
    """
    recovering = recovering.after(choosing, how.dry_run)
    calibrating = calibrating.after(choosing, recovering, emitting.emit)
    _check_usage(how, planning, emitting, choosing, recovering, calibrating)
    _check_blob_names(emitting, target, recovering)
    if click.get_current_context().meta.get(USAGE):
        return
    from deepmerge.out.digest import Digest

    pair = prototxt, caffemodel
    resuming = resumable(how.out if recovering.data else None)
    with Digest(caffemodel) as digest, resuming, console.progress() as progress:  # hashes while the imports run
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # idle numpy threads sleep and leave the core to it
        specs = choosing.data, recovering.data, calibrating.calibration
        network, recipe = _read(pair, how, emitting.train_val, inputs, specs)
        _check_blob_names(emitting, target or (recipe and recipe.target), recovering)
        common = {"strict": how.strict, "progress": progress}
        asked = {**planning.keywords(target), **asdict(calibrating), "wishes": images.wishes()}
        if choosing.data is None:
            plan = network.plan(recipe=recipe, **asked, **common)
        else:
            measured = {**choosing.keywords(planning, target), "wishes": images.wishes(), **common}
            plan = _chosen(network, {**choosing.goal, **asdict(calibrating)}, measured)
        carry_out = partial(network.convert, plan, **emitting.keywords(), check=how.check, digest=digest, **common)
        if recovering.data is None:
            to = None if how.dry_run else how.out
            report = carry_out(out=to, page=how.as_page, force=how.force).report
        else:
            recover = {**recovering.keywords(), "original": pair, "wishes": images.wishes(), **common}
            report = _recovered(carry_out, how, recover)
    console.warn([*report["warnings"], *report.get("recovery", {}).get("warnings", [])])
    console.show(report, lambda: _text(report, how, emitting, planning.exact, console.verbose))
    console.next(after_dry_run(how.out) if how.dry_run else after_convert(pair, how.out, report, emitting.emit))


def _read(
    pair: tuple[Path, Path], how: Running, train_val: Path | None, inputs: dict, specs: Collection[str | None]
) -> tuple[Any, Any]:
    """Return the network and the recipe, None without one; an error if OUT cannot be written anyway.

    specs: of images, None where there are none.
    """
    import deepmerge
    from deepmerge.data import source_path
    from deepmerge.out.staging import check_free

    if not how.dry_run:
        read = [*pair, *filter(None, [train_val]), *map(source_path, filter(None, specs))]
        check_free(how.out, how.force, read)
    recipe = None if how.recipe is None else deepmerge.read_recipe(how.recipe)
    sizes = inputs if recipe is None else {**recipe.inputs, **inputs}
    return deepmerge.load(*pair, train_val=train_val, inputs=sizes), recipe


def _chosen(network: Any, goal: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return the plan for the goal; PlanError if none keeps it. goal: what Frontier.plan takes."""
    from deepmerge.errors import PlanError

    plan = network.frontier(**options).plan(**goal)
    if not plan.found.choice["kept"]:
        raise PlanError(missed(plan.found.choice), remedy="`deepmerge plan` with these options shows the nearest plan")
    return plan


def _recovered(carry_out: Callable[..., Any], how: Running, options: dict[str, Any]) -> dict[str, Any]:
    """Convert beside OUT, recover to OUT, and return the report. options: those of `deepmerge.recover`."""
    import deepmerge
    from deepmerge.out.read import Pair
    from deepmerge.out.staging import scratch

    with scratch(how.out) as folder:
        carry_out(out=folder / how.out.name)
        report = deepmerge.recover(folder / how.out.name, out=how.out, force=how.force, **options)
    if how.as_page:
        from deepmerge.page import write_page

        write_page(how.out, original=Pair(*options["original"]), force=True)
    return report


def _check_usage(
    how: Running,
    planning: Planning,
    emitting: Emitting,
    choosing: Choosing,
    recovering: Recovering,
    calibrating: Calibrating,
):
    """Raise UsageError for options that exclude each other or have no effect."""
    if how.out is None and not how.dry_run:
        raise click.UsageError("Missing option '-o' / '--out'.")
    if how.recipe is not None:
        refuse(given(*PLANNING), "and --recipe exclude each other; edit the recipe instead")
    if choosing.data is None:
        refuse(given("no_fit"), "has no effect without --data SPEC")
    elif not choosing.goal:
        raise click.UsageError("--data needs a goal: add --speedup, --budget-ms or --max-loss")
    if recovering.data is not None:
        refuse(given("no_fit"), "and --recover exclude each other")
    if recovering.data is None:
        off = "--no-fit" if recovering.no_fit else "--dry-run"  # what leaves out the fit of --data
        why = "without --recover or --data" if choosing.data is None else f"with {off}"
        refuse(given("recover_minutes", "recover_stages", "recover_device"), f"has no effect {why}")
    elif how.dry_run:
        raise click.UsageError("--recover trains what is written: leave --dry-run out")
    elif "caffe" not in emitting.emit:
        asked, or_else = ("--recover trains", "") if given("recover_data") else ("--data fits", ", or give --no-fit")
        raise click.UsageError(f"{asked} the Caffe files: add caffe to --emit{or_else}")
    if calibrating.calibration is None:
        refuse(given("calibration_images"), "has no effect without --calibration")
        if not (recovering.data or choosing.data):
            refuse(given(*PREPROCESSING), "has no effect without images: add --data, --recover or --calibration")
        if INT8 in emitting.emit:
            raise click.UsageError(f"--emit {INT8} needs images to calibrate on: add --calibration SPEC")
    elif how.recipe is None and not planning.tucker and INT8 not in emitting.emit:
        raise click.UsageError(f"--calibration has no effect without --tucker or {INT8} in --emit; add one of them")


def _check_blob_names(emitting: Emitting, target: str | None, recovering: Recovering) -> None:
    """Raise UsageError if the network is to be recovered, and its style renames the blobs that recovery goes by."""
    if recovering.data is None:
        return
    from deepmerge.out.write import Settings

    if DISTINCT_TOPS not in Settings(style=emitting.style).for_target(target or "").style:
        return
    asked = f"--style {DISTINCT_TOPS}" if DISTINCT_TOPS in emitting.style else f"the target {target}"
    if given("recover_data"):
        way_out = "convert without it, recover, and then convert the style alone"
        raise click.UsageError(f"--recover and {asked} exclude each other, since it renames blobs: {way_out}")
    raise click.UsageError(f"--data fits blobs by their names, which {asked} changes: add --no-fit")


def _text(report: dict, how: Running, emitting: Emitting, exact: bool, verbose: bool) -> str:
    parts = []
    if report["steps"]:
        parts.append(step_table(report["steps"], report["before"], verbose))
    if report["cleanup"]:
        parts.append(cleanup_line(report["cleanup"], verbose))
    parts.append(cost_table(report["before"], report["after"]))
    if "choice" in report:
        parts.append(choice_text(report["choice"]))
    if "calibration" in report:
        parts.append(_calibrated(report["calibration"]))
    if "int8" in report.get("onnx", {}):
        parts.append(int8_line(report["onnx"]["int8"]))
    if report["refusals"]:
        plan = "deepmerge plan --exact" if exact else "deepmerge plan"
        short = f"{count(len(report['refusals']), 'merge')} left alone (-v shows why; so does `{plan}`)"
        parts.append(refusal_table(report["refusals"], full=True) if verbose else short)
    if "recovery" in report:
        parts.append(recovery_table(report["recovery"], verbose))
    elif approximate := [step for step in report["steps"] if not step["exact"]]:
        steps = f"{count(len(approximate), 'approximate step')}, which cost accuracy until the network"
        ways = "has recovered (`deepmerge recover`) or is fine-tuned (`make -f finetune.mk` in the folder)"
        parts.append(f"{steps} {ways if 'caffe' in emitting.emit else 'has recovered or is fine-tuned'}")
    if "target" in report:
        parts.append(target_line(report["target"]))
    parts.append("nothing was written (--dry-run)" if how.dry_run else written_line(how.out))
    return "\n\n".join(parts)


def _calibrated(entry: dict) -> str:
    text = f"calibrated on {count(entry['images'], 'image')} of {entry['source']}"
    if names := entry["separable"]:
        text += f"; covariances too large, taken as channels × taps: {shortened(names)}"
    if names := entry["unmeasured"]:
        text += f"; not calibrated (too large, or not one row for each image), ranks by the weights: {shortened(names)}"
    return for_terminal(text)
