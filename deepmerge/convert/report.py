"""What report.json says about a plan's steps, its refusals and its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepmerge.formats.write.style import styled
from deepmerge.targets.check import problems
from deepmerge.targets.target import load_target
from deepmerge.text import listed

if TYPE_CHECKING:
    from deepmerge.graph.graph import Graph
    from deepmerge.out.write import Settings
    from deepmerge.passes.support.base import Refusal
    from deepmerge.plan import StepResult


def step_entry(index: int, result: StepResult, before: dict, after: dict) -> dict[str, Any]:
    """Return what the report says about a step; exact if the recipe says so, as all other steps have a folder."""
    passes = list(dict.fromkeys(change.pass_name for change in result.changes))
    made = {"index": index, "name": result.step.name, "passes": passes, "exact": result.step.exact}
    return made | {"merged": result.merged, "into": result.into, "before": before, "after": after}


def refusal_entry(refusal: Refusal) -> dict[str, Any]:
    """Return what the report says about a refusal."""
    return {"pass": refusal.pass_name, "layer": refusal.layer, "reason": refusal.reason}


def target_entry(graph: Graph, settings: Settings, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return what the report says about the target, and a warning for each kind of layer that it does not take."""
    target, written = load_target(name), styled(graph.copy(), settings.style)
    written.train_layers = []  # these are in train_val.prototxt, which no target reads
    found = problems(written, target)
    alike: dict[tuple[str, str], list[str]] = {}
    for problem in found:
        if not problem.only_for:
            alike.setdefault((problem.type, problem.reason), []).append(problem.layer)
    lines = [
        f"{target.name} does not take {listed(list(map(repr, names)))} ({kind}): {reason} ({target.note})"
        for (kind, reason), names in alike.items()
    ]
    return target.entry() | {"problems": [problem.entry() for problem in found]}, lines
