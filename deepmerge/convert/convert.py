"""A conversion from start to end: read → plan → run the steps → write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from deepmerge.errors import GraphError, PassError
from deepmerge.formats.read import read_network, read_train_layers
from deepmerge.formats.read.inputs import Sizes
from deepmerge.formats.write.data_layers import from_anywhere
from deepmerge.graph.check import require
from deepmerge.graph.costs import KeptCosts, summary
from deepmerge.graph.graph import Graph
from deepmerge.out.digest import Digest
from deepmerge.out.report import VERSION, source_entry, transforms
from deepmerge.out.staging import check_free, staged
from deepmerge.out.write import Output, Settings
from deepmerge.passes.support.base import Refusal
from deepmerge.plan import Calibration, Plan, Recipe, StepResult, make_plan, read_recipe, run_recipe
from deepmerge.plan.discover import Wishes
from deepmerge.plan.recipe import Step, check_fits
from deepmerge.progress import Progress, silent


@dataclass(frozen=True)
class Job:
    """One conversion, as a user asks for it.

    Of recipe, plan and wishes the first that is given says what to do; calibration: the images for it. train_val: the
    prototxt that the network was trained with. settings: what to write. check: verify the graph's invariants after
    each step. strict: a warning is an error. force: replace an existing OUT. dry_run: write nothing. inputs: sizes of
    inputs by name; those of the recipe hold for others.
    """

    prototxt: Path
    caffemodel: Path
    out: Path
    wishes: Wishes = field(default_factory=Wishes)
    recipe: Path | None = None
    train_val: Path | None = None
    settings: Settings = field(default_factory=Settings)
    check: bool = False
    strict: bool = False
    force: bool = False
    dry_run: bool = False
    calibration: CalibrationSource | None = None
    plan: Plan | None = None
    inputs: Sizes = field(default_factory=dict)


class CalibrationSource(Calibration, Protocol):
    """Calibration images that have not been read yet. notes: warnings about them, after `prepare`."""

    notes: list[str]

    def prepare(self, graph: Graph) -> None:
        """Read the images as the graph's input needs them."""

    def entry(self) -> dict[str, Any]:
        """Return what the report says about the images."""


def convert(
    job: Job,
    progress: Progress = silent,
    digest: Digest | None = None,
    finish: Callable[[Path], object] = lambda folder: None,
) -> dict[str, Any]:
    """Carry the job out and return the report, which is also in report.json.

    progress: called with each step's name. digest: of the caffemodel, if its hashing has begun already. finish: called
    with the complete folder before it becomes OUT. A DeepmergeError leaves no files, and an existing OUT unchanged.
    """
    return carry_out(job, progress, digest, finish)[1]


def carry_out(
    job: Job,
    progress: Progress = silent,
    digest: Digest | None = None,
    finish: Callable[[Path], object] = lambda folder: None,
) -> tuple[Graph, dict[str, Any]]:
    """Carry the job out as `convert` does; return the final network and the report."""
    with digest or Digest(job.caffemodel) as digest:
        if not job.dry_run:
            check_free(job.out, job.force)
        recipe = None if job.recipe is None else read_recipe(job.recipe)
        graph = read(job, recipe.inputs if recipe else {})
        if job.calibration is not None:
            job.calibration.prepare(graph)
            graph.warnings += job.calibration.notes
        recipe, refusals = choose(graph, job, recipe)
        source = {"prototxt": source_entry(job.prototxt)}
        report: dict[str, Any] = {"version": VERSION, "network": graph.name, "source": source}
        if graph.given_inputs:
            report["inputs"] = {name: list(size) for name, size in graph.given_inputs.items()}
        report["before"] = summary(graph)
        with nullcontext() if job.dry_run else staged(job.out, job.force) as folder:
            output = None if folder is None else Output(folder, job.settings)
            report |= run(graph, recipe, job, output, progress)
            report["refusals"] = [refusal_entry(refusal) for refusal in dict.fromkeys(refusals)]
            notes = output.notes if output else []
            report["warnings"] = list(dict.fromkeys(graph.warnings + notes))
            report["transform"] = transforms(graph.train_layers)
            if job.calibration is not None:
                report["calibration"] = job.calibration.entry()
            source["caffemodel"] = source_entry(job.caffemodel, digest.result())
            serious = graph.warnings + (notes if any(not step.exact for step in recipe.steps) else [])
            if job.strict and serious:  # an exact conversion needs no training, nor what is said about it
                raise PassError(f"--strict: {serious[0]} (a warning, without --strict)")
            if output is not None:
                output.documents(recipe.to_toml(), report)
                finish(folder)
    return graph, report


def read(job: Job, inputs: Sizes) -> Graph:
    """Return the network, with the training layers that its train_val.prototxt will keep. inputs: the recipe's."""
    graph = read_network(job.prototxt, job.caffemodel, {**inputs, **job.inputs})
    if job.train_val is not None:
        graph.train_layers = read_train_layers(job.train_val, graph)
    graph.train_layers = from_anywhere(graph.train_layers, (Path(), Path(job.train_val or job.prototxt).parent))
    return graph


def choose(graph: Graph, job: Job, recipe: Recipe | None) -> tuple[Recipe, list[Refusal]]:
    """Return the recipe that was given, or the plan's, and the plan's refusals."""
    if recipe is not None:
        check_fits(recipe, graph, str(job.recipe))
        if job.calibration is not None and not any(step.options.get("calibration") for step in recipe.steps):
            graph.warnings.append(f"{job.recipe}: none of its steps uses calibration images, so they are ignored")
        return replace(recipe, inputs=graph.given_inputs), []
    plan = job.plan or make_plan(graph, job.wishes, job.calibration)
    return plan.recipe, list(plan.refusals)


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
        if output is not None:
            output.folded_batchnorm |= "fold_batchnorm" in entries[-1]["passes"]
            if not result.step.exact:
                name = result.step.name
                output.step(graph, index, name, f"Step {index} of {total}, {name}: fine-tunes what it merged.")
    progress("writing", total, total)
    if output is not None:
        output.final(graph, f"The final network, all {total} steps done: fine-tunes it as a whole.")
    entries.sort(key=lambda entry: entry["index"])
    tidied = [{"pass": change.pass_name, "layers": list(change.merged)} for change in cleanup]
    return {"after": costs.summary(), "steps": entries, "cleanup": tidied}


def _check(graph: Graph, job: Job, result: StepResult) -> None:
    if job.check:
        try:
            require(graph)
        except GraphError as error:
            raise PassError(f"--check, after step {result.step.name!r}: {error}") from None


def step_entry(index: int, result: StepResult, before: dict, after: dict) -> dict[str, Any]:
    """Return what the report says about a step."""
    passes = list(dict.fromkeys(change.pass_name for change in result.changes))
    made = {"index": index, "name": result.step.name, "passes": passes, "exact": result.exact}
    return made | {"merged": result.merged, "into": result.into, "before": before, "after": after}


def refusal_entry(refusal: Refusal) -> dict[str, Any]:
    """Return what the report says about a refusal."""
    return {"pass": refusal.pass_name, "layer": refusal.layer, "reason": refusal.reason}
