"""A conversion: run a plan's steps on a network, write what they give, and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.convert.int8 import require_images, write_int8
from deepmerge.convert.report import refusal_entry, step_entry, target_entry
from deepmerge.errors import GraphError, PassError
from deepmerge.formats import INT8, INT8_FILE
from deepmerge.formats.write.train_data import without_twins
from deepmerge.graph.check import require
from deepmerge.graph.costs import KeptCosts, summary
from deepmerge.graph.graph import Graph
from deepmerge.out.digest import Digest
from deepmerge.out.report import VERSION, source_entry, transforms
from deepmerge.out.staging import check_free, staged
from deepmerge.out.write import Output, Settings
from deepmerge.passes.convert_batchnorm import ConvertBatchnorm
from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.support.base import Change
from deepmerge.plan import Plan, Recipe, StepResult, run_recipe
from deepmerge.plan.recipe import Step
from deepmerge.progress import Progress, silent

if TYPE_CHECKING:
    from deepmerge.convert.calibrate import CalibrationImages


@dataclass(frozen=True)
class Job:
    """How a conversion is carried out.

    prototxt, caffemodel: the network's files, as the report names them. out: the folder to write; None writes nothing.
    settings: what to write. calibration: the images that the plan was made with. reads: the train_val and images, which
    are never replaced. check: verify the graph's invariants after each step. strict: a warning is an error. force:
    replace an existing `out`. finish: called with the complete folder before it becomes `out`.
    """

    prototxt: Path
    caffemodel: Path
    out: Path | None = None
    settings: Settings = field(default_factory=Settings)
    calibration: CalibrationImages | None = None
    reads: Sequence[Path] = ()
    check: bool = False
    strict: bool = False
    force: bool = False
    finish: Callable[[Path], object] = lambda folder: None


def convert(
    graph: Graph, plan: Plan, job: Job, progress: Progress = silent, digest: Digest | None = None
) -> dict[str, Any]:
    """Make the graph what the plan says, write it, and return the report, which is also in report.json.

    progress: called with each step's name. digest: of the caffemodel, if its hashing has begun already.
    A DeepmergeError leaves no files, and an existing OUT unchanged.
    """
    recipe = plan.recipe
    with digest or Digest(job.caffemodel) as digest:
        if job.out is not None:
            check_free(job.out, job.force, (job.prototxt, job.caffemodel, *job.reads))
        if INT8 in job.settings.formats:
            require_images(job.calibration)
        source = {"prototxt": source_entry(job.prototxt)}
        report: dict[str, Any] = {"version": VERSION, "network": graph.name, "source": source}
        if graph.given_inputs:
            report["inputs"] = {name: list(size) for name, size in graph.given_inputs.items()}
        report["before"] = summary(graph)
        settings = job.settings.for_target(recipe.target)
        graph.train_layers, twins = without_twins(graph)
        with nullcontext() if job.out is None else staged(job.out, job.force) as folder:
            output = None if folder is None else Output(folder, settings, twins)
            report |= run(graph, recipe, job, output, progress)
            if recipe.target:
                report["target"], lines = target_entry(graph, settings, recipe.target)
                graph.warnings += lines
            report["refusals"] = [refusal_entry(refusal) for refusal in dict.fromkeys(plan.refusals)]
            notes = output.notes if output else []
            report["warnings"] = list(dict.fromkeys(graph.warnings + notes))
            report["transform"] = transforms(graph.train_layers)
            if settings.style:
                report["style"] = list(settings.style)
            if {"onnx", INT8} & set(settings.formats):
                report["onnx"] = {"lrn": settings.onnx_lrn}
            if INT8 in settings.formats and folder is not None:
                progress(INT8, 0, 1)
                report["onnx"]["int8"] = write_int8(graph, folder / INT8_FILE, job.calibration, settings)
            if plan.choice is not None:
                report["choice"] = dict(plan.choice)
            if job.calibration is not None:
                report["calibration"] = job.calibration.entry()
            source["caffemodel"] = source_entry(job.caffemodel, digest.result())
            about_training = [note for note in notes if note not in twins]  # those it does without
            serious = graph.warnings + (about_training if any(not step.exact for step in recipe.steps) else [])
            if job.strict and serious:  # an exact conversion needs no training, nor what is said about it
                raise PassError(f"--strict: {serious[0]} (a warning, without --strict)")
            if output is not None:
                output.documents(recipe.to_toml(), report)
                job.finish(folder)
    return report


def run(graph: Graph, recipe: Recipe, job: Job, output: Output | None, progress: Progress) -> dict[str, Any]:
    """Run the recipe, write each approximate step as soon as it is done, and return the report's entries."""
    total, entries, cleanup, before = len(recipe.steps), [], [], {}
    costs = KeptCosts(graph)

    def begin(step: Step) -> None:
        progress(step.name, len(entries), total)
        before.update(costs.summary())

    for index, result in run_recipe(graph, recipe, cleanup, begin, job.calibration):
        entries.append(step_entry(index, result, dict(before), costs.summary()))
        _check(graph, job, result)
        if output is not None and not result.step.exact:
            output.folded_batchnorm = _folded_batchnorm(entries, cleanup)
            name = result.step.name
            output.step(graph, index, name, f"Step {index} of {total}, {name}: fine-tunes what it merged.")
    progress("writing", total, total)
    if output is not None:
        output.folded_batchnorm = _folded_batchnorm(entries, cleanup)
        output.final(graph, f"The final network, all {total} steps done: fine-tunes it as a whole.")
    entries.sort(key=lambda entry: entry["index"])
    tidied = [{"pass": change.pass_name, "layers": list(change.merged)} for change in cleanup]
    return {"after": costs.summary(), "steps": entries, "cleanup": tidied}


def _folded_batchnorm(entries: list[dict[str, Any]], cleanup: list[Change]) -> bool:
    """Return whether a step or the cleanup so far has folded a BatchNorm, or turned one into a Scale."""
    done = {name for entry in entries for name in entry["passes"]} | {change.pass_name for change in cleanup}
    return bool(done & {FoldBatchnorm.name, ConvertBatchnorm.name})


def _check(graph: Graph, job: Job, result: StepResult) -> None:
    if job.check:
        try:
            require(graph)
        except GraphError as error:
            raise PassError(f"--check, after step {result.step.name!r}: {error}") from None
