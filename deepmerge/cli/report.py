"""deepmerge report."""

from __future__ import annotations

import click

from deepmerge.cli.options import FILE, common
from deepmerge.cli.output import show, show_json


@click.command(short_help="a conversion as a page to look at")
@click.argument("folder", metavar="OUT", type=FILE)
@click.option("-o", "--out", "file", metavar="FILE", type=FILE, help="The page.  [default: OUT/report.html]")
@click.option(
    "--profile", metavar="FILE.json", type=FILE, help="Times layer by layer, as `deepmerge profile --json` wrote them."
)
@click.option(
    "--bench",
    metavar="FILE.json",
    type=FILE,
    help="Times, memory, energy, accuracy, as `deepmerge bench --json` wrote them.",
)
@click.option(
    "--table",
    metavar="FILE.json",
    type=FILE,
    help="Accuracy and time step by step, as `deepmerge table --json` wrote them.",
)
@click.option(
    "--original", type=(FILE, FILE), metavar="PROTOTXT CAFFEMODEL", help="The original, if not where report.json says."
)
@click.option("--force", is_flag=True, help="Replace an existing page.")
@common
def report(folder, file, original, force, as_json, quiet, verbose, debug, **files):
    """Write one HTML page about what `convert` (or recover, or finetune) left in OUT: what was merged, and what was left
    alone and why; the layers before and after, step by step; where the time goes; speed against accuracy; how to fine-tune.

    The page is one file and loads nothing, so that it can be sent on. What was not measured is counted, and called so:
    --profile, --bench and --table put measurements in.

    \b
    Examples:
      deepmerge report out/
      deepmerge report out/ --profile profile.json --table table.json -o page.html
    """
    from deepmerge.out.read import Pair
    from deepmerge.page import Files, write_page

    written = write_page(folder, file, original and Pair(*original), Files(**files), force)
    if as_json:
        show_json({"page": str(written), "bytes": written.stat().st_size})
    else:
        show(f"written to {written}", quiet)
