"""The steps that --steps asks for: `all`, names, ranges such as inception_4b-4d."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from deepmerge.errors import PlanError
from deepmerge.plan.recipe import Step
from deepmerge.text import did_you_mean


@dataclass(frozen=True)
class Candidate:
    """An approximate step that could be taken. costly: why `all` leaves it out ("" if it does not)."""

    step: Step
    costly: str = ""


def select(candidates: Sequence[Candidate], wanted: str, folds: Collection[str] = ()) -> list[Step]:
    """Return the steps that the words of --steps ask for, in the network's order; a range becomes one step.

    `all` takes the steps that the other words leave. folds: the names of the exact steps, which run in any case.
    PlanError for a word that names no step, and for two words that overlap.
    """
    words = list(dict.fromkeys(filter(None, (word.strip() for word in wanted.split(",")))))
    chosen: dict[int, Step] = {}  # by the place of the first candidate
    taken: dict[int, str] = {}  # the word that asks for a candidate
    for word in words:
        if word == "all":
            continue
        places = _places(candidates, word, folds)
        for place in places:
            if place in taken:
                both = f"{taken[place]!r} and {word!r} both contain {candidates[place].step.name!r}"
                raise PlanError(f"--steps: {both}", remedy="name it once")
            taken[place] = word
        if places:
            chosen[places[0]] = joined([candidates[place].step for place in places], word)
    if "all" in words:
        chosen |= {place: c.step for place, c in enumerate(candidates) if not c.costly and place not in taken}
    return [chosen[place] for place in sorted(chosen)]


def joined(steps: Sequence[Step], name: str) -> Step:
    """Return several steps as one, with this name."""
    if len(steps) == 1:
        return steps[0]
    return replace(
        steps[0],
        name=name,
        passes=tuple(dict.fromkeys(p for step in steps for p in step.passes)),
        layers=tuple(dict.fromkeys(layer for step in steps for layer in step.layers)),
        exact=all(step.exact for step in steps),
        options={key: value for step in steps for key, value in step.options.items()},
    )


def _places(candidates: Sequence[Candidate], word: str, folds: Collection[str]) -> list[int]:
    """Return the places of the candidates that a word asks for; none for an exact step's name."""
    names = [c.step.name for c in candidates]
    if word in names:
        return [names.index(word)]
    if word in folds:
        return []
    for cut in (place for place, char in enumerate(word) if char == "-"):
        first, last = word[:cut], word[cut + 1 :]
        if first in names and last:
            begin = names.index(first)
            ends = [place for place, name in enumerate(names) if name == last or _abbreviates(last, name, first)]
            if any(end >= begin for end in ends):
                end = next(end for end in ends if end >= begin)
                return [p for p in range(begin, end + 1) if not candidates[p].costly or p in (begin, end)]
            if ends:
                wrong = f"{names[ends[0]]!r} comes before {first!r} in the network"
                raise PlanError(f"--steps: {word!r} runs backwards: {wrong}")
    raise PlanError(f"--steps: there is no step {word!r}", remedy=did_you_mean(word, (*names, *folds)))


def _abbreviates(last: str, name: str, first: str) -> bool:
    """Return whether a range's end abbreviates a name: 4d is inception_4d in inception_4b-4d."""
    return name.endswith(last) and first.startswith(name[: -len(last)])
