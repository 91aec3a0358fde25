"""deepmerge report."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.options import FILE, command, common, inputs, option, original
from deepmerge.cli.output import Console
from deepmerge.names import for_terminal


@command(short_help="write a page about a conversion")
@click.argument("folder", metavar="OUT", type=FILE)
@option("-o", "--out", "file", metavar="FILE", type=FILE, help="Output file.  [default: OUT/report.html]")
@option("--profile", metavar="FILE", type=FILE, help="Add times by layer: the output of `deepmerge profile --json`.")
@option(
    "--bench",
    metavar="FILE",
    type=FILE,
    help="Add times, memory, energy and accuracy: the output of `deepmerge bench --json`.",
)
@option(
    "--table", metavar="FILE", type=FILE, help="Add accuracy and time by step: the output of `deepmerge table --json`."
)
@original
@inputs
@option("--force", is_flag=True, help="Replace an existing page.")
@common
def report(
    folder: Path, file: Path | None, original, force: bool, inputs: dict, console: Console, **files: Path | None
):
    """Write one HTML page about what `convert`, `recover` or `finetune` wrote to OUT.

    It shows what was merged and what was left alone, the layers before and after, where the time goes, speed against
    accuracy, and how to fine-tune. The page is one file that loads nothing. Figures that were not measured are
    computed from the layers' shapes and marked; add measurements with --profile, --bench and --table.

    \b
    Examples:
      deepmerge report out/
      deepmerge report out/ --profile profile.json --table table.json -o page.html
    """
    from deepmerge.out.read import Pair
    from deepmerge.page import Files, write_page

    with console.progress():
        written = write_page(folder, file, original and Pair(*original), Files(**files), force, inputs)
    console.show({"page": str(written), "bytes": written.stat().st_size}, lambda: f"written to {for_terminal(written)}")
