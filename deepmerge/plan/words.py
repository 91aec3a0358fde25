"""What to say to a word that is none of those that are known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 12


def hint(word: str, known: Iterable[str]) -> str:
    """The known words that come near, or what words there are: "did you mean 'conv1' or 'conv2'?"."""
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, 3, 0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if not known:
        return "there are none"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"there {'are' if len(known) > 1 else 'is only'} {', '.join(known[:_SHOWN])}{more}"
