"""The story: read → plan → steps → emit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.digest import Digest
from deepmerge.emit.data_layers import from_anywhere
from deepmerge.emit.folder import check_free, staged
from deepmerge.emit.output import Output, Settings, folder_name
from deepmerge.emit.report import VERSION, source_entry, transforms
from deepmerge.errors import PassError
from deepmerge.graph.check import require
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.passes.base import Applied
from deepmerge.plan import Recipe, make_plan, read_recipe, run_cleanup, run_step
from deepmerge.plan.discover import Wishes
from deepmerge.plan.recipe import Step, check_fits
from deepmerge.read import read_network, read_train_layers


@dataclass(frozen=True)
class Job:
    """One conversion, as the command line asks for it. check: verify the graph's invariants after each step."""

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


Progress = Callable[[str, int, int], None]


def convert(job: Job, progress: Progress = lambda what, done, total: None, digest: Digest | None = None) -> dict[str, Any]:
    """Carry the job out and return the report (as report.json, see CLI.md's OUT/).

    progress: called with what begins, how many steps are done, how many there are. digest: of the caffemodel, if the
    hashing has begun already. A DeepmergeError leaves nothing behind and an existing OUT as it was.
    """
    with digest or Digest(job.caffemodel) as digest:
        return _convert(job, progress, digest)


def _convert(job: Job, progress: Progress, digest: Digest) -> dict[str, Any]:
    if not job.dry_run:
        check_free(job.out, job.force)
    graph = read_network(job.prototxt, job.caffemodel)
    if job.train_val is not None:
        graph.train_layers = read_train_layers(job.train_val, graph)
    graph.train_layers = from_anywhere(graph.train_layers, (Path(), Path(job.train_val or job.prototxt).parent))
    recipe, refusals = choose(graph, job)
    report: dict[str, Any] = {
        "version": VERSION,
        "network": graph.name,
        "source": {"prototxt": source_entry(job.prototxt), "caffemodel": {}},  # see below
        "before": summary(graph),
    }
    if job.dry_run:
        _finished(report, *_run(graph, recipe, job, None, progress), graph, refusals, [])
        report["source"]["caffemodel"] = source_entry(job.caffemodel, digest.result())
        return report
    with staged(job.out, job.force) as folder:
        output = Output(folder, job.settings)
        cleanup, steps = _run(graph, recipe, job, output, progress)
        _finished(report, cleanup, steps, graph, refusals, output.notes)
        report["source"]["caffemodel"] = source_entry(job.caffemodel, digest.result())
        if job.strict and report["warnings"]:
            raise PassError(f"--strict: {report['warnings'][0]}")
        output.documents(recipe.to_toml(), report)
    return report


def choose(graph: Graph, job: Job) -> tuple[Recipe, list]:
    """The recipe that was given, or the plan's; and the plan's refusals."""
    if job.recipe is not None:
        recipe = read_recipe(job.recipe)
        check_fits(recipe, graph, str(job.recipe))
        return recipe, []
    plan = make_plan(graph, job.wishes)
    return plan.recipe, plan.refusals


def _run(graph: Graph, recipe: Recipe, job: Job, output: Output | None, progress) -> tuple[Applied, list[dict]]:
    """Cleanup, exact steps and cleanup again, then the approximate steps, each written as soon as it is done."""
    exact = [(i, s) for i, s in enumerate(recipe.steps, 1) if s.exact]
    rough = [(i, s) for i, s in enumerate(recipe.steps, 1) if not s.exact]
    total, entries, made = len(recipe.steps), [], []
    applied = run_cleanup(graph, recipe)
    for done, (index, step) in enumerate(exact):
        progress(step.name, done, total)
        entries.append(_step(graph, recipe, step, index, ""))
    applied.changes += run_cleanup(graph, recipe).changes
    _check(graph, job, "the exact passes")
    if output is not None:
        output.folded_batchnorm = any("fold_batchnorm" in entry["passes"] for entry in entries)
    for done, (index, step) in enumerate(rough, len(exact)):
        progress(step.name, done, total)
        folder = folder_name(index, step.name)
        entries.append(_step(graph, recipe, step, index, folder))
        made.append(folder)
        _check(graph, job, f"step {step.name!r}")
        if output is not None:
            output.step(graph, folder, f"Step {index} of {total}, {step.name}: fine-tunes what it merged.", [folder])
    progress("writing", total, total)
    if output is not None:
        output.final(graph, f"The final network, all {total} steps done: fine-tunes it as a whole.", made)
    return applied, sorted(entries, key=lambda entry: entry["index"])


def _check(graph: Graph, job: Job, behind: str) -> None:
    if job.check:
        try:
            require(graph)
        except PassError as error:
            raise PassError(f"behind {behind}: {error}") from None


def _step(graph: Graph, recipe: Recipe, step: Step, index: int, mark: str) -> dict[str, Any]:
    before = summary(graph)
    result = run_step(graph, step, recipe.keep, mark)
    return {
        "index": index,
        "name": step.name,
        "passes": list(dict.fromkeys(c.pass_name for c in result.changes)),
        "exact": result.exact,
        "merged": result.merged,
        "into": result.into,
        "before": before,
        "after": summary(graph),
    }


def _finished(report: dict[str, Any], cleanup: Applied, steps: list[dict], graph: Graph, refusals, notes: list[str]) -> dict[str, Any]:
    report["after"] = summary(graph)
    report["steps"] = steps
    report["cleanup"] = [{"pass": c.pass_name, "layers": list(c.merged)} for c in cleanup.changes]
    report["transform"] = transforms(graph.train_layers)
    report["refusals"] = [{"pass": r.pass_name, "layer": r.layer, "reason": r.reason} for r in dict.fromkeys(refusals)]
    report["warnings"] = list(dict.fromkeys(graph.warnings + notes))
    return report
