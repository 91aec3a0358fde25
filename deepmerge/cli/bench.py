"""deepmerge bench."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import click

from deepmerge.cli.image_options import PREPROCESSING, Preprocessing, limit, preprocessing
from deepmerge.cli.network_options import Measuring, measuring, random_note, require_measured, settings_line
from deepmerge.cli.options import (
    FILE,
    MORE,
    SPEC,
    Amount,
    Checked,
    Listed,
    bundle,
    command,
    common,
    given,
    option,
    options,
    refuse,
)
from deepmerge.cli.output import Console, table
from deepmerge.measure import WHAT

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def _limit(text: str) -> int | str:
    if text == "device" or isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is neither an amount of memory, such as 500MB or 2GiB, nor 'device'")
    return int(float(match[1]) * UNITS[match[2] or ""])


@dataclass(frozen=True)
class Figures:
    """What is measured beside sizes."""

    what: tuple[str, ...]
    memory: int | str | None
    data: str | None
    limit: int | None


figures = bundle(
    "figures",
    Figures,
    option(
        "--measure",
        "what",
        type=Listed(WHAT, empty=False),
        default=",".join(WHAT),
        help=f"What to measure in addition to sizes: {', '.join(WHAT)}.",
    ),
    option(
        "--memory",
        type=Checked("LIMIT", _limit),
        metavar="LIMIT",
        help="Find the largest batch whose process stays within LIMIT, such as 1GB; 'device': all GPU memory.",
    ),
    option("--data", metavar="SPEC", help=f"Labelled images to measure accuracy on: {SPEC}."),
    limit,
)


@dataclass(frozen=True)
class Output:
    """How the result is printed, and what it is compared with."""

    as_csv: bool
    as_markdown: bool
    against: Path | None
    tolerance: float


output = bundle(
    "output",
    Output,
    option("--against", type=FILE, metavar="FILE", help="Fail if a ratio is worse than in this earlier --json result."),
    option("--csv", "as_csv", is_flag=True, help="Print the result as CSV, one figure a line."),
    option("--markdown", "as_markdown", is_flag=True, help="Print the result as Markdown tables."),
    options(
        option(
            "--tolerance",
            type=Amount(0),
            default=0.05,
            metavar="X",
            help="How much worse a ratio may get before --against fails: 0.05 is 5 %.",
        ),
        heading=MORE,
    ),
)


@command(short_help="compare networks: time, size, memory, energy, accuracy")
@measuring
@figures
@output
@preprocessing()
@common
def bench(measuring: Measuring, figures: Figures, output: Output, images: Preprocessing, console: Console):
    """Measure networks side by side on every installed engine: time, size, memory, energy, accuracy.

    NET is a folder that `convert` wrote, an ONNX file in it, or PROTOTXT, or PROTOTXT CAFFEMODEL; NAME=NET gives it a
    name. Without a caffemodel the weights are random. Every network is compared with the first. A folder's
    model-int8.onnx is measured too, and a folder alone is compared with its original. --against compares time, memory
    and size, as shares of the first network's.

    \b
    Examples:
      deepmerge bench out/
      deepmerge bench net.prototxt net.caffemodel out/
      deepmerge bench before=net.prototxt net.caffemodel after=out/ --engine caffe,ort --memory 1GB --markdown
      deepmerge bench net.prototxt net.caffemodel out/ --against baseline.json
    """
    _check_usage(measuring, figures, output, console)
    from deepmerge.measure.bench import Settings
    from deepmerge.measure.bench import bench as measure
    from deepmerge.measure.bench.against import read_baseline

    baseline = output.against and read_baseline(output.against)
    with console.progress():
        nets = measuring.read(variants=True)
    for net in nets:
        console.warn(net.graph.warnings)
    m = measuring
    settings = Settings(m.engines_for(nets), figures.what, m.threads, m.device, m.budget(), figures.memory, seed=m.seed)
    with console.progress() as progress:
        accuracies, warnings = _accuracies(nets, figures, images, progress)
        report = measure(nets, settings, progress)
    console.warn(warnings)
    for entry in report["networks"]:
        entry["accuracy"] = accuracies.get(entry["label"])
    console.show(report, lambda: _text(report, output))
    if baseline:
        _judge(report, baseline, output)
    require_measured(report)


def _check_usage(measuring: Measuring, figures: Figures, output: Output, console: Console) -> None:
    """Raise UsageError for options that exclude each other or have no effect."""
    if console.as_json + output.as_csv + output.as_markdown > 1:
        raise click.UsageError("--json, --csv and --markdown exclude each other")
    if figures.memory == "device" and measuring.device == "cpu":
        raise click.UsageError("--memory device is the GPU's: give --device cuda, or an amount such as 1GB")
    if output.against is None:
        refuse(given("tolerance"), "has no effect without --against")
    if figures.data is None:
        refuse(given("limit", *PREPROCESSING), "has no effect without --data")


def _accuracies(nets, figures: Figures, images: Preprocessing, progress) -> tuple[dict[str, dict], list[str]]:
    """Return top-1 and top-5 accuracy by label, for the networks that have weights of their own, and warnings."""
    if figures.data is None:
        return {}, []
    from deepmerge import evaluate

    found, warnings = {}, {}
    for net in nets:
        if not net.random:
            pair = net.source.onnx or (net.source.prototxt, net.source.caffemodel)
            how = {"wishes": images.wishes(), "limit": figures.limit, "progress": progress}
            how["inputs"] = net.graph.given_inputs
            report = evaluate(pair, figures.data, **how)
            top = report["networks"][-1]["top"]
            found[net.label] = {"data": figures.data, "images": report["images"], "top": top}
            shown = tuple(net.graph.warnings)
            warnings |= dict.fromkeys(line for line in report["warnings"] if not line.endswith(shown))
    return found, list(warnings)


def _text(report: dict, output: Output) -> str:
    from deepmerge.measure.bench.tables import CSV_HEAD, figures, markdown, notes, tables

    if output.as_csv:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([CSV_HEAD, *figures(report)])
        return text.getvalue().rstrip("\n")
    preface = "\n\n".join(filter(None, [settings_line(report), random_note(report["networks"])]))
    if output.as_markdown:
        return markdown(report, preface)
    parts = [table(one.rows, one.head, "l" + "r" * (len(one.head) - 1)) for one in tables(report)]
    return "\n\n".join([preface, *parts, *notes(report)])


def _judge(report: dict, baseline: dict, output: Output) -> None:
    """Raise an error that names what got worse, if anything did."""
    from deepmerge.errors import DeepmergeError
    from deepmerge.measure.bench.against import worse

    if lines := worse(report, baseline, output.tolerance):
        more = f" (and {len(lines) - 1} more: {'; '.join(lines[1:])})" if len(lines) > 1 else ""
        raise DeepmergeError(f"worse than {output.against} by more than {output.tolerance:.0%}: {lines[0]}{more}")
