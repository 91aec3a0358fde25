"""deepmerge passes."""

from __future__ import annotations

import click

from deepmerge.cli.options import common
from deepmerge.cli.output import show, show_json, table


@click.command(short_help="the passes: name, exact or not, one line")
@common
def passes(as_json, quiet, verbose, debug):
    """List the passes. With -v, each with its drawing: what it takes and what it makes of it.

    \b
    Example:
      deepmerge passes -v
    """
    import sys

    from deepmerge.passes.registry import PASSES

    if as_json:
        show_json([{"name": p.name, "exact": p.exact, "summary": p.summary} for p in PASSES.values()])
        return
    if verbose:
        show("\n\n".join(f"{p.name}\n\n{sys.modules[p.__module__].__doc__.strip()}" for p in PASSES.values()), quiet)
        return
    show(table([(p.name, "exact" if p.exact else "approximate", p.summary) for p in PASSES.values()]), quiet)
