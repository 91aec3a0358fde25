"""deepmerge convert."""

from __future__ import annotations

import click

from deepmerge.cli.options import FILE, PLANNING, Listed, common, planning, wishes
from deepmerge.cli.output import Progress, cost_table, refusal_table, show, show_json, step_table, warn


@click.command(short_help="convert a trained network into a faster one")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE)
@click.option("-o", "--out", type=FILE, help="The folder to write; it is made whole or not at all.")
@planning
@click.option("--recipe", type=FILE, help="Replay a plan (TOML; `plan --write FILE` and every convert write one).")
@click.option("--emit", "formats", type=Listed(("caffe", "onnx")), default="caffe", show_default=True, help="Formats of the final network.")
@click.option("--train-val", type=FILE, help="The original train_val.prototxt; its data, loss and accuracy layers are kept.")
@click.option("--train-source", metavar="SPEC", help="Training images: lmdb:PATH, list:FILE or hdf5:FILE.")
@click.option("--test-source", metavar="SPEC", help="Test images, likewise.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Of data layers that deepmerge writes.")
@click.option("--solver", multiple=True, metavar="KEY=VALUE", help="A field of the emitted solvers; may be repeated.")
@click.option("--no-steps", is_flag=True, help="The final network only, no folder for each step.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--check", is_flag=True, help="Check the graph's invariants behind every step.")
@click.option("--strict", is_flag=True, help="Fail on a warning.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
@common
def convert(prototxt, caffemodel, out, recipe, formats, train_val, train_source, test_source, batch_size, solver, no_steps,
            dry_run, check, strict, force, as_json, quiet, verbose, debug, **chosen):  # fmt: skip
    """Convert a trained network: exact folds first, then the approximate steps, each written with what it takes to
    fine-tune it.

    \b
    Examples:
      deepmerge convert net.prototxt net.caffemodel -o out/
      deepmerge convert net.prototxt net.caffemodel -o out/ --exact
      deepmerge convert net.prototxt net.caffemodel -o out/ --steps conv1,inception_3a-3b --width 0.75
      deepmerge convert net.prototxt net.caffemodel -o out/ --tucker --rank ratio:0.5 --emit caffe,onnx
      deepmerge convert net.prototxt net.caffemodel -o out/ --train-val train_val.prototxt --solver base_lr=0.01
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing option '-o' / '--out'.")
    _refuse_mixture(recipe)
    from deepmerge.convert import Job
    from deepmerge.convert import convert as run
    from deepmerge.emit.data_layers import Source
    from deepmerge.emit.output import Settings
    from deepmerge.emit.solver import parse_override
    from deepmerge.emit.train_val import TrainData

    sources = [Source.parse(spec) if spec else None for spec in (train_source, test_source)]
    settings = Settings(formats, TrainData(*sources, batch_size), dict(map(parse_override, solver)), not no_steps)
    job = Job(prototxt, caffemodel, out, wishes(**{k: chosen[k] for k in PLANNING}), recipe, train_val, settings, check, strict, force, dry_run)
    progress = Progress(quiet or as_json)
    try:
        report = run(job, progress)
    finally:
        progress.clear()
    warn(report["warnings"], quiet)
    if as_json:
        show_json(report)
        return
    show(_told(report, job, verbose), quiet)


def _refuse_mixture(recipe) -> None:
    """A recipe says it all: what the planning options would add to it is not clear."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in PLANNING if source(name) is click.core.ParameterSource.COMMANDLINE]
    if recipe is not None and given:
        raise click.UsageError(f"--recipe and --{given[0]} exclude each other: edit the recipe instead")


def _told(report: dict, job, verbose: bool) -> str:
    parts = []
    if report["steps"]:
        parts.append(step_table(report["steps"], report["before"]))
    if report["cleanup"]:
        counts: dict[str, int] = {}
        for change in report["cleanup"]:
            counts[change["pass"]] = counts.get(change["pass"], 0) + 1
        parts.append("also, exactly: " + ", ".join(f"{name} ({n})" for name, n in counts.items()))
    parts.append(cost_table(report["before"], report["after"]))
    if report["refusals"]:
        parts.append(refusal_table(report["refusals"]) if verbose else f"{len(report['refusals'])} merges were refused (-v shows why; so does `deepmerge plan`)")
    rough = [s for s in report["steps"] if not s["exact"]]
    if rough:
        parts.append(f"{len(rough)} of the steps are approximate: the network has lost accuracy and wants fine-tuning (finetune.mk).")
    parts.append("nothing was written (--dry-run)" if job.dry_run else f"written to {job.out}")
    return "\n\n".join(parts)
