"""deepmerge passes."""

from __future__ import annotations

import sys

from deepmerge.cli.options import command, common
from deepmerge.cli.output import Console, table


@command(short_help="list all passes and whether each is exact")
@common
def passes(console: Console):
    """List all passes and whether each is exact. With -v, show each pass's drawing: what it takes and what it makes.

    \b
    Examples:
      deepmerge passes
      deepmerge passes -v
    """
    from deepmerge.passes.registry import PASSES

    entries = [{"name": p.name, "exact": p.exact, "summary": p.summary()} for p in PASSES.values()]
    console.show({"passes": entries}, lambda: _drawings(PASSES.values()) if console.verbose else _list(entries))


def _drawings(passes) -> str:
    return "\n\n".join(f"{one.name}\n\n{sys.modules[one.__module__].__doc__.strip()}" for one in passes)


def _list(entries: list[dict]) -> str:
    rows = [(one["name"], "exact" if one["exact"] else "approximate", one["summary"]) for one in entries]
    return table(rows, ("pass", "output", "what it does"))
