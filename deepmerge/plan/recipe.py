"""A recipe: the plan as a TOML file that can be read, edited and replayed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.passes import choices
from deepmerge.passes.base import Options
from deepmerge.passes.registry import CLEANUP, PASSES
from deepmerge.plan.words import hint

VERSION = 1


@dataclass(frozen=True)
class Step:
    """Some passes on some layers, under a name.

    exact: the output does not change; such steps are carried out before all others.
    options: those fields of the passes' Options that matter here (STEP_OPTIONS).
    file: the recipe that the step was read from, for errors ("" for a step of a plan).
    """

    name: str
    passes: tuple[str, ...]
    layers: tuple[str, ...]
    exact: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    file: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """What errors call the step."""
        return f"{self.file}: step {self.name!r}" if self.file else f"step {self.name!r}"


@dataclass(frozen=True)
class Recipe:
    """network: the name of the network it was made for. keep: layers and types that are left alone."""

    network: str
    cleanup: tuple[str, ...] = CLEANUP
    keep: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    def to_toml(self) -> str:
        """The recipe as TOML; the same recipe always gives the same text."""
        lines = [
            "# What deepmerge does to the network, step by step. Edit it and give it back with --recipe.",
            f"version = {VERSION}",
            f"network = {_value(self.network)}",
            f"cleanup = {_value(self.cleanup)}  # exact, over the whole network",
            f"keep = {_value(self.keep)}",
        ]
        for step in self.steps:
            lines += ["", "[[step]]", f"name = {_value(step.name)}", f"exact = {_value(step.exact)}"]
            lines += [f"passes = {_value(step.passes)}", f"layers = {_value(step.layers)}"]
            lines += [f"{key} = {_value(step.options[key])}" for key in STEP_OPTIONS if key in step.options]
        return "\n".join(lines) + "\n"


def options_for(step: Step, keep: Iterable[str]) -> Options:
    """The passes' options in a step; merges that cost more are done, since the step asks for them."""
    return Options(**step.options, keep=frozenset(keep), costly=True)


def _value(value) -> str:
    """A value as TOML; a list on a line of its own for each item where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):  # JSON's escapes are TOML's too, but JSON has none for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    items = [_value(v) for v in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) < 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def read_recipe(path: str | Path) -> Recipe:
    """A recipe file; PlanError (one line: file, place, what to do) where it is none."""
    data = _load(path)
    _known(data, ("version", "network", "cleanup", "keep", "step"), f"{path}")
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise PlanError(f"{path}: version {version!r} is not known; this deepmerge writes version {VERSION}")
    steps = data.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise PlanError(f"{path}: steps are written as [[step]]")
    cleanup = _passes(data.get("cleanup", list(CLEANUP)), f"{path}: cleanup")
    if rough := [name for name in cleanup if not PASSES[name].exact]:
        raise PlanError(f"{path}: cleanup: {rough[0]!r} is not exact; give it a [[step]] of its own")
    return Recipe(
        _text(data.get("network", ""), f"{path}: network"),
        cleanup,
        _texts(data.get("keep", []), f"{path}: keep"),
        tuple(_step(s, path, i) for i, s in enumerate(steps, 1)),
    )


def _load(path: str | Path) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"{path}: is not TOML: {error}") from None


def _step(data: dict, path: str | Path, number: int) -> Step:
    where = f"{path}: step {number}"
    _known(data, ("name", "passes", "layers", "exact", *STEP_OPTIONS), where)
    for key in ("name", "passes", "layers"):
        if not data.get(key):
            raise PlanError(f"{where}: {key!r} is {'empty' if key in data else 'missing'}")
    exact = data.get("exact", False)
    if not isinstance(exact, bool):
        raise PlanError(f"{where}, exact: wants true or false, found {exact!r}")
    options = {}
    for key in STEP_OPTIONS & data.keys():
        try:
            options[key] = STEP_OPTIONS[key](data[key])
        except ValueError as error:
            raise PlanError(f"{where}, {key}: {error}") from None
    name = _text(data["name"], f"{where}, name")
    return Step(
        name,
        _passes(data["passes"], f"{where}, passes"),
        _texts(data["layers"], f"{where}, layers"),
        exact,
        options,
        str(path),
    )


def check_fits(recipe: Recipe, graph: Graph, where: str) -> None:
    """PlanError if the recipe is for another network, or keeps what this one does not have.

    Whether each layer of a step is there shows when the step is carried out, since steps before it may make it.
    """
    names = {layer.name for layer in graph.layers}
    check_keep(recipe.keep, graph, f"{where}: keep")
    if recipe.steps and not any(name in names for step in recipe.steps for name in step.layers):
        raise PlanError(
            f"{where}: was made for the network {recipe.network!r}; {graph.name!r} has none of the layers that it names"
        )


def check_keep(keep: Iterable[str], graph: Graph, where: str) -> None:
    """PlanError for a name that is neither a layer's nor a layer type's."""
    known = {layer.name for layer in graph.layers} | {layer.type for layer in graph.layers}
    for name in keep:
        if name not in known:
            raise PlanError(
                f"{where}: the network {graph.name!r} has no layer or type {name!r}; {hint(name, sorted(known))}"
            )


def _known(data: dict, allowed: Iterable[str], where: str) -> None:
    for key in data:
        if key not in allowed:
            raise PlanError(f"{where}: unknown key {key!r}; {hint(key, allowed)}")


def _text(value, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where}: wants a string, found {value!r}")
    return value


def _texts(value, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise PlanError(f"{where}: wants a list of strings, found {value!r}")
    return tuple(value)


def _passes(value, where: str) -> tuple[str, ...]:
    names = _texts(value, where)
    for name in names:
        if name not in PASSES:
            raise PlanError(f"{where}: there is no pass {name!r}; {hint(name, PASSES)}")
    return names


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        return value

    return check


def _absorb(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"wants a list of {', '.join(choices.ABSORB)}, found {value!r}")
    return tuple(map(_one_of(choices.ABSORB), value))


# The options that a step may set for itself: each takes TOML's value, or raises ValueError with what is wrong with it
STEP_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "width": choices.width,
    "kernel": _one_of(choices.KERNELS),
    "init": _one_of(choices.INITS),
    "rank": choices.rank,
    "absorb": _absorb,
}
