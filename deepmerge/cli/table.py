"""deepmerge table."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.eval import tops
from deepmerge.cli.image_options import image_wishes, preprocessing, running
from deepmerge.cli.options import FILE, Checked, common
from deepmerge.cli.output import Progress, count, shortened, show, show_json, warn
from deepmerge.cli.output import table as text_table
from deepmerge.engines import ENGINES


@click.command(short_help="a conversion as a table: accuracy and time, step by step")
@click.argument("words", nargs=-1, required=True, metavar="OUT [OUT2 ...]")
@click.option(
    "--data", default="", metavar="SPEC", help="Labelled images for the accuracy: folder:PATH, list:FILE, npz:FILE, …"
)
@click.option("--top", type=Checked("K,K", tops), default="1,5", show_default=True, help="Which top-k to count.")
@click.option("--original", type=(FILE, FILE), metavar="PROTOTXT CAFFEMODEL", help="If not where report.json says.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many images, spread evenly.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="For the accuracy. Default: what memory allows."
)
@running
@click.option(
    "--time-engine",
    type=click.Choice(list(ENGINES)),
    help="What the times are measured on.  [default: that of --engine]",
)
@click.option(
    "--seconds", type=click.FloatRange(0), default=60.0, show_default=True, help="For the times, at most; 0: no times."
)
@click.option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A picture, too (needs matplotlib)."
)
@preprocessing
@click.option("--strict", is_flag=True, help="Fail on a warning, such as an image that cannot be read.")
@common
def table(words, png, as_json, quiet, verbose, debug, **chosen):
    """Show a conversion step by step: what was merged, the accuracy before and after recovery and fine-tuning, the time
    of one forward, and how many times as fast as the original that is.

    OUT is what convert wrote; what recover and finetune made of it may stand behind it, a column each (NAME=OUT2 names it).
    The row of a step is the network with all steps up to it.

    \b
    Examples:
      deepmerge table out/ --data npz:test.npz
      deepmerge table out/ recovered/ tuned/ --data folder:val --time-engine caffe --png table.png
      deepmerge table out/ --json > table.json
    """
    from deepmerge.measure.steps import Job, run
    from deepmerge.out.read import Pair

    chosen["original"] = chosen["original"] and Pair(*chosen["original"])
    if not chosen["data"] and not chosen["seconds"]:
        raise click.UsageError(
            "without --data there is no accuracy, and with --seconds 0 no time: nothing is left to show"
        )
    named = [_named(word) for word in words]
    job = Job([path for _, path in named], [name for name, _ in named], wishes=image_wishes(chosen), **chosen)
    progress = Progress(quiet or as_json)
    try:
        report = run(job, progress)
    finally:
        progress.clear()
    warn(report["warnings"], quiet)
    if png is not None:
        from deepmerge.measure.steps.chart import draw

        draw(report, png)
    if as_json:
        show_json(report)
    else:
        show(told(report), quiet)


def _named(word: str) -> tuple[str, Path]:
    """NAME and OUT of NAME=OUT; a folder whose name has a = in it is a folder."""
    name, equals, path = word.partition("=")
    return (name, Path(path)) if equals and name and path and not Path(word).exists() else ("", Path(word))


def told(report: dict) -> str:
    """The table, and what it was measured with."""
    from deepmerge.text import milliseconds

    rows, columns = report["rows"], [column["title"] for column in report["columns"]]
    head, right = ["", "step", "merged"], "rll"
    ks = list(rows[0]["top"]["original"]) if rows[0]["top"] else []
    for title in columns if ks else ():
        head += [f"{title} top-{k}" for k in ks]
    timed = rows[0]["seconds"] is not None
    head += ["ms", "times as fast"] if timed else []
    made = []
    for row in rows:
        line = [
            row["index"] if row["index"] is not None else "",
            row["step"] or "original",
            shortened(row["merged"], 40),
        ]
        for title in columns if ks else ():
            found = row["top"].get(title) or (row["top"].get("original") if row["step"] is None else None)
            line += [f"{found[k]:.2%}" if found else "" for k in ks]
        if timed:
            speedup = row["speedup"]
            line += [
                milliseconds(row["seconds"]["median"]),
                f"{speedup['value']:.2f} ({speedup['low']:.2f}–{speedup['high']:.2f})",
            ]
        made.append(line)
    machine = report["machine"]
    about = [f"{report['images']} images of {report['data']}, engine {report['engine']}"] if ks else []
    about += [f"times of one forward on {report['time_engine']}, {count(report['threads'], 'thread')}"] if timed else []
    about.append(machine["processor"])
    return text_table(made, head, right + "r" * (len(head) - 3)) + "\n\n" + "; ".join(about)
