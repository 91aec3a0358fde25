"""What steps are called: as people call the parts of a network, from its layers' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

# --steps splits its words at commas and strips them; `all` has a meaning of its own there
_BREAKS = re.compile(r"[,\s\x00-\x1f\x7f]+")
_RESERVED = frozenset({"all"})


def head(name: str) -> str:
    """The part before the slash, else before the underscore, else the whole: conv1, inception_3a, res2a."""
    for mark in "/_":
        if mark in name:
            return name.split(mark, 1)[0] or name
    return name


def step_names(groups: Sequence[Sequence[str]], taken: Collection[str] = ()) -> list[str]:
    """A name for each group of layer names: the head that most of them have.

    Where several groups would share one, their first layers' whole names; where even that is taken (by
    another group, or in `taken`), with a number behind it. Each name is one word for --steps. Names carry
    no magic: they only label groups that the structure has made.
    """
    common = [_label(Counter(map(head, group)).most_common(1)[0][0]) for group in groups]
    counts = Counter(common)
    names: list[str] = []
    used = _RESERVED | set(taken)
    for name, group in zip(common, groups, strict=True):
        names.append(_unused(name if counts[name] == 1 else _label(group[0]), used))
        used |= {names[-1]}
    return names


def _label(name: str) -> str:
    return _BREAKS.sub("_", name) or "step"


def _unused(name: str, used: Collection[str]) -> str:
    made, number = name, 1
    while made in used:
        number += 1
        made = f"{name}_{number}"
    return made
