"""deepmerge passes."""

from __future__ import annotations

import sys

import click

from deepmerge.cli.options import common
from deepmerge.cli.output import show, show_json, table


@click.command(short_help="the passes: name, exact or not, one line")
@common
def passes(as_json, quiet, verbose, debug):
    """List the passes: name, exact or not, one line. With -v, each with its drawing: what it takes and what it makes
    of it.

    \b
    Examples:
      deepmerge passes
      deepmerge passes -v
    """
    from deepmerge.passes.registry import PASSES

    if as_json:
        show_json([{"name": p.name, "exact": p.exact, "summary": p.summary()} for p in PASSES.values()])
    elif verbose:
        show("\n\n".join(f"{p.name}\n\n{sys.modules[p.__module__].__doc__.strip()}" for p in PASSES.values()), quiet)
    else:
        rows = [(p.name, "exact" if p.exact else "approximate", p.summary()) for p in PASSES.values()]
        show(table(rows, ("pass", "output", "what it does")), quiet)
