"""deepmerge verify."""

from __future__ import annotations

import click

from deepmerge.cli.image_options import Tolerance, image_wishes, preprocessing, running
from deepmerge.cli.options import FILE, common
from deepmerge.cli.output import Progress, show, show_json, table, warn


@click.command(short_help="compare two networks' outputs, and blob by blob")
@click.argument("a_prototxt", metavar="A.prototxt", type=FILE)
@click.argument("a_caffemodel", metavar="A.caffemodel", type=FILE)
@click.argument("b_prototxt", metavar="B.prototxt", type=FILE)
@click.argument("b_caffemodel", metavar="B.caffemodel", type=FILE)
@running
@click.option(
    "--random",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="So many images of uniform noise, 0..255.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the noise.")
@click.option(
    "--images", metavar="SPEC", help="Real images instead: folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many of them, spread evenly.")
@preprocessing
@click.option(
    "--tolerance",
    type=Tolerance(),
    default="1e-5",
    show_default=True,
    help="Of the range of A's output; 'none' only reports.",
)
@click.option("--layers", is_flag=True, help="Compare every blob that both have, too.")
@click.option("--strict", is_flag=True, help="Fail on a warning, such as an image that cannot be read.")
@common
def verify(a_prototxt, a_caffemodel, b_prototxt, b_caffemodel, as_json, quiet, verbose, debug, **chosen):
    """Run two networks on the same inputs and compare their outputs. Exit code 1 where one is further apart than the
    tolerance, or NaN.

    \b
    relative   the largest difference, as a share of the range (max - min) of A's output
    top-1      the share of images with the same best class
    top-5      how many of A's five best classes are among B's five best

    \b
    Examples:
      deepmerge verify net.prototxt net.caffemodel out/deploy.prototxt out/weights.caffemodel
      deepmerge verify a.prototxt a.caffemodel b.prototxt b.caffemodel --engine caffe --layers
      deepmerge verify a.prototxt a.caffemodel b.prototxt b.caffemodel --images folder:photos --tolerance none
    """
    _refuse_mixture(chosen["images"])
    from deepmerge.errors import DeepmergeError
    from deepmerge.measure.compare import Job
    from deepmerge.measure.compare import verify as run
    from deepmerge.out.read import Pair

    wishes = image_wishes(chosen)
    job = Job(Pair(a_prototxt, a_caffemodel), Pair(b_prototxt, b_caffemodel), wishes=wishes, **chosen)
    progress = Progress(quiet or as_json)
    try:
        report = run(job, progress)
    finally:
        progress.clear()
    warn(report["warnings"], quiet)
    if as_json:
        show_json(report)
    else:
        show(_told(report, job), quiet)
    if not report["ok"]:
        raise DeepmergeError(_one_line(report["failures"]))


def _refuse_mixture(images) -> None:
    """Options that would do nothing are a misunderstanding."""
    source = click.get_current_context().get_parameter_source
    useless = ("random", "seed") if images is not None else ("limit", "resize", "crop")
    for name in useless:
        if source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name} and --images exclude each other" if images is not None else f"--{name} goes with --images"
            )


def _one_line(failures: list[str]) -> str:
    return failures[0] + (f" (and {len(failures) - 1} more)" if len(failures) > 1 else "")


def _told(report: dict, job) -> str:
    parts = []
    if report["layers"]:
        parts += [_figures("blob", report["layers"], report["first_difference"]), _first(report)]
    elif job.layers:
        parts.append("no blob has the same name and shape in both networks")
    parts.append(_figures("output", report["outputs"], None))
    what = f"images of {job.images}" if job.images else f"random images (seed {job.seed})"
    if report["tolerance"] is None:
        verdict = "no tolerance was set"
    else:
        verdict = f"{'within' if report['ok'] else 'not within'} the tolerance of {report['tolerance']:g} of the range"
    parts.append(f"{report['images']} {what}, engine {report['engine']}: {verdict}")
    return "\n\n".join(parts)


def _first(report: dict) -> str:
    first = report["first_difference"]
    if first is None:
        return "no blob is above the tolerance"
    line = f"the first blob above the tolerance is {first['name']}, made by {', '.join(first['layers'])}"
    return line + ("; the outputs agree: exact passes move and merge layers, too" if report["ok"] else "")


def _figures(kind: str, entries: list[dict], first: dict | None) -> str:
    ranked = any(e["top1_agreement"] is not None for e in entries)
    rows = []
    for entry in entries:
        row = [entry["name"], *(_number(entry[key]) for key in ("max_abs", "relative", "mean_abs", "range"))]
        row += [_share(entry[key]) for key in ("top1_agreement", "top5_agreement")] if ranked else []
        rows.append([*row, "<- first above" if first and first["name"] == entry["name"] else ""])
    head = [kind, "max abs", "relative", "mean abs", "range"] + (["top-1", "top-5"] if ranked else []) + [""]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(rows, head, "lrrrrrr"[: 7 if ranked else 5])


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2e}" if value else "0"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
