"""A summary in Markdown, as the page of a CI job shows it."""

from __future__ import annotations

from deepmerge.names import for_markdown
from deepmerge.text import scaled, share_left
from deepmerge.zoo.record import CONVERTED
from deepmerge.zoo.summary import Row, Summary, waiting

_MOST = 200  # rows of each table; a job's summary takes 1 MB


def markdown(summary: Summary, title: str) -> str:
    """Return the counts, the failures with their lines, and the models that were converted."""
    parts = [f"## {for_markdown(title)}", for_markdown(str(summary))]
    failed = [row for row in summary.bad if not waiting(row)]
    good = [row for row in summary.rows if row.status == CONVERTED]
    if failed:
        parts.append(_table(("model", "", "why"), "lll", [(row.name, row.status, row.line) for row in failed]))
    if good:
        head = ("model", "seconds", "layers", "MACs before", "after", "left", "merges refused")
        parts.append(_table(head, "lrrrrrr", [_converted(row) for row in good]))
    return "\n\n".join(parts) + "\n"


def _converted(row: Row) -> tuple[str, ...]:
    before, after = row.macs or (0, 0)
    layers = "{} → {}".format(*row.layers or ("", ""))
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    return row.name, seconds, layers, scaled(before), scaled(after), share_left(before, after), str(row.refusals or 0)


def _table(head: tuple[str, ...], sides: str, rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---:" if side == "r" else "---" for side in sides)]
    lines += [tuple(map(for_markdown, row)) for row in rows[:_MOST]]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return text + (f"\n\n… and {len(rows) - _MOST} more in index.html" if len(rows) > _MOST else "")
