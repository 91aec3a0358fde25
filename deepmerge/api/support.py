"""What the API's modules share: the types of its arguments and results, a solver's fields, a notebook's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmerge.names import for_html

PathLike = str | Path
Report = dict[str, Any]


def overrides(solver: Mapping[str, str] | None) -> dict[str, str]:
    """Return the solver's fields; EmitError for one that Caffe's solver does not have."""
    from deepmerge.formats.write.solver import parse_override

    return dict(parse_override(f"{key}={value}") for key, value in (solver or {}).items())


def as_html(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a notebook, with whatever its cells hold escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{for_html(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><caption>{for_html(title)}</caption><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
