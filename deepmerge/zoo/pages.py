"""index.html: the page of a zoo, beside the models' folders."""

from __future__ import annotations

from pathlib import Path

from deepmerge.out.staging import write_whole
from deepmerge.page.zoo import ModelRow, is_zoo_page, zoo_page
from deepmerge.zoo.summary import Row, Summary

FILE = "index.html"
_KEYS = ("name", "status", "report", "log", "layers", "params", "macs", "refusals", "seconds", "peak_bytes")
_NOTES = ("checks", "tags", "licence", "source")


def write_index_page(out: Path, summary: Summary, title: str) -> None:
    """Write the page into `out`; EmitError if the disk refuses."""
    write_whole(out / FILE, zoo_page(title, str(summary), list(map(_row, summary.rows))))


def is_index_page(file: Path) -> bool:
    """Return whether the file is such a page."""
    return file.is_file() and is_zoo_page(file.read_bytes())


def _row(row: Row) -> ModelRow:
    return ModelRow(why=row.line, **{key: getattr(row, key) for key in _KEYS + _NOTES})
