"""The story: read → plan → steps → emit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deepmerge.errors import GraphError, PassError
from deepmerge.formats.read import read_network, read_train_layers
from deepmerge.formats.write.data_layers import from_anywhere
from deepmerge.graph.check import require
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.out.digest import Digest
from deepmerge.out.report import VERSION, source_entry, transforms
from deepmerge.out.staging import check_free, staged
from deepmerge.out.write import Output, Settings
from deepmerge.passes.support.base import Change, Refusal
from deepmerge.plan import Calibration, Plan, Recipe, StepResult, make_plan, read_recipe, run_recipe
from deepmerge.plan.discover import Wishes
from deepmerge.plan.recipe import Step, check_fits
from deepmerge.progress import Progress, silent


@dataclass(frozen=True)
class Job:
    """One conversion, as a user asks for it.

    recipe or plan: what to do; with neither, what `wishes` ask for. check: verify the graph's invariants after each step.
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


class CalibrationSource(Calibration, Protocol):
    """Images that have yet to be looked at. notes: what to tell the user; entry: what the report says of them."""

    notes: list[str]

    def prepare(self, graph: Graph) -> None: ...

    def entry(self) -> dict[str, Any]: ...


def convert(
    job: Job,
    progress: Progress = silent,
    digest: Digest | None = None,
    finish: Callable[[Path], object] = lambda folder: None,
) -> dict[str, Any]:
    """Carry the job out and return the report (as report.json, see CLI.md's OUT/).

    progress: called with what begins, how many steps are done, how many there are. digest: of the caffemodel, if the
    hashing has begun already. finish: called with the folder when all is in it, before it becomes OUT. A DeepmergeError
    leaves nothing behind and an existing OUT as it was.
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
        graph = read(job)
        if job.calibration is not None:
            job.calibration.prepare(graph)
            graph.warnings += job.calibration.notes
        recipe, refusals = choose(graph, job)
        report: dict[str, Any] = {
            "version": VERSION,
            "network": graph.name,
            "source": {"prototxt": source_entry(job.prototxt)},
        }
        report["before"] = summary(graph)
        with nullcontext() if job.dry_run else staged(job.out, job.force) as folder:
            output = None if folder is None else Output(folder, job.settings)
            report |= run(graph, recipe, job, output, progress)
            report["refusals"] = [
                {"pass": r.pass_name, "layer": r.layer, "reason": r.reason} for r in dict.fromkeys(refusals)
            ]
            report["warnings"] = list(dict.fromkeys(graph.warnings + (output.notes if output else [])))
            report["transform"] = transforms(graph.train_layers)
            if job.calibration is not None:
                report["calibration"] = job.calibration.entry()
            report["source"]["caffemodel"] = source_entry(job.caffemodel, digest.result())
            if job.strict and report["warnings"]:
                raise PassError(f"--strict: {report['warnings'][0]} (a warning, without --strict)")
            if output is not None:
                output.documents(recipe.to_toml(), report)
                finish(folder)
    return graph, report


def read(job: Job) -> Graph:
    """The network, with the training layers that its train_val.prototxt is to keep."""
    graph = read_network(job.prototxt, job.caffemodel)
    if job.train_val is not None:
        graph.train_layers = read_train_layers(job.train_val, graph)
    graph.train_layers = from_anywhere(graph.train_layers, (Path(), Path(job.train_val or job.prototxt).parent))
    return graph


def choose(graph: Graph, job: Job) -> tuple[Recipe, list[Refusal]]:
    """Return the recipe that was given, or the plan's; and the plan's refusals."""
    if job.recipe is not None:
        recipe = read_recipe(job.recipe)
        check_fits(recipe, graph, str(job.recipe))
        if job.calibration is not None and not any(step.options.get("calibration") for step in recipe.steps):
            graph.warnings.append(
                f"{job.recipe}: no step of it was made with calibration images, and so they are not used"
            )
        return recipe, []
    plan = job.plan or make_plan(graph, job.wishes, job.calibration)
    return plan.recipe, list(plan.refusals)


def run(graph: Graph, recipe: Recipe, job: Job, output: Output | None, progress: Progress) -> dict[str, Any]:
    """Carry the recipe out; each approximate step is written as soon as it is done. Returns what a report says of it."""
    total, entries, cleanup, before = len(recipe.steps), [], [], {}

    def begin(step: Step) -> None:
        progress(step.name, len(entries), total)
        before.update(summary(graph))

    for index, result in run_recipe(graph, recipe, cleanup, begin, job.calibration):
        entries.append(_entry(index, result, dict(before), summary(graph)))
        _check(graph, job, result)
        if output is not None:
            output.folded_batchnorm |= "fold_batchnorm" in entries[-1]["passes"]
            if not result.step.exact:
                output.step(
                    graph,
                    index,
                    result.step.name,
                    f"Step {index} of {total}, {result.step.name}: fine-tunes what it merged.",
                )
    progress("writing", total, total)
    if output is not None:
        output.final(graph, f"The final network, all {total} steps done: fine-tunes it as a whole.")
    entries.sort(key=lambda entry: entry["index"])
    return {"after": summary(graph), "steps": entries, "cleanup": [_tidied(change) for change in cleanup]}


def _check(graph: Graph, job: Job, result: StepResult) -> None:
    if job.check:
        try:
            require(graph)
        except GraphError as error:
            raise PassError(f"--check, behind step {result.step.name!r}: {error}") from None


def _entry(index: int, result: StepResult, before: dict, after: dict) -> dict[str, Any]:
    passes = list(dict.fromkeys(change.pass_name for change in result.changes))
    made = {"index": index, "name": result.step.name, "passes": passes, "exact": result.exact}
    return made | {"merged": result.merged, "into": result.into, "before": before, "after": after}


def _tidied(change: Change) -> dict[str, Any]:
    return {"pass": change.pass_name, "layers": list(change.merged)}
