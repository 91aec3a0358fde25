"""deepmerge eval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.complete import complete_steps
from deepmerge.cli.image_options import Preprocessing, limit, preprocessing, running, strict
from deepmerge.cli.next_command import after_measuring, typed
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
    inputs,
    option,
    options,
    original,
    tops,
)
from deepmerge.cli.output import Console, table
from deepmerge.cli.verify import difference
from deepmerge.names import for_terminal
from deepmerge.text import count


@dataclass(frozen=True)
class Limits:
    """What the accuracy must be, for the exit code."""

    max_drop: float | None
    min_top1: float | None

    @property
    def given(self) -> bool:
        """Whether there is a limit."""
        return (self.max_drop, self.min_top1) != (None, None)

    def judge(self, report: dict[str, Any]) -> None:
        """Raise an error if the last network's accuracy is beyond a limit, or cannot be judged."""
        from deepmerge.errors import DeepmergeError, ReadError

        if not self.given:
            return
        entry = report["networks"][-1]
        if not entry["top"]:
            text = "has no labels, so there is no top-1 for --max-drop and --min-top1"
            raise ReadError(text, report["data"], remedy="give labelled images")
        top1, images = entry["top"][1], count(report["images"], "image")
        if self.min_top1 is not None and top1 * 100 < self.min_top1:
            raise DeepmergeError(
                f"top-1 is {_with_error(top1, entry['error'][1])} on {images}, below {self.min_top1:g}%"
            )
        if self.max_drop is None:
            return
        if entry["drop"] is None:
            raise ReadError("there is no original to compare with, which --max-drop needs", remedy="give --original")
        lost = entry["drop"][1]
        if lost["value"] * 100 > self.max_drop:
            points = f"{_points(lost)} points on {images}, more than {self.max_drop:g}"
            raise DeepmergeError(f"top-1 is below that of {report['against']['name']} by {points}")


within = bundle(
    "limits",
    Limits,
    option(
        "--max-drop", type=Amount(0), metavar="POINTS", help="Fail if top-1 is more than POINTS below the original's."
    ),
    option("--min-top1", type=Amount(0, 100), metavar="PERCENT", help="Fail if top-1 is below PERCENT."),
)


@command("eval", short_help="measure accuracy, or agreement with the original")
@click.argument("files", nargs=-1, required=True, metavar="OUT | OUT/FILE.onnx | PROTOTXT CAFFEMODEL", type=FILE)
@option("--data", required=True, metavar="SPEC", help=f"Images to measure on (labels needed for accuracy): {SPEC}.")
@option("--top", type=Checked("K,K", tops), default="1,5", help="Values of k for top-k accuracy.")
@option("--per-class", is_flag=True, help="Also show the accuracy of each class.")
@option(
    "--against",
    type=(FILE, FILE),
    metavar="PROTOTXT CAFFEMODEL",
    help="Another network to compare answers with.",
)
@option(
    "--steps",
    type=Listed(empty=False),
    is_flag=False,
    flag_value="all",
    metavar="[LIST]",
    shell_complete=complete_steps,
    help="Also measure the networks of OUT's steps: all, or by name.",
)
@within
@limit
@inputs
@running
@options(
    option("--output", metavar="NAME", help="The blob with the scores, if the network has several outputs."),
    option(
        "--batch-size",
        type=click.IntRange(1),
        metavar="N",
        help="Batch size. Default: what fits into 256 MB of activations, 64 at most.",
    ),
    heading=MORE,
)
@original
@strict
@preprocessing()
@common
def eval_(files: tuple[Path, ...], data: str, images: Preprocessing, limits: Limits, console: Console, **chosen: Any):
    """Measure accuracy if the images have labels, and agreement with OUT's original or --against.

    \b
    top-k       the share of images whose label is among the k best classes, ± its standard error
    lost        how far top-1 is below the other network's, in points, ± the standard error
    same top-1  the share of images for which both networks have the same best class
    KL          the mean Kullback-Leibler divergence from the other network's probabilities, in nats
    max diff.   the largest difference of any score

    \b
    Examples:
      deepmerge eval net.prototxt net.caffemodel --data lmdb:val_lmdb
      deepmerge eval out/ --data folder:photos
      deepmerge eval b.prototxt b.caffemodel --against a.prototxt a.caffemodel --data npz:test.npz
    """
    _check_usage(files, limits, chosen)
    from deepmerge import evaluate
    from deepmerge.out.read import Pair, read_converted

    network = files if len(files) == 2 else files[0]
    chosen["original"] = chosen["original"] and Pair(*chosen["original"])
    chosen["steps"] = chosen["steps"] or ()
    with console.progress() as progress:
        report = evaluate(network, data, wishes=images.wishes(), progress=progress, **chosen)
    console.warn(report["warnings"])
    console.show(report, lambda: _text(report))
    if len(files) == 2:
        console.next(["plan", *files, *typed("inputs")])
    else:
        folder = files[0].parent if files[0].suffix == ".onnx" else files[0]
        if (folder / "report.json").exists():  # a file in int8 may have been copied elsewhere
            console.next(after_measuring(folder, read_converted(folder, need_final=False).report))
    limits.judge(report)


def _check_usage(files: tuple[Path, ...], limits: Limits, chosen: dict[str, Any]) -> None:
    """Raise UsageError for options that exclude each other."""
    if len(files) > 2:
        raise click.UsageError("give OUT, or a PROTOTXT and its CAFFEMODEL")
    if limits.given and 1 not in chosen["top"]:
        raise click.UsageError("--max-drop and --min-top1 need top-1: add 1 to --top")
    if limits.max_drop is not None and len(files) == 2 and chosen["against"] is None:
        raise click.UsageError("--max-drop needs another network: give --against, or OUT in place of its files")
    for name in ("steps", "original"):
        if chosen[name] is not None and (len(files) == 2 or files[0].suffix == ".onnx"):
            raise click.UsageError(f"--{name} goes with OUT, the folder that convert wrote")
        if chosen[name] is not None and chosen["against"] is not None:
            raise click.UsageError(f"--against and --{name} exclude each other: --{name} compares with the original")


def _text(report: dict) -> str:
    entries = [*([report["against"]] if report["against"] else []), *report["networks"]]
    tops = list(entries[0]["top"] or ())
    agreeing = report["against"] is not None
    compared = ["lost", "same top-1", "KL", "max diff."][0 if tops else 1 :] if agreeing else []
    head = ["network", *(f"top-{k}" for k in tops), *compared]
    rows = []
    for entry in entries:
        agreement = _agreement(entry["agreement"]) if agreeing else []
        lost = [_points(entry["drop"][tops[0]]) if entry["drop"] else ""] if tops and agreeing else []
        shares = [_with_error(entry["top"][k], entry["error"][k]) for k in tops]
        rows.append([entry["name"], *shares, *lost, *agreement])
    parts = [table(rows, head, "l" + "r" * (len(head) - 1))]
    if entries[0]["per_class"]:
        parts.append(_classes(entries, tops))
    outputs = ", ".join(dict.fromkeys(repr(e["output"]) for e in entries))
    speed = f"{report['images_per_second']:.0f} images/s with {count(report['threads'], 'thread')}"
    images = f"{count(report['images'], 'image')} of {report['data']}"
    parts.append(f"{for_terminal(images)}, output {outputs}, engine {report['engine']}: {speed}")
    return "\n\n".join(parts)


def _classes(entries: list[dict], tops: list[str]) -> str:
    """Return a row for each class; with several networks, a column for the first top-k of each."""
    shown = [(e, k) for e in entries for k in (tops if len(entries) == 1 else tops[:1])]
    head = ["class", "images", *(f"top-{k}" if len(entries) == 1 else f"{e['name']} top-{k}" for e, k in shown)]
    rows = []
    for label, first in enumerate(entries[0]["per_class"]):
        name = first["name"] if first["name"] is not None else str(label)
        rows.append([name, first["images"], *(_share(e["per_class"][label]["top"][k]) for e, k in shown)])
    return table(rows, head, "l" + "r" * (len(head) - 1))


def _agreement(found: dict | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [_share(found["top1"]), difference(found["kl"]), difference(found["max_abs"])]


def _with_error(share: float, error: float) -> str:
    return f"{share * 100:.2f} ± {error * 100:.2f}%"


def _points(drop: dict[str, float]) -> str:
    return f"{drop['value'] * 100:.2f} ± {drop['error'] * 100:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
