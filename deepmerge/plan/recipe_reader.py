"""A recipe's TOML → Recipe; whatever is wrong in an edited file becomes a one-line error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.names import from_toml
from deepmerge.passes.registry import CLEANUP, PASSES
from deepmerge.passes.support import option_values
from deepmerge.plan.groups import RESERVED
from deepmerge.plan.recipe import STEP_OPTIONS, VERSION, Recipe, Step
from deepmerge.targets.names import TARGETS
from deepmerge.text import did_you_mean
from deepmerge.toml import parsed

MAX_LENGTH = 1 << 24  # characters; a recipe for ResNet-152 has 4,000


def read_recipe(path: str | Path) -> Recipe:
    """Return the recipe in a file; PlanError (one line: file, place, what to do) if it is not one."""
    try:
        return _recipe(_load(path), path)
    except PlanError as error:
        error.file = path
        raise
    except (ValueError, RecursionError):  # from numbers with thousands of digits, and deeply nested lists
        text = f"{path}: has a number that is too long, or lists in lists"
        raise PlanError(text, file=path, remedy="remove it") from None


def _recipe(data: dict[str, Any], path: str | Path) -> Recipe:
    _known(data, ("version", "network", "cleanup", "keep", "target", "inputs", "step"), f"{path}")
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise PlanError(f"{path}: version {version!r} is not known; this deepmerge writes version {VERSION}")
    steps = data.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise PlanError(f"{path}: steps are written as [[step]]")
    cleanup = _passes(data.get("cleanup", list(CLEANUP)), f"{path}: cleanup")
    if rough := [name for name in cleanup if not PASSES[name].exact]:
        raise PlanError(f"{path}: cleanup: {rough[0]!r} is not exact; give it its own [[step]]")
    return Recipe(
        _text(data.get("network", ""), f"{path}: network"),
        cleanup,
        _texts(data.get("keep", []), f"{path}: keep"),
        _told_apart(tuple(_step(s, path, i) for i, s in enumerate(steps, 1)), path),
        _inputs(data.get("inputs", {}), f"{path}: inputs"),
        str(path),
        _target(data.get("target", ""), f"{path}: target"),
    )


def _load(path: str | Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(MAX_LENGTH + 1)
        if len(text) > MAX_LENGTH:
            raise PlanError(f"{path}: is longer than {MAX_LENGTH:,} characters, which is too long for a recipe")
        return parsed(text)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and wrong dates are ValueErrors
        raise PlanError(f"{path}: is not TOML: {error}") from None


def _step(data: dict, path: str | Path, number: int) -> Step:
    where = f"{path}: step {number}"
    _known(data, ("name", "passes", "layers", "exact", "note", *STEP_OPTIONS), where)
    for key in ("name", "passes", "layers"):
        if not data.get(key):
            raise PlanError(f"{where}: {key!r} is {'empty' if key in data else 'missing'}")
    exact = data.get("exact", False)
    if not isinstance(exact, bool):
        raise PlanError(f"{where}, exact: expected true or false, found {exact!r}")
    options = {}
    for key in (key for key in STEP_OPTIONS if key in data):
        try:
            options[key] = _OPTIONS[key](data[key])
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
        _text(data.get("note", ""), f"{where}, note"),
    )


def _told_apart(steps: tuple[Step, ...], path: str | Path) -> tuple[Step, ...]:
    """Return the steps. PlanError if approximate ones share a name: their layers and rows in tables go by it."""
    taken: dict[str, int] = {}
    for number, step in enumerate(steps, 1):
        if step.exact:
            continue
        where = f"{path}: step {number}, name"
        if step.name in RESERVED:
            raise PlanError(
                f"{where}: {step.name!r} stands for another network in tables", remedy="give it another name"
            )
        if step.name in taken:
            same = f"step {taken[step.name]} is called {step.name!r}, too"
            raise PlanError(f"{where}: {same}", remedy="give one of them another name")
        taken[step.name] = number
    return steps


def _known(data: dict, allowed: Iterable[str], where: str) -> None:
    for key in data:
        if key not in allowed:
            raise PlanError(f"{where}: unknown key {key!r}", remedy=did_you_mean(key, allowed))


def _text(value, where: str) -> str:
    if not isinstance(value, str):
        raise PlanError(f"{where}: expected a string, found {value!r}")
    return from_toml(value)


def _texts(value, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise PlanError(f"{where}: expected a list of strings, found {value!r}")
    return tuple(map(from_toml, value))


def _target(value, where: str) -> str:
    if not isinstance(value, str) or (value and value not in TARGETS):
        raise PlanError(f"{where}: there is no target {value!r}", remedy=did_you_mean(str(value), TARGETS))
    return value


def _inputs(value, where: str) -> dict[str, tuple[int, ...]]:
    sizes = value.values() if isinstance(value, dict) else [None]
    if not all(isinstance(size, list) and size and all(type(n) is int and n > 0 for n in size) for size in sizes):
        raise PlanError(f"{where}: expected lists of whole numbers from 1 on, such as data = [1, 3, 224, 224]")
    return {from_toml(name): tuple(size) for name, size in value.items()}


def _passes(value, where: str) -> tuple[str, ...]:
    names = _texts(value, where)
    for name in names:
        if name not in PASSES:
            raise PlanError(f"{where}: there is no pass {name!r}", remedy=did_you_mean(name, PASSES))
    return names


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        return value

    return check


def _absorb(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of {', '.join(option_values.ABSORB)}, found {value!r}")
    return tuple(map(_one_of(option_values.ABSORB), value))


def _ranks(value: Any) -> dict[str, tuple[int, ...]]:
    return {from_toml(name): found for name, found in option_values.ranks(value).items()}


def _channels(value: Any) -> dict[str, tuple[int, ...]]:
    return {from_toml(name): found for name, found in option_values.channels(value).items()}


# By option: what checks TOML's value and returns it, or raises ValueError with the reason
_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "width": option_values.width,
    "kernel": _one_of(option_values.KERNELS),
    "init": _one_of(option_values.INITS),
    "rank": option_values.rank,
    "absorb": _absorb,
    "calibration": option_values.calibration,
    "ranks": _ranks,
    "channels": _channels,
}
