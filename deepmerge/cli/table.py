"""deepmerge table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.chart import check_chart
from deepmerge.cli.image_options import PREPROCESSING, Preprocessing, limit, preprocessing, running, strict
from deepmerge.cli.next_command import after_measuring
from deepmerge.cli.options import (
    MORE,
    SPEC,
    Amount,
    Checked,
    command,
    common,
    given,
    inputs,
    option,
    options,
    original,
    refuse,
    tops,
)
from deepmerge.cli.output import Console, shortened
from deepmerge.cli.output import table as text_table
from deepmerge.engines import ENGINES
from deepmerge.names import for_terminal
from deepmerge.text import count, milliseconds


@command(short_help="show a conversion step by step: accuracy and time")
@click.argument("words", nargs=-1, required=True, metavar="OUT [OUT2 ...]")
@option(
    "--data", default="", show_default=False, metavar="SPEC", help=f"Labelled images to measure accuracy on: {SPEC}."
)
@option("--top", type=Checked("K,K", tops), default="1,5", help="Values of k for top-k accuracy.")
@limit
@inputs
@running
@option("--time-engine", type=click.Choice(list(ENGINES)), help="Engine to time.  [default: that of --engine]")
@option("--seconds", type=Amount(0), default=60.0, metavar="N", help="Time limit for the timing; 0 skips it.")
@option(
    "--png",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    metavar="FILE",
    help="Also draw the table as a picture (needs matplotlib).",
)
@options(
    original,
    option(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Batch size for the accuracy. Default: what fits into memory.",
    ),
    heading=MORE,
)
@strict
@preprocessing()
@common
def table(words: tuple[str, ...], png: Path | None, images: Preprocessing, console: Console, **chosen: Any):
    """Show a conversion step by step: what was merged, accuracy, the time of one forward, and the speed-up.

    OUT is what convert wrote. Folders that recover and finetune made of it may follow; each adds a column (NAME=OUT2
    names it). The row of a step shows the network with all steps up to it. The row int8 shows model-int8.onnx.

    \b
    Examples:
      deepmerge table out/ --data npz:test.npz
      deepmerge table out/ recovered/ tuned/ --data folder:val --time-engine caffe --png table.png
      deepmerge table out/ --json > table.json
    """
    if not chosen["data"] and not chosen["seconds"]:
        raise click.UsageError("nothing is left to show: give --data for the accuracy, or --seconds above 0 for times")
    if not chosen["data"]:
        refuse(given("top", "limit", "batch_size", *PREPROCESSING), "has no effect without --data")
    if not chosen["seconds"]:
        refuse(given("time_engine"), "has no effect with --seconds 0")
    check_chart("--png", png)
    from deepmerge import tabulate
    from deepmerge.out.read import Pair, read_converted

    chosen["original"] = chosen["original"] and Pair(*chosen["original"])
    named = [_named(word) for word in words]
    chosen |= {"titles": [name for name, _ in named], "wishes": images.wishes()}
    with console.progress() as progress:
        report = tabulate([path for _, path in named], progress=progress, **chosen)
    console.warn(report["warnings"])
    console.show(report, lambda: as_text(report))
    if png is not None:
        from deepmerge.measure.steps.chart import draw

        draw(report, png)
    last = named[-1][1]
    console.next(after_measuring(last, read_converted(last).report))


def _named(word: str) -> tuple[str, Path]:
    """Return NAME and OUT of NAME=OUT. A folder whose own name has a = in it is a folder."""
    name, equals, path = word.partition("=")
    return (name, Path(path)) if equals and name and path and not Path(word).exists() else ("", Path(word))


def as_text(report: dict) -> str:
    """Return the table, and what it was measured with."""
    first, titles = report["rows"][0], [column["title"] for column in report["columns"]]
    ks, timed = list(first["top"]["original"]) if first["top"] else [], first["seconds"] is not None
    head = ["", "step", "merged"]
    head += [f"{title} top-{k}" for title in titles for k in ks]
    head += ["ms", "times as fast"] if timed else []
    rows = [[*_step(row), *_accuracies(row, titles, ks), *(_times(row) if timed else [])] for row in report["rows"]]
    about = [f"{report['images']} images of {report['data']}, engine {report['engine']}"] if ks else []
    about += [f"times of one forward on {report['time_engine']}, {count(report['threads'], 'thread')}"] if timed else []
    about.append(report["machine"]["processor"])
    return text_table(rows, head, "rll" + "r" * (len(head) - 3)) + "\n\n" + for_terminal("; ".join(about))


def _step(row: dict) -> list:
    index = "" if row["index"] is None else row["index"]
    return [index, row["step"] or "original", shortened(row["merged"], 40)]


def _accuracies(row: dict, titles: list[str], ks: list[str]) -> list[str]:
    cells = []
    for title in titles if ks else ():
        found = row["top"].get(title) or (row["top"].get("original") if row["step"] is None else None)
        cells += [f"{found[k]:.2%}" if found else "" for k in ks]
    return cells


def _times(row: dict) -> list[str]:
    speedup = row["speedup"]
    if speedup is None:
        return ["", ""]
    interval = f"({speedup['low']:.2f}–{speedup['high']:.2f})"
    return [milliseconds(row["seconds"]["median"]), f"{speedup['value']:.2f} {interval}"]
