"""The file of measurements: what each choice costs in time and in accuracy. CSV, a line for each.

    region,candidate,ms,loss,agreement,channels,on,key
    inception_3a,"width 0.5, absorb pooling+branches",1.73,,,,"ort, 1 thread, myhost, AMD EPYC",1f0c67e2-9be3a5d0

ms: of the region alone, inf if the engine refuses it. loss: of the original's answers, if only this region is changed;
nats (KL), inf for answers that are no numbers. agreement: the share of images with the same best class. channels:
which filters the reducers keep, JSON. on: what measured the time. key: digests of the network, and of the region with
what the candidate does to it: with other options, one name may mean something else. Lines of other keys are kept, and
not used. A line of another machine's or a device's time needs the first three columns alone. A line without a region
is about a whole plan, named by its digest; with `check` before it, about its agreement on the images to check on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from deepmerge.errors import PlanError
from deepmerge.out.staging import write_whole
from deepmerge.passes.support import option_values
from deepmerge.text import did_you_mean

WHOLE = ""  # the region of lines about whole plans
_DIGITS = 8  # of each digest in the file

Name = tuple[str, str]  # region and choice


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
    network: the network's digest. contents: a digest of what each name means; not of whole plans, whose names do.
    Raises PlanError for a file that is not one of measurements, or is one of another network.
    """

    def __init__(self, file: Path | None, on: str, network: str = "", contents: Mapping[Name, str] | None = None):
        self.file, self.on = file, on
        self._network, self._contents = network[:_DIGITS], contents or {}
        self._lines: dict[tuple[str, str, str, str], Measured] = {}  # by region, choice, key and what measured
        self._given: set[str] = set()  # regions with a time in a line of three columns
        if file is not None and file.exists():
            self._read(file)

    def get(self, region: str, choice: str) -> Measured:
        """Return what is known of a choice; times are those measured on this engine, or a region's are all given."""
        found = Measured()
        for key in (self._key(region, choice), ""):
            for on in (self.on, ""):
                found = found.updated(self._lines.get((region, choice, key, on), Measured()))
        if region != WHOLE and self.has_given_times(region):
            found = replace(found, ms=self.given_ms(region, choice))
        return found

    def given_ms(self, region: str, choice: str) -> float | None:
        """Return the time that a line of three columns gives, of a device; None without such a line."""
        return self._lines.get((region, choice, "", ""), Measured()).ms

    def has_given_times(self, region: str) -> bool:
        """Return whether the region's times come from a device: choices without one are then not measured here."""
        return region in self._given

    def add(self, region: str, choice: str, **values: float | str) -> None:
        """Add values of a choice, rounded as they are written, to the file: at once, and whole or not at all."""
        rounded = {name: value if isinstance(value, str) else float(_text(value)) for name, value in values.items()}
        if self.file is not None and self.file.exists():
            self._read(self.file)  # another run may have added to it meanwhile
        self._merge(region, choice, self._key(region, choice), self.on if "ms" in values else "", Measured(**rounded))
        if self.file is not None:
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for (place, label, key, on), one in self._lines.items():
                writer.writerow([place, label, *map(_text, vars(one).values()), on, key])
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, text.getvalue())

    def check(self, every: Callable[[], Collection[Name]]) -> None:
        """Raise PlanError for a line that somebody wrote about a region or a choice that the network does not have.

        every: returns the names of all that it has; called only if a line has a name that is not among the contents.
        """
        written = [(region, choice) for region, choice, key, _ in self._lines if region != WHOLE and not key]
        unknown = [name for name in written if name not in self._contents]
        known = {*self._contents, *every()} if unknown else set()
        regions = {region for region, _ in known}
        for region, choice in unknown:
            if region not in regions:
                raise PlanError(f"{self.file}: there is no region {region!r}", remedy=did_you_mean(region, regions))
            if (region, choice) not in known:
                own = sorted(other for place, other in known if place == region)
                text = f"{self.file}: region {region!r} has no candidate {choice!r}"
                raise PlanError(text, remedy=did_you_mean(choice, own))

    def _key(self, region: str, choice: str) -> str:
        content = self._contents.get((region, choice))
        return self._network if content is None else f"{self._network}-{content[:_DIGITS]}"

    def _read(self, file: Path) -> None:
        try:
            with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:  # Excel writes a BOM
                rows = csv.DictReader(lines)
                if not {"region", "candidate"} <= set(rows.fieldnames or ()):
                    raise PlanError(f"{file}: its first line must name the columns region, candidate and ms")
                for row in rows:
                    self._row(row, f"{file}, line {rows.line_num}")
        except (OSError, csv.Error) as error:
            raise PlanError(f"{file}: cannot be read as CSV: {error}") from None

    def _row(self, row: dict[str, str | None], where: str) -> None:
        numbers = {name: _number(row.get(name), f"{where}, {name}") for name in ("ms", "loss", "agreement")}
        new = Measured(**numbers, channels=_channels(row.get("channels") or "", f"{where}, channels"))
        key = row.get("key") or ""
        if key and key.partition("-")[0] != self._network:
            raise PlanError(f"{where}: was measured on another network", remedy="give another file with --measurements")
        self._merge(row["region"] or "", row["candidate"] or "", key, row.get("on") or "", new)

    def _merge(self, region: str, choice: str, key: str, on: str, new: Measured) -> None:
        line = region, choice, key, on
        self._lines[line] = self._lines.get(line, Measured()).updated(new)
        if new.ms is not None and not (key or on):
            self._given.add(region)


_COLUMNS = ("region", "candidate", *(field.name for field in fields(Measured)), "on", "key")


def _text(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


def _number(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0 or (math.isinf(number) and where.endswith(", agreement")):
        raise PlanError(f"{where}: {text!r} is not a number from 0 on")
    return number


def _channels(text: str, where: str) -> str:
    """Return the text; PlanError unless it is empty, or says in JSON which filters reducers keep."""
    try:
        option_values.channels(json.loads(text or "{}"))
    except ValueError:
        found = f"{text[:40]!r} does not say in JSON which filters reducers keep"
        raise PlanError(f"{where}: {found}", remedy="delete the line to measure it again") from None
    return text


def digest(text: str) -> str:
    """Return a digest of text that may hold any characters."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
