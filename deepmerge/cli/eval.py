"""deepmerge eval."""

from __future__ import annotations

import click

from deepmerge.cli.image_options import image_wishes, mirror, preprocessing, running
from deepmerge.cli.options import FILE, Checked, Listed, common
from deepmerge.cli.output import Progress, count, show, show_json, table, warn


def tops(text: str) -> tuple[int, ...]:
    if isinstance(text, tuple):
        return text
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 10**6 for word in words):
        raise ValueError(f"{text!r} is no list of numbers from 1 on, such as 1,5")
    return tuple(int(word) for word in words)


@click.command("eval", short_help="measure accuracy, or agreement with the original")
@click.argument("files", nargs=-1, required=True, metavar="OUT | PROTOTXT CAFFEMODEL", type=FILE)
@click.option("--data", required=True, metavar="SPEC", help="folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE.")
@click.option("--top", type=Checked("K,K", tops), default="1,5", show_default=True, help="Which top-k to count.")
@click.option("--per-class", is_flag=True, help="Accuracy of each class, too.")
@click.option(
    "--against",
    type=(FILE, FILE),
    metavar="PROTOTXT CAFFEMODEL",
    help="Another network, whose answers are compared; labels are not needed.",
)
@click.option(
    "--original",
    type=(FILE, FILE),
    metavar="PROTOTXT CAFFEMODEL",
    help="What OUT was made from, if not where its report.json says.",
)
@click.option(
    "--steps",
    type=Listed(empty=False),
    is_flag=False,
    flag_value="all",
    help="The networks of OUT's steps, too, and the original: all, or those named.",
)
@click.option("--output", metavar="NAME", help="The blob with the scores, where there are several.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many images, spread evenly.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Default: what 256 MB of activations allow, 64 at most."
)
@running
@preprocessing
@mirror("Each image and its mirror image: the mean of their scores.")
@click.option("--strict", is_flag=True, help="Fail on a warning, such as an image that cannot be read.")
@common
def eval_(files, data, as_json, quiet, verbose, debug, **chosen):
    """Measure how good a network is on images: its accuracy where they have labels, and how far it agrees with its
    original (or any other network) where --against says so, or where there are no labels.

    \b
    top-k       the share of images whose label is among the k best classes; a tie is wrong, as in Caffe's Accuracy
    same top-1  the share of images for which both networks have the same best class
    KL          the mean Kullback-Leibler divergence from the other network's probabilities, in nats
    max diff.   the largest difference of any score

    \b
    Examples:
      deepmerge eval net.prototxt net.caffemodel --data lmdb:val_lmdb
      deepmerge eval out/ --data folder:photos
      deepmerge eval out/ --data list:val.txt --steps --per-class --json
      deepmerge eval out/deploy.prototxt out/weights.caffemodel --against net.prototxt net.caffemodel --data npz:test.npz
    """
    from deepmerge.measure.accuracy import Job, run
    from deepmerge.out.read import Pair

    if len(files) > 2:
        raise click.UsageError("give OUT, or a PROTOTXT and its CAFFEMODEL")
    network = Pair(*files) if len(files) == 2 else files[0]
    for name in ("steps", "original"):
        if chosen[name] is not None and len(files) == 2:
            raise click.UsageError(f"--{name} goes with OUT, the folder that convert wrote")
    if chosen["against"] is not None and (chosen["original"] is not None or chosen["steps"] is not None):
        raise click.UsageError("--against goes without --original and --steps, which hold OUT against its original")
    for name in ("against", "original"):
        chosen[name] = chosen[name] and Pair(*chosen[name])
    chosen["steps"] = chosen["steps"] or ()
    job = Job(network, data, image_wishes(chosen), **chosen)
    progress = Progress(quiet or as_json)
    try:
        report = run(job, progress)
    finally:
        progress.clear()
    warn(report["warnings"], quiet)
    if as_json:
        show_json(report)
    else:
        show(_told(report), quiet)


def _told(report: dict) -> str:
    entries = [*([report["against"]] if report["against"] else []), *report["networks"]]
    tops = list(entries[0]["top"] or ())
    agreeing = report["against"] is not None
    head = ["network", *(f"top-{k}" for k in tops), *(["same top-1", "KL", "max diff."] if agreeing else [])]
    rows = [
        [e["name"], *(_share(e["top"][k]) for k in tops), *(_agreement(e["agreement"]) if agreeing else [])]
        for e in entries
    ]
    parts = [table(rows, head, "l" + "r" * (len(head) - 1))]
    if entries[0]["per_class"]:
        parts.append(_classes(entries, tops))
    outputs = ", ".join(dict.fromkeys(repr(e["output"]) for e in entries))
    speed = f"{report['images_per_second']:.0f} images/s with {count(report['threads'], 'thread')}"
    parts.append(
        f"{count(report['images'], 'image')} of {report['data']}, output {outputs}, engine {report['engine']}: {speed}"
    )
    return "\n\n".join(parts)


def _classes(entries: list[dict], tops: list[int]) -> str:
    """A row for each class; with several networks, a column for each network's first top-k."""
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
    return [_share(found["top1"]), _number(found["kl"]), _number(found["max_abs"])]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2e}" if value else "0"
