"""A manifest, zoo.toml: which models there are, how each is converted, and what must be true of the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.names import for_path, for_toml, from_toml
from deepmerge.targets.names import TARGETS
from deepmerge.text import did_you_mean
from deepmerge.toml import parsed
from deepmerge.zoo.files import expand
from deepmerge.zoo.options import Converter

VERSION = 1
SECONDS = 3600.0  # that a model may take, where the manifest does not say
KINDS = ("prototxt", "caffemodel")
TOP = ("version", "defaults", "model")
NOTES = ("tags", "licence", "source")  # say something about a model, and change nothing
SHARED = ("expect", "limits", *NOTES)  # keys that [defaults] may have, beside the options of convert
OWN = ("name", *KINDS, "sha256", *SHARED)
MAX_LENGTH = 1 << 26  # characters; 10,000 models take about 2 million
_MOST = 1e15  # of any number: no machine has more bytes, or as many seconds
_ZOO = re.compile(r"index\.html|index(-\d+-of-\d+)?\.jsonl")  # files in OUT that are the zoo's own
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Expect:
    """What must be true of a converted model; None where nothing is asked.

    verify: the largest difference of outputs, as a share of their range. max_loss: percentage points of top-1 on the
    images of `data`, of which at most `images` are used. speedup: at least. target: what must take the network.
    """

    verify: float | None = None
    max_loss: float | None = None
    data: str | None = None
    images: int | None = None
    speedup: float | None = None
    target: str | None = None


@dataclass(frozen=True)
class Limits:
    """What the process of a model may take. gigabytes: None for its share of the machine's memory."""

    seconds: float = SECONDS
    gigabytes: float | None = None


@dataclass(frozen=True)
class Model:
    """A model of a manifest.

    prototxt, caffemodel: URLs, or paths from the manifest's folder on. sha256: what they must be, by kind. words: the
    options of convert, as words. reads: the other files and images that these options name, by key.
    notes: tags, licence and source. number: its place in the manifest, from 1 on.
    """

    number: int
    name: str
    prototxt: str
    caffemodel: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    expect: Expect = Expect()
    limits: Limits = Limits()
    reads: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The name of its folder in OUT."""
        return for_path(self.name)


@dataclass(frozen=True)
class Manifest:
    """The models, in order, and what is wrong with the manifest, one line each; [] if it can be used."""

    file: Path
    models: list[Model]
    problems: list[str]

    @property
    def folder(self) -> Path:
        """The folder from which its paths go on."""
        return self.file.absolute().parent


def read_manifest(file: str | Path, converter: Converter) -> Manifest:
    """Return the manifest in a file; ReadError if it cannot be read, or is no TOML."""
    file = Path(file)
    reader = _Reader(file, converter)
    try:
        models = list(reader.models(_load(file)))
    except RecursionError:
        raise ReadError("nests lists too deeply", file, remedy="use flat lists and tables") from None
    return Manifest(file, models, [*reader.problems, *_clashes(file, models)])


def _load(file: Path) -> dict[str, Any]:
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read(MAX_LENGTH + 1)
        if len(text) > MAX_LENGTH:
            raise ReadError(f"is longer than {MAX_LENGTH:,} characters", file, remedy="use globs, or several manifests")
        return parsed(text)
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror}", file) from None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"is not TOML: {error}", file) from None


class _Reader:
    """Reads a manifest's tables, and collects what is wrong with them."""

    def __init__(self, file: Path, converter: Converter):
        self._file, self._converter = file, converter
        self._checked: dict[tuple[str, ...], str] = {}  # what is wrong with these words; most models share theirs
        self.problems: list[str] = []

    def models(self, data: dict[str, Any]) -> Iterator[Model]:
        """Yield the models that can be read."""
        self._known(data, TOP, f"{self._file}")
        version = data.get("version")
        if type(version) is not int or version != VERSION:
            found = f"version {version!r} is not known" if "version" in data else "has no version"
            self.problems.append(f"{self._file}: {found}; begin it with: version = {VERSION}")
        defaults, entries = data.get("defaults", {}), data.get("model", [])
        if not isinstance(defaults, dict):
            defaults = self._wrong(f"{self._file}", "defaults are written as [defaults]", {})
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            entries = self._wrong(f"{self._file}", "models are written as [[model]]", [])
        elif not entries:
            self._wrong(f"{self._file}", "has no [[model]]; `deepmerge zoo init FOLDER` writes a manifest", None)
        self._known(defaults, (*SHARED, *self._converter.options), f"{self._file}: [defaults]")
        number = 0
        for place, entry in enumerate(entries, 1):
            where = f"{self._file}: model {entry.get('name', place)!r}"
            self._known(entry, (*OWN, *self._converter.options), where)
            for model in self._expanded(_merged(defaults, entry), where, number):
                number = model.number
                yield model

    def _expanded(self, entry: dict[str, Any], where: str, before: int) -> Iterator[Model]:
        """Yield the models of one [[model]], of which globs make several; the first has the number before + 1."""
        texts = {key: self._text(entry, key, where) for key in ("name", *KINDS)}
        if not texts["prototxt"]:
            self._wrong(where, "has no prototxt", None)
            return
        try:
            trios = expand(self._file.parent, texts["name"], texts["prototxt"], texts["caffemodel"])
        except (ValueError, OSError, ReadError) as error:
            self._wrong(where, str(error), None)
            return
        sha256 = self._sha256(entry.get("sha256", {}), where)
        if sha256 and len(trios) > 1:
            self._wrong(where, "sha256 is of one model, and the globs find several; give each its [[model]]", None)
        words, reads = self._words(entry, where)
        common = {"sha256": sha256, "words": words, "reads": reads, "notes": self._notes(entry, where)}
        common |= {"expect": self._expect(entry, where), "limits": self._limits(entry, where)}
        for number, trio in enumerate(trios, before + 1):
            yield Model(number, *trio, **common)

    def _words(self, entry: dict[str, Any], where: str) -> tuple[tuple[str, ...], dict[str, str]]:
        words: list[str] = []
        reads: dict[str, str] = {}
        for key, option in self._converter.options.items():
            if key not in entry:
                continue
            try:
                words += option.words(entry[key])
            except ValueError as error:
                self._wrong(f"{where}, {key}", str(error), None)
                continue
            if option.reads:
                reads[key] = str(entry[key])
        found = tuple(words)
        if found not in self._checked:
            self._checked[found] = ""
            try:
                self._converter.check(found)
            except ValueError as error:
                self._checked[found] = str(error)
        if self._checked[found]:
            self._wrong(where, self._checked[found], None)
        return found, reads

    def _expect(self, entry: dict[str, Any], where: str) -> Expect:
        table, where = self._table(entry, "expect", Expect.__dataclass_fields__, where), f"{where}, expect"
        for key in ("verify", "max_loss", "speedup", "images"):
            if key in table:
                table[key] = self._number(table[key], f"{where}, {key}", whole=key == "images")
        if ("max_loss" in table) != ("data" in table):
            self._wrong(where, "max_loss and data go together: the loss is measured on the images of data", None)
        if "images" in table and "data" not in table:
            self._wrong(where, "images has no effect without data", None)
        if "data" in table and not isinstance(table["data"], str):
            self._wrong(f"{where}, data", f"expected a source such as 'folder:photos', found {table['data']!r}", None)
        if "target" in table and table["target"] not in TARGETS:
            known = did_you_mean(str(table["target"]), TARGETS)
            self._wrong(f"{where}, target", f"there is no target {table['target']!r}; {known}", None)
        return Expect(**table)

    def _limits(self, entry: dict[str, Any], where: str) -> Limits:
        table = self._table(entry, "limits", Limits.__dataclass_fields__, where)
        return Limits(**{key: self._limit(value, f"{where}, limits, {key}") for key, value in table.items()})

    def _notes(self, entry: dict[str, Any], where: str) -> dict[str, Any]:
        notes = {key: entry[key] for key in NOTES if key in entry}
        tags = notes.get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            self._wrong(f"{where}, tags", f"expected a list of strings, found {tags!r}", None)
        for key in NOTES[1:]:
            self._text(notes, key, where)
        return notes

    def _sha256(self, value: Any, where: str) -> dict[str, str]:
        table = self._table({"sha256": value}, "sha256", KINDS, where)
        for kind, text in table.items():
            if not isinstance(text, str) or not _SHA256.fullmatch(text.lower()):
                self._wrong(f"{where}, sha256, {kind}", f"expected 64 hexadecimal digits, found {text!r}", None)
        return {kind: str(text).lower() for kind, text in table.items()}

    def _table(self, entry: dict[str, Any], key: str, allowed: Iterable[str], where: str) -> dict[str, Any]:
        """Return a copy of a table in an entry, without the keys that are not known."""
        table = entry.get(key, {})
        if not isinstance(table, dict):
            return self._wrong(f"{where}, {key}", f"expected a table, found {table!r}", {})
        self._known(table, allowed, f"{where}, {key}")
        return {name: value for name, value in table.items() if name in allowed}

    def _number(self, value: Any, where: str, whole: bool = False) -> float:
        kinds = (int,) if whole else (int, float)
        if type(value) not in kinds or not 0 <= value <= _MOST or (whole and not value):
            form = "a whole number from 1 on" if whole else "a number from 0 on"
            form += f" and at most {_MOST:g}" if type(value) in kinds and value > _MOST else ""
            return self._wrong(where, f"expected {form}, found {value!r}", 1)
        return value

    def _limit(self, value: Any, where: str) -> float:
        if value == 0:
            return self._wrong(where, "expected a number above 0, found 0; without the key, the default holds", 1)
        return self._number(value, where)

    def _text(self, entry: Mapping[str, Any], key: str, where: str) -> str:
        value = entry.get(key, "")
        if not isinstance(value, str):
            return self._wrong(f"{where}, {key}", f"expected a string, found {value!r}", "")
        return from_toml(value)

    def _known(self, table: dict[str, Any], allowed: Iterable[str], where: str) -> None:
        for key in table:
            if key not in allowed:
                self._wrong(where, f"unknown key {key!r}; {did_you_mean(key, allowed)}", None)

    def _wrong(self, where: str, what: str, instead: Any) -> Any:
        """Note what is wrong, and return `instead`."""
        self.problems.append(f"{where}: {what}")
        return instead


def _merged(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the defaults that it does not replace; tables are joined key by key."""
    made = {"report": True, **defaults, **entry}  # the index links to each report.html
    for key in ("expect", "limits"):
        if isinstance(defaults.get(key), dict) and isinstance(entry.get(key), dict):
            made[key] = {**defaults[key], **entry[key]}
    return made


def _clashes(file: Path, models: list[Model]) -> list[str]:
    """Return a line for each model whose folder in OUT is another one's. Some systems do not tell A from a."""
    taken: dict[str, str] = {}
    lines = []
    for model in models:
        key = model.folder.lower()
        if key in taken or _ZOO.fullmatch(key):
            owner = f"model {taken[key]!r}" if key in taken else "the zoo"
            lines.append(f"{file}: model {model.name!r}: its folder, {model.folder}, is that of {owner}; rename it")
        taken.setdefault(key, model.name)
    return lines


def manifest_text(trios: Iterable[tuple[str, str, str]], unpaired: Iterable[str] = ()) -> str:
    """Return a manifest of these models: name, prototxt, caffemodel. unpaired: files that a comment names."""
    from deepmerge.names import for_comment

    parts = [f"version = {VERSION}\n\n[defaults]\nexact = true\n"]
    for trio in trios:
        lines = [f"{key} = {for_toml(value)}\n" for key, value in zip(("name", *KINDS), trio, strict=True)]
        parts.append("[[model]]\n" + "".join(lines))
    parts += [f"# no prototxt was found for {for_comment(one)}\n" for one in unpaired]
    return "\n".join(parts)
