"""What steps are called: as people call the parts of a network, from its layers' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence



def head(name: str) -> str:
    """The part before the slash, else before the underscore, else the whole: conv1, inception_3a, res2a."""
    if "/" in name:
        return name.split("/", 1)[0] or name
    return name.split("_", 1)[0] or name


def step_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """A name for each group of layer names; where several groups would share one, their first layers' whole names.

    Names carry no magic: they only ever label groups that the structure has made.
    """
    common = [Counter(map(head, group)).most_common(1)[0][0] for group in groups]
    counts = Counter(common)
    return [name if counts[name] == 1 else group[0] for name, group in zip(common, groups, strict=True)]
