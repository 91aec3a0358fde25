"""A recipe: the plan as a TOML file that can be read, edited and replayed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.graph.graph import Graph
from deepmerge.passes.base import Options
from deepmerge.passes.registry import CLEANUP, PASSES

VERSION = 1
# The options that a step may set for itself, with the checks of the command line
STEP_OPTIONS = ("width", "kernel", "init", "rank", "absorb")


@dataclass(frozen=True)
class Step:
    """Some passes on some layers, under a name. `options` are those of STEP_OPTIONS that matter here."""

    name: str
    passes: tuple[str, ...]
    layers: tuple[str, ...]
    exact: bool = False
    options: dict[str, Any] = field(default_factory=dict)


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
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in step.options.items()}
    return Options(**options, keep=frozenset(keep), costly=True)


def _value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    items = [_value(v) for v in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) < 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def read_recipe(path: str | Path) -> Recipe:
    """A recipe file; PlanError (one line: file, place, what to do) where it is none."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: is not TOML: {error}") from None
    _known(data, ("version", "network", "cleanup", "keep", "step"), f"{path}")
    if data.get("version") != VERSION:
        raise PlanError(f"{path}: version {data.get('version')!r} is not known; this deepmerge writes version {VERSION}")
    steps = data.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise PlanError(f"{path}: steps are written as [[step]]")
    return Recipe(
        _text(data.get("network", ""), f"{path}: network"),
        _texts(data.get("cleanup", list(CLEANUP)), f"{path}: cleanup"),
        _texts(data.get("keep", []), f"{path}: keep"),
        tuple(_step(s, f"{path}: step {i}") for i, s in enumerate(steps, 1)),
    )


def _step(data: dict, where: str) -> Step:
    _known(data, ("name", "passes", "layers", "exact", *STEP_OPTIONS), where)
    for key in ("name", "passes", "layers"):
        if key not in data:
            raise PlanError(f"{where}: {key!r} is missing")
    passes = _texts(data["passes"], f"{where}, passes")
    for name in passes:
        _one_of(name, PASSES, f"{where}, passes")
    options = {key: data[key] for key in STEP_OPTIONS if key in data}
    check_options(options, where)
    return Step(_text(data["name"], f"{where}, name"), passes, _texts(data["layers"], f"{where}, layers"), bool(data.get("exact", False)), options)


def check_options(options: dict[str, Any], where: str) -> None:
    """PlanError for an option whose value is none that the passes know."""
    from deepmerge.passes.decompose_tucker import parse_rank

    width = options.get("width", "full")
    if width != "full" and not (isinstance(width, int | float) and 0 < width <= 1):
        raise PlanError(f"{where}: width {width!r} is neither a number above 0 and up to 1 nor 'full'")
    for key, allowed in (("kernel", ("keep", "cover")), ("init", ("trained", "xavier"))):
        _one_of(options.get(key, allowed[0]), allowed, f"{where}, {key}")
    for item in options.get("absorb", ()):
        _one_of(item, ("lrn", "pooling", "branches"), f"{where}, absorb")
    if "rank" in options:
        parse_rank(options["rank"])


def check_fits(recipe: Recipe, graph: Graph, where: str) -> None:
    """PlanError if the recipe names layers that the network does not have, with the nearest ones."""
    names = [layer.name for layer in graph.layers]
    types = sorted({layer.type for layer in graph.layers})
    made: set[str] = set()
    for name in recipe.keep:
        _one_of(name, names + types, f"{where}: keep")
    for step in recipe.steps:
        for name in step.layers:
            if name.split("_merged")[0] not in names and name not in names and name not in made:
                near = difflib.get_close_matches(name, names, 3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                raise PlanError(f"{where}: step {step.name!r}: the network {graph.name!r} has no layer {name!r}{hint}")


def _known(data: dict, allowed: Iterable[str], where: str) -> None:
    for key in data:
        _one_of(key, allowed, where, "key")


def _one_of(value, allowed: Iterable[str], where: str, what: str = "value") -> None:
    allowed = list(allowed)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 3, 0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(allowed[:12])}"
        raise PlanError(f"{where}: unknown {what} {value!r}; {hint}")


def _text(value, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where}: wants a string, found {value!r}")
    return value


def _texts(value, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise PlanError(f"{where}: wants a list of strings, found {value!r}")
    return tuple(value)
