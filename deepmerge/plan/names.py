"""Names for steps, taken from layers' names: as people call the parts of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from deepmerge.text import unused

# --steps splits at commas and strips its words; `all` has a meaning of its own there
_BREAKS = re.compile(r"[,\s\x00-\x1f\x7f]+")
_RESERVED = frozenset({"all"})


def head(name: str) -> str:
    """Return the part before the slash, else before the underscore, else all of it: conv1, inception_3a, res2a."""
    for mark in "/_":
        if mark in name:
            return name.split(mark, 1)[0] or name
    return name


def step_names(groups: Sequence[Sequence[str]], taken: Collection[str] = ()) -> list[str]:
    """Return a name for each group of layer names: the head that most of them have.

    Groups that would share a name get the full names of their first layers, and a number if even that is taken (by
    another group or in `taken`). Each name is one word for --steps. Names only label the groups: nothing depends on
    them.
    """
    common = [_label(Counter(map(head, group)).most_common(1)[0][0]) for group in groups]
    counts = Counter(common)
    names: list[str] = []
    used = _RESERVED | set(taken)
    for name, group in zip(common, groups, strict=True):
        names.append(unused(name if counts[name] == 1 else _label(group[0]), used))
        used |= {names[-1]}
    return names


def _label(name: str) -> str:
    return _BREAKS.sub("_", name) or "step"
