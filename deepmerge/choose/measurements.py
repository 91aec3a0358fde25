"""The file of measurements: what each choice costs in time and in accuracy. CSV, a line for each.

    region,candidate,ms,loss,agreement,channels,on
    inception_3a,"width 0.5, absorb pooling+branches",1.73,,,,"ort 1.32.0, 1 thread, AMD EPYC"

ms: of the region alone. loss: of the original's answers, if only this region is changed; nats (KL). agreement: the
share of images with the same first class. channels: which filters the reducers keep, JSON. on: what measured the time.
A line of another machine's or a device's time needs the first three columns alone. A line without a region is about a
whole plan, named by its digest.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

from deepmerge.errors import PlanError
from deepmerge.out.staging import write_whole
from deepmerge.text import did_you_mean

WHOLE = ""  # the region of lines about whole plans


@dataclass(frozen=True)
class Measured:
    """What is known of a choice; None, or "", for what is not. See the module."""

    ms: float | None = None
    loss: float | None = None
    agreement: float | None = None
    channels: str = ""

    def updated(self, new: Measured) -> Measured:
        """Return these values, with those that the new ones have."""
        return replace(self, **{key: value for key, value in vars(new).items() if value not in (None, "")})


class Measurements:
    """The measurements in a file, or in memory alone.

    file: None for memory alone. on: what measures times now; times that other engines have measured are not used.
    Raises PlanError for a file that is not one of measurements.
    """

    def __init__(self, file: Path | None, on: str):
        self.file, self.on = file, on
        self._lines: dict[tuple[str, str, str], Measured] = {}  # by region, choice and what measured
        if file is not None and file.exists():
            self._read(file)

    def get(self, region: str, choice: str) -> Measured:
        """Return what is known of a choice; times are those measured on this engine, or given."""
        found = Measured()
        for on in (self.on, ""):
            found = found.updated(self._lines.get((region, choice, on), Measured()))
        return found

    def has_given_times(self, region: str) -> bool:
        """Return whether the region's times come from a device: choices without one are then not measured here."""
        return any(place == region and not on and one.ms is not None for (place, _, on), one in self._lines.items())

    def add(self, region: str, choice: str, **values: float | str) -> None:
        """Add values of a choice, and write the file at once: whole, or not at all."""
        self._merge(region, choice, self.on if "ms" in values else "", Measured(**values))
        if self.file is not None:
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for (place, label, on), one in self._lines.items():
                writer.writerow([place, label, *map(_text, vars(one).values()), on])
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, text.getvalue())

    def check(self, known: Collection[tuple[str, str]]) -> None:
        """Raise PlanError for a line about a region or a choice that the network does not have."""
        regions = {region for region, _ in known}
        for region, choice, _ in self._lines:
            if region != WHOLE and region not in regions:
                raise PlanError(f"{self.file}: there is no region {region!r}", remedy=did_you_mean(region, regions))
            if region != WHOLE and (region, choice) not in known:
                own = sorted(other for place, other in known if place == region)
                text = f"{self.file}: region {region!r} has no candidate {choice!r}"
                raise PlanError(text, remedy=did_you_mean(choice, own))

    def _read(self, file: Path) -> None:
        try:
            with open(file, encoding="utf-8", errors="surrogateescape", newline="") as lines:
                rows = csv.DictReader(lines)
                if not {"region", "candidate"} <= set(rows.fieldnames or ()):
                    raise PlanError(f"{file}: its first line must name the columns region, candidate and ms")
                for row in rows:
                    self._row(row, f"{file}, line {rows.line_num}")
        except (OSError, csv.Error) as error:
            raise PlanError(f"{file}: cannot be read as CSV: {error}") from None

    def _row(self, row: dict[str, str | None], where: str) -> None:
        numbers = {name: _number(row.get(name), f"{where}, {name}") for name in ("ms", "loss", "agreement")}
        new = Measured(**numbers, channels=row.get("channels") or "")
        self._merge(row["region"] or "", row["candidate"] or "", row.get("on") or "", new)

    def _merge(self, region: str, choice: str, on: str, new: Measured) -> None:
        key = region, choice, on
        self._lines[key] = self._lines.get(key, Measured()).updated(new)


_COLUMNS = ("region", "candidate", *(field.name for field in fields(Measured)), "on")


def _text(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _number(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise PlanError(f"{where}: {text!r} is not a number from 0 on")
    return number
