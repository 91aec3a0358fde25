"""Which of the plan's steps are wanted: `all`, names, ranges such as inception_4b-4d."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from deepmerge.errors import PlanError
from deepmerge.plan.execute import joined
from deepmerge.plan.recipe import Step


@dataclass(frozen=True)
class Candidate:
    """An approximate step that could be taken. costly: why only its own name brings it in ("" if `all` does)."""

    step: Step
    costly: str = ""


def select(candidates: Sequence[Candidate], wanted: str) -> list[Step]:
    """The steps that the words of --steps ask for, in the network's order; a range becomes one step.

    PlanError with candidates for a word that is no step.
    """
    chosen: dict[int, Step] = {}
    for word in filter(None, (w.strip() for w in wanted.split(","))):
        if word == "all":
            found = {i: c.step for i, c in enumerate(candidates) if not c.costly}
        else:
            found = {i: c.step for i, c in enumerate(candidates) if c.step.name == word} or _range(candidates, word)
        taken = {layer for step in chosen.values() for layer in step.layers}
        chosen |= {i: step for i, step in found.items() if not taken & set(step.layers)}
    if not chosen and wanted != "all":
        raise PlanError(f"--steps {wanted!r} names no step")
    return [chosen[i] for i in sorted(chosen)]


def _range(candidates: Sequence[Candidate], word: str) -> dict[int, Step]:
    names = [c.step.name for c in candidates]
    for cut in [i for i, char in enumerate(word) if char == "-"]:
        first, last = word[:cut], word[cut + 1 :]
        if first not in names or not last:
            continue
        begin = names.index(first)
        end = next((i for i in range(begin, len(names)) if names[i] == last or names[i].endswith(last)), None)
        if end is not None:
            part = [c.step for c in candidates[begin : end + 1] if not c.costly]
            return {begin: joined(part, word) if len(part) > 1 else part[0]}
    near = difflib.get_close_matches(word, names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names) or 'none'}"
    raise PlanError(f"--steps: there is no step {word!r}; {hint}")
