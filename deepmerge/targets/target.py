"""A target's TOML file → Target."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from deepmerge.errors import PlanError
from deepmerge.targets.conventions import CONVENTIONS
from deepmerge.targets.names import FOLDER, TARGETS
from deepmerge.text import did_you_mean
from deepmerge.toml import parsed


@dataclass(frozen=True)
class Rule:
    """Which values a layer of these types may have.

    value: a word of measures.py. least, most: the range; one_of, none_of: the words or numbers. Those that are None say
    nothing. why: what happens otherwise. only_for: what the rule is needed for; "" if for everything.
    """

    name: str
    types: tuple[str, ...]
    value: str
    least: float | None = None
    most: float | None = None
    one_of: tuple | None = None
    none_of: tuple | None = None
    why: str = ""
    only_for: str = ""

    def allows(self, value: Any) -> bool:
        """Return whether a layer may have this value."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.one_of is None or value in self.one_of)
            and (self.none_of is None or value not in self.none_of)
        )

    @property
    def allowed(self) -> str:
        """What a layer may have, in words."""
        words = [f"at least {self.least:,}"] if self.least is not None else []
        words += [f"at most {self.most:,}"] if self.most is not None else []
        words += [f"only {_words(self.one_of)}"] if self.one_of is not None else []
        words += [f"not {_words(self.none_of)}"] if self.none_of is not None else []
        return ", ".join(words)


@dataclass(frozen=True)
class Target:
    """What compiles Caffe files for a device, and what it demands of them.

    takes: the layer types; None where they are not known. refuses: the types that it is known not to take. others: what
    to do about any other type. source, date: where that is written, and when it was read. tried: whether it was tried
    on the compiler itself.
    """

    name: str
    title: str
    source: str
    date: str
    tried: bool
    conventions: tuple[str, ...] = ()
    takes: tuple[str, ...] | None = None
    refuses: tuple[str, ...] = ()
    others: str = ""
    rules: tuple[Rule, ...] = ()

    @property
    def note(self) -> str:
        """How far its rules can be trusted, in words."""
        how = "tried on the compiler" if self.tried else "not tried on the compiler"
        return f"from its documentation of {self.date}; {how}"

    def entry(self) -> dict[str, Any]:
        """Return what reports say about the target."""
        return {key: getattr(self, key) for key in ("name", "title", "source", "date", "tried", "note")}


@cache
def load_target(name: str) -> Target:
    """Return the target of this name; PlanError with candidates if there is none."""
    if name not in TARGETS:
        raise PlanError(f"there is no target {name!r}", remedy=did_you_mean(name, TARGETS))
    return target_of(name, parsed((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))


def target_of(name: str, data: dict[str, Any]) -> Target:
    """Return a file's target. With `based_on`, all that the other target demands is demanded as well.

    ValueError for a key or a convention that does not exist.
    """
    data = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    base, rules = data.pop("based_on", ""), tuple(map(_rule, data.pop("rule", ())))
    _known(data, {field.name for field in fields(Target)} - {"name", "rules"}, name)
    _known(data.get("conventions", ()), CONVENTIONS, name)
    made = Target(name, **data, rules=rules)
    if not base:
        return made
    other = load_target(base)
    return replace(
        made,
        conventions=other.conventions + made.conventions,
        takes=made.takes or other.takes,
        refuses=other.refuses + made.refuses,
        rules=other.rules + made.rules,
    )


def _rule(data: dict[str, Any]) -> Rule:
    _known(data, {field.name for field in fields(Rule)}, "rule")
    return Rule(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def _known(words, allowed, where: str) -> None:
    for word in words:
        if word not in allowed:
            raise ValueError(f"{where}: there is no {word!r}; {did_you_mean(word, sorted(allowed))}")


def _words(values: tuple) -> str:
    return " or ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
