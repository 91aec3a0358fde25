"""The networks that a conversion passed through: the original, after the exact folds, after each step, the last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepmerge.errors import DeepmergeError
from deepmerge.graph.costs import summary
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted
from deepmerge.page.layers import Fact, facts, reads
from deepmerge.plan import read_recipe, run_recipe
from deepmerge.plan.recipe import check_fits


@dataclass(frozen=True)
class Stage:
    """One state of the network. entries: the steps that led to it. index: of the step. reads: see layers.reads."""

    title: str
    facts: list[Fact]
    reads: list[list[int]]
    totals: dict[str, Any]
    entries: list[dict[str, Any]] = field(default_factory=list)
    index: int | None = None

    @property
    def merged(self) -> list[str]:
        """The layers that the stage's steps merged."""
        return [name for entry in self.entries for name in entry["merged"]]

    @property
    def into(self) -> list[str]:
        """The layers that took them in."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry["into"]))

    @property
    def exact(self) -> bool:
        """Whether all steps of the stage are exact."""
        return all(entry["exact"] for entry in self.entries)


def stages(converted: Converted) -> tuple[list[Stage], list[str]]:
    """Return the stages in order, and a line for each that is not known.

    Only structure is read. The original is left out where it has gone or changed, the steps where OUT has none; the
    stage after the exact folds is made from the recipe, and left out if that differs from the report.
    """
    notes: list[str] = []
    made = []
    exact = [entry for entry in converted.entries if entry["exact"]]
    before = _original(converted, notes)
    if before is not None:
        made.append(_stage("Original", before))
        folded = _folded(converted, before, exact)
        if folded is not None:
            made.append(_stage("Exact folds", folded, exact))
            exact = []
    approximate = {entry["index"]: entry for entry in converted.approximate}
    for step in converted.steps:
        made.append(_stage(step.name, step.pair.read(weights=False), [*exact, approximate.pop(step.index)], step.index))
        exact = []
    left = [*exact, *approximate.values()]
    if converted.approximate and not converted.steps:
        notes.append("OUT has no folder for each step (--no-steps): only the first and the last network can be drawn.")
    if converted.final.prototxt.exists():
        final = _stage("Final", converted.final.read(weights=False), left)
        if left or not made or made[-1].facts != final.facts:
            made.append(final)
    return made, notes


def _stage(title: str, graph: Graph, entries: Iterable[dict[str, Any]] = (), index: int | None = None) -> Stage:
    return Stage(title, facts(graph), reads(graph), summary(graph), list(entries), index)


def _original(converted: Converted, notes: list[str]) -> Graph | None:
    """Return its structure; some prototxts need the caffemodel for the images' channels."""
    try:
        pair = converted.original
    except DeepmergeError as error:
        notes.append(f"The original cannot be drawn: {error}.")
        return None
    try:
        return pair.read(weights=False)
    except DeepmergeError:
        return pair.read()


def _folded(converted: Converted, original: Graph, exact: list[dict[str, Any]]) -> Graph | None:
    """Return the network after cleanup and all exact steps; None if there were none or the recipe differs."""
    if not exact and not converted.report.get("cleanup"):
        return None
    file = Path(converted.folder, "recipe.toml")
    graph = original.copy()
    try:
        recipe = read_recipe(file)
        check_fits(recipe, graph)
        for _ in run_recipe(graph, replace(recipe, steps=tuple(step for step in recipe.steps if step.exact))):
            pass
    except DeepmergeError:
        return None
    wanted = converted.approximate[0].get("before") if converted.approximate else converted.report.get("after")
    totals = summary(graph)
    same = isinstance(wanted, dict) and all(wanted.get(key) == totals[key] for key in ("layers", "params", "macs"))
    return graph if same else None
