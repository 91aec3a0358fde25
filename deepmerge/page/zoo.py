"""The page of a zoo: one table of all models, to sort and to filter, which links to each model's own page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

import deepmerge
from deepmerge.names import for_terminal
from deepmerge.page.assets import asset, head
from deepmerge.page.markup import Html, element, join, shown
from deepmerge.text import figures, scaled, share_left, size

Pair = tuple[int, int] | None
_KIND = b'<p class="kind">deepmerge zoo</p>'  # in zoo.html


@dataclass(frozen=True)
class ModelRow:
    """A model in the table. report, log: links to its page and its log; "" where there is none. why: what failed.

    Figures are before and after, None where there are none. checks: what was measured, by the check's name.
    """

    name: str
    status: str
    report: str
    log: str
    why: str
    layers: Pair
    params: Pair
    macs: Pair
    refusals: int | None
    seconds: float | None
    peak_bytes: int | None
    checks: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    licence: str = ""
    source: str = ""


def zoo_page(title: str, lead: str, rows: Sequence[ModelRow]) -> str:
    """Return the page. The same rows give the same text. lead: the line under the title."""
    script = Html('"use strict";\n{\n' + asset("page.js") + asset("zoo.js") + "}\n")
    style = Html(asset("page.css") + asset("zoo.css"))
    return Template(asset("zoo.html")).substitute(
        head=head(f"{for_terminal(title, 80)} – deepmerge zoo", style, script),
        version=shown(deepmerge.__version__),
        script=script,
        name=shown(for_terminal(title, 200)),
        lead=shown(lead),
        statuses=_statuses(rows),
        table=_table(rows),
    )


def is_zoo_page(data: bytes) -> bool:
    """Return whether a file's content is such a page, of any version."""
    return _KIND in data


def _statuses(rows: Sequence[ModelRow]) -> Html:
    options = [element("option", "all", value="")]
    return join(options + [element("option", one, value=one) for one in dict.fromkeys(row.status for row in rows)])


def _table(rows: Sequence[ModelRow]) -> Html:
    used = [column for column in _COLUMNS if column[0] in _ALWAYS or any(column[2](row) for row in rows)]
    head = element("tr", *(element("th", name, scope="col", class_=kind or None) for name, kind, _ in used))
    body = join((_row(row, used) for row in rows), "\n")
    made = element("table", join([element("thead", head), element("tbody", body)], "\n"))
    return element("div", made, class_="wide", tabindex="0", role="region", aria_label="Table: all models")


def _row(row: ModelRow, used: Sequence[tuple[str, str, Callable]]) -> Html:
    name = element("a", row.name, href=row.report) if row.report else row.name
    cells = [element("th", name, scope="row")]
    cells += [_cell(show(row), kind) for _, kind, show in used[1:]]
    return element("tr", *cells, data_status=row.status)


def _cell(value: Any, kind: str) -> Html:
    """Return a cell; a number that is shown in another form comes with its value, by which the column is sorted."""
    text, number = value if isinstance(value, tuple) else (value, None)
    return element("td", text, class_=kind or None, data_value=number)


def _number(value: float | None, form: Callable[[float], str]) -> tuple[str, float] | str:
    return "" if value is None else (form(value), value)


def _left(pair: Pair) -> tuple[Html, float] | str:
    """Return a figure after, its share of the figure before, and the share, by which it is sorted."""
    if pair is None:
        return ""
    before, after = pair
    return join([scaled(after), " (", share_left(before, after), ")"]), after / before if before else 0.0


def _layers(row: ModelRow) -> tuple[str, int] | str:
    return "" if row.layers is None else (f"{row.layers[0]} → {row.layers[1]}", row.layers[1])


def _outcome(row: ModelRow) -> Html:
    checked = ", ".join(f"{name} {_measured(value)}" for name, value in row.checks.items())
    parts = [part for part in (row.why, checked) if part]
    return join([*parts, *([element("a", "log", href=row.log)] if row.log else [])], " ")


def _measured(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "passed" if value is True else str(value)


_ALWAYS = ("Model", "State")
_COLUMNS: tuple[tuple[str, str, Callable[[ModelRow], Any]], ...] = (
    ("Model", "", lambda row: row.name),
    ("State", "state", lambda row: row.status),
    ("Checks, or why not", "why", _outcome),
    ("Layers", "n", _layers),
    ("Parameters", "n", lambda row: _left(row.params)),
    ("MACs", "n", lambda row: _left(row.macs)),
    ("Merges refused", "n", lambda row: _number(row.refusals, str)),
    ("Seconds", "n", lambda row: _number(row.seconds, figures)),
    ("Memory", "n", lambda row: _number(row.peak_bytes, size)),
    ("Tags", "", lambda row: ", ".join(row.tags)),
    ("Licence", "", lambda row: row.licence),
    ("Source", "why", lambda row: row.source),
)
