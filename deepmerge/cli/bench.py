"""deepmerge bench."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import click

from deepmerge.cli.image_options import PREPROCESSING, image_wishes, mirror, preprocessing
from deepmerge.cli.network_options import budget, networks, random_note, read, settings_line
from deepmerge.cli.options import FILE, Checked, Listed, common, given
from deepmerge.cli.output import Progress, show, show_json, table, warn

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
WHAT = ("time", "memory", "energy")


def _limit(text: str) -> int | str:
    if text == "device" or isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is neither an amount of memory, such as 500MB or 2GiB, nor 'device'")
    return int(float(match[1]) * UNITS[match[2] or ""])


@click.command(short_help="networks side by side: time, size, memory, energy, accuracy")
@networks
@click.option(
    "--measure",
    "what",
    type=Listed(WHAT, empty=False),
    default=",".join(WHAT),
    show_default=True,
    help="What to measure, beside sizes.",
)
@click.option(
    "--memory",
    "limit",
    type=Checked("LIMIT", _limit),
    metavar="LIMIT",
    help="Find the largest batch whose process stays within it: 1GB; 'device' is all of the GPU's.",
)
@click.option(
    "--data",
    metavar="SPEC",
    help="Accuracy on these images, too: folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE.",
)
@click.option("--limit", "images", type=click.IntRange(1), metavar="N", help="At most so many of them, spread evenly.")
@preprocessing
@mirror("Each image and its mirror image: the mean of their scores.")
@click.option("--csv", "as_csv", is_flag=True, help="The result as CSV, a figure a line.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The result as Markdown's tables.")
@click.option("--against", type=FILE, metavar="BASELINE.json", help="Fail where a ratio got worse since this --json.")
@click.option(
    "--tolerance", type=click.FloatRange(0), default=0.05, show_default=True, help="By how much it may, as a share."
)
@common
def bench(words, engines, threads, batch, device, repeat, seconds, seed, as_json, quiet, verbose, debug, **chosen):
    """Measure networks side by side on every engine that is installed: time and speed-up, parameters, MACs, storage,
    activation memory, peak memory of the process, energy of an image where the machine has a meter, the largest batch
    (with --memory), accuracy (with --data). The first network is what the others are compared with.

    NET is a folder that `convert` wrote, or PROTOTXT, or PROTOTXT CAFFEMODEL; NAME=NET gives it a name. Without a caffemodel
    the weights are random. With --against, exit code 1 where a network's time, memory or size, as a share of the first
    network's, is greater than it was by more than --tolerance.

    \b
    Examples:
      deepmerge bench net.prototxt net.caffemodel out/
      deepmerge bench before=net.prototxt net.caffemodel after=out/ --engine caffe,ort --memory 1GB --markdown
      deepmerge bench net.prototxt net.caffemodel out/ --json > baseline.json
      deepmerge bench net.prototxt net.caffemodel out/ --against baseline.json --tolerance 0.05
    """
    if as_json + chosen["as_csv"] + chosen["as_markdown"] > 1:
        raise click.UsageError("--json, --csv and --markdown exclude each other")
    if chosen["limit"] == "device" and device == "cpu":
        raise click.UsageError("--memory device is the GPU's: give --device cuda, or an amount such as 1GB")
    if chosen["data"] is None and (useless := given("images", *PREPROCESSING)):
        raise click.UsageError(
            f"--{'limit' if useless[0] == 'images' else useless[0].replace('_', '-')} goes with --data"
        )
    from deepmerge.measure.bench import Settings
    from deepmerge.measure.bench import bench as measure
    from deepmerge.measure.bench.against import read_baseline, worse

    baseline = chosen["against"] and read_baseline(chosen["against"])
    nets = read(words, batch)
    for net in nets:
        warn(net.graph.warnings, quiet)
    settings = Settings(engines, chosen["what"], threads, device, budget(repeat, seconds), chosen["limit"], seed=seed)
    progress = Progress(quiet or as_json)
    try:
        accuracies = _accuracies(nets, chosen, threads, progress)
        report = measure(nets, settings, progress)
    finally:
        progress.clear()
    for entry in report["networks"]:
        entry["accuracy"] = accuracies.get(entry["label"])
    _show(report, as_json, chosen, quiet)
    if baseline:
        _judge(worse(report, baseline, chosen["tolerance"]), chosen["against"], chosen["tolerance"])


def _accuracies(nets, chosen, threads, progress) -> dict[str, dict]:
    """Label → top-1 and top-5 accuracy, of the networks that have weights of their own."""
    wishes = image_wishes(chosen)
    if chosen["data"] is None:
        return {}
    from deepmerge.measure.accuracy import Job, run
    from deepmerge.out.read import Pair

    found = {}
    for net in nets:
        if not net.random:
            pair = Pair(net.source.prototxt, net.source.caffemodel)
            told = run(Job(pair, chosen["data"], wishes, limit=chosen["images"], threads=threads), progress)
            found[net.label] = {"data": chosen["data"], "images": told["images"], "top": told["networks"][-1]["top"]}
    return found


def _show(report: dict, as_json: bool, chosen: dict, quiet: bool) -> None:
    from deepmerge.measure.bench.tables import CSV_HEAD, figures, markdown, notes, tables

    if as_json:
        return show_json(report)
    preface = "\n\n".join(filter(None, [settings_line(report), random_note(report["networks"])]))
    if chosen["as_csv"]:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([CSV_HEAD, *figures(report)])
        show(text.getvalue().rstrip("\n"), quiet)
    elif chosen["as_markdown"]:
        show(markdown(report, preface), quiet)
    else:
        parts = [table(one.rows, one.head, "l" + "r" * (len(one.head) - 1)) for one in tables(report)]
        show("\n\n".join([preface, *parts, *notes(report)]), quiet)


def _judge(lines: list[str], baseline: Path, tolerance: float) -> None:
    """Exit code 1, and what got worse, if anything did."""
    from deepmerge.errors import DeepmergeError

    if lines:
        more = f" (and {len(lines) - 1} more: {'; '.join(lines[1:])})" if len(lines) > 1 else ""
        raise DeepmergeError(f"worse than {baseline} by more than {tolerance:.0%}: {lines[0]}{more}")
