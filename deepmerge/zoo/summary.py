"""What came of all models, in short: the figures that the page, the summaries and the command show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from deepmerge.text import count
from deepmerge.zoo.index import WAITING, Entry
from deepmerge.zoo.record import CONVERTED


@dataclass(frozen=True)
class Row:
    """A model, in short. line: why it is not converted; its figures are None then. checks: what was measured."""

    number: int
    name: str
    folder: str
    status: str
    line: str
    log: str
    report: str
    seconds: float | None
    peak_bytes: int | None
    macs: tuple[int, int] | None
    params: tuple[int, int] | None
    layers: tuple[int, int] | None
    refusals: int | None
    checks: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""

    @classmethod
    def of(cls, entry: Entry) -> Row:
        """Return the row of an index's entry."""
        failure = entry.get("failure") or {}

        def both(key: str) -> tuple[int, int] | None:
            return (entry["before"][key], entry["after"][key]) if "before" in entry else None

        return cls(
            *(entry[key] for key in ("number", "name", "folder", "status")),
            line=failure.get("message", ""),
            log=entry.get("log", ""),
            report=entry.get("report", ""),
            seconds=entry.get("seconds"),
            peak_bytes=entry.get("peak_bytes"),
            macs=both("macs"),
            params=both("params"),
            layers=both("layers"),
            refusals=len(entry["refusals"]) if "refusals" in entry else None,
            checks=entry.get("checks", {}),
            tags=tuple(entry.get("tags", ())),
            licence=entry.get("licence", ""),
            source=entry.get("source", ""),
        )


@dataclass(frozen=True)
class Summary:
    """All models, in order."""

    rows: list[Row]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Summary:
        """Return the summary of an index; only a row of each entry is kept."""
        return cls([Row.of(entry) for entry in entries])

    @property
    def counts(self) -> dict[str, int]:
        """How many models have each status."""
        return dict(sorted(Counter(row.status for row in self.rows).items()))

    @property
    def bad(self) -> list[Row]:
        """The models that are not converted."""
        return [row for row in self.rows if row.status != CONVERTED]

    def to_dict(self) -> dict[str, Any]:
        """Return all as `deepmerge zoo --json` prints it."""
        return {"counts": self.counts, "models": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        parts = [f"{number:,} {status}" for status, number in self.counts.items()]
        return f"{count(len(self.rows), 'model')}: {', '.join(parts) or 'none'}"


def waiting(row: Row) -> bool:
    """Return whether nothing has come of a model yet."""
    return row.status == WAITING
