"""A recipe: a plan as a TOML file, to edit and replay. recipe_reader.py reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.names import for_toml
from deepmerge.passes.registry import CLEANUP
from deepmerge.passes.support.base import Options
from deepmerge.text import did_you_mean

VERSION = 1
# The passes' Options that each step has for itself. The tables come last, as TOML requires.
STEP_OPTIONS = ("width", "kernel", "init", "rank", "absorb", "calibration", "ranks", "channels")


@dataclass(frozen=True)
class Step:
    """Some passes on some layers, under a name.

    exact: the output does not change; such steps run before all others. options: the fields of the passes' Options
    that matter here (STEP_OPTIONS). file: the recipe that the step was read from, for errors ("" in a plan). note: why
    it is there, for readers; nothing depends on it.
    """

    name: str
    passes: tuple[str, ...]
    layers: tuple[str, ...]
    exact: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    file: str = field(default="", compare=False)
    note: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """The step as errors name it."""
        return f"{self.file}: step {self.name!r}" if self.file else f"step {self.name!r}"


@dataclass(frozen=True)
class Recipe:
    """Steps, in order.

    network: the network's name. keep: names and types of the layers to leave alone. inputs: sizes of inputs by name,
    with which the network is read. file: where it was read, for errors ("" in a plan). target: what has to take the
    result, as Options.target.
    """

    network: str
    cleanup: tuple[str, ...] = CLEANUP
    keep: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    file: str = field(default="", compare=False)
    target: str = ""

    def options(self) -> Options:
        """Return the passes' options that hold in all steps."""
        return Options(keep=frozenset(self.keep), target=self.target)

    def to_toml(self) -> str:
        """Return the recipe as TOML; the same recipe always gives the same text."""
        lines = [
            "# What deepmerge does to the network, step by step. Edit it, then run convert with --recipe.",
            f"version = {VERSION}",
            f"network = {_value(self.network)}",
            f"cleanup = {_value(self.cleanup)}  # exact, over the whole network",
            f"keep = {_value(self.keep)}",
        ]
        lines += [f"target = {_value(self.target)}"] if self.target else []
        lines += _table("inputs", self.inputs) if self.inputs else []
        for step in self.steps:
            lines += ["", "[[step]]", f"name = {_value(step.name)}", f"exact = {_value(step.exact)}"]
            lines += [f"note = {_value(step.note)}"] if step.note else []
            lines += [f"passes = {_value(step.passes)}", f"layers = {_value(step.layers)}"]
            for key in (key for key in STEP_OPTIONS if key in step.options):
                value = step.options[key]
                lines += _table(f"step.{key}", value) if isinstance(value, Mapping) else [f"{key} = {_value(value)}"]
        return "\n".join(lines) + "\n"


def options_for(step: Step, common: Options) -> Options:
    """Return the passes' options in a step; it may merge even where the MACs rise, since the recipe asks for it.

    common: the options that hold in all steps.
    """
    return Options(**step.options, keep=common.keep, target=common.target, costly=True)


def _table(name: str, entries: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{_value(key)} = {_value(value)}" for key, value in entries.items())]


def _value(value) -> str:
    """Return a value as TOML; a long list has one line for each item."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return for_toml(value)
    items = [_value(v) for v in value]
    if all(type(v) is int for v in value):
        return fill(f"[{', '.join(items)}]", 100, subsequent_indent="    ")
    line = f"[{', '.join(items)}]"
    return line if len(line) < 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def check_fits(recipe: Recipe, graph: Graph) -> None:
    """Raise PlanError if the recipe is for another network, or keeps layers that this one does not have.

    Whether a step's layers exist shows when the step runs, since steps before it may make them.
    """
    names, where = {layer.name for layer in graph.layers}, recipe.file or "the recipe"
    check_keep(recipe.keep, graph, f"{where}: keep")
    if recipe.steps and not any(name in names for step in recipe.steps for name in step.layers):
        other = f"{graph.name!r} has none of the layers that it names"
        raise PlanError(f"{where}: was made for the network {recipe.network!r}; {other}")


def check_keep(keep: Iterable[str], graph: Graph, where: str) -> None:
    """Raise PlanError for a name that is neither a layer nor a layer type."""
    known = {layer.name for layer in graph.layers} | {layer.type for layer in graph.layers}
    for name in keep:
        if name not in known:
            remedy = did_you_mean(name, sorted(known))
            raise PlanError(f"{where}: the network {graph.name!r} has no layer or type {name!r}", remedy=remedy)
