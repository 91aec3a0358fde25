"""One thing that the doctor has looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    state: ok; absent (not there and not needed); warning (there, but not as it should be); missing (needed, but not
    there or not working). found: in words. remedy: what to do, "" if nothing. details: for --json.
    """

    name: str
    state: str
    found: str
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)
