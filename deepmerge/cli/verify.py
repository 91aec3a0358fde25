"""deepmerge verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.cli.image_options import Preprocessing, Tolerance, limit, preprocessing, running, strict
from deepmerge.cli.next_command import after_verify
from deepmerge.cli.options import FILE, SPEC, command, common, given, inputs, option, refuse
from deepmerge.cli.output import Console, table
from deepmerge.names import for_terminal


@command(short_help="compare two networks' outputs, and blob by blob")
@click.argument("a_prototxt", metavar="A.prototxt", type=FILE)
@click.argument("a_caffemodel", metavar="A.caffemodel", type=FILE)
@click.argument("b_prototxt", metavar="B.prototxt", type=FILE)
@click.argument("b_caffemodel", metavar="B.caffemodel", type=FILE, required=False)
@running
@option(
    "--random",
    type=click.IntRange(1),
    default=8,
    metavar="N",
    help="Number of random images (uniform noise, 0 to 255).",
)
@option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the random images.")
@option("--images", "source", metavar="SPEC", help=f"Images to use instead (no labels needed): {SPEC}.")
@limit
@option(
    "--tolerance",
    type=Tolerance(),
    default="1e-5",
    help="Largest difference, as a share of the range of A's output; 'none': never fail.",
)
@option("--layers", is_flag=True, help="Also compare every blob that both networks have.")
@inputs
@preprocessing(mirror=None)
@strict
@common
def verify(
    a_prototxt: Path,
    a_caffemodel: Path,
    b_prototxt: Path,
    b_caffemodel: Path | None,
    source: str | None,
    images: Preprocessing,
    console: Console,
    **how: Any,
):
    """Run two networks on the same inputs and compare their outputs.

    B may also be an ONNX file that convert wrote, alone: out/model-int8.onnx. The exit code is 1 if an output is NaN,
    or differs by more than the tolerance and by more than rounding explains.

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
    if source is None:
        refuse(given("limit", "resize", "crop"), "has no effect without --images")
    else:
        refuse(given("random", "seed"), "and --images exclude each other")
    import deepmerge
    from deepmerge.errors import DeepmergeError

    alone = b_prototxt.suffix == ".onnx"
    if alone != (b_caffemodel is None):
        missing = "Missing argument 'B.caffemodel'."
        raise click.UsageError("an ONNX file goes without a caffemodel" if alone else missing)
    first, second = (a_prototxt, a_caffemodel), (b_prototxt,) if alone else (b_prototxt, b_caffemodel)
    with console.progress() as progress:
        other = b_prototxt if alone else second
        report = deepmerge.verify(first, other, images=source, wishes=images.wishes(), progress=progress, **how)
    console.warn(report["warnings"])
    console.show(report, lambda: _text(report, source, how))
    console.next(after_verify((first, second), report))
    if not report["ok"]:
        failures = report["failures"]
        why = ("is in int8", "it costs") if alone else ("has approximate merges", "they cost")
        remedy = _EXPECTED.format(*why)
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise DeepmergeError(failures[0] + more, remedy=remedy if report["expected"] else "")


_EXPECTED = "this is expected, since B {}: `deepmerge eval` measures what {} in accuracy"


def _text(report: dict, source: str | None, how: dict[str, Any]) -> str:
    parts = []
    if report["layers"]:
        parts.append(_figures("blob", report["layers"], report["first_difference"]))
        if report["tolerance"] is not None:
            parts.append(_first(report))
    elif how["layers"]:
        parts.append("no blob has the same name and shape in both networks")
    parts.append(_figures("output", report["outputs"], None))
    what = f"images of {source}" if source else f"random images (seed {how['seed']})"
    if report["tolerance"] is None:
        verdict = "no tolerance was set"
    else:
        rounded = report["ok"] and any(entry["rounding"] for entry in report["outputs"])
        where = "within rounding, though not within" if rounded else "within" if report["ok"] else "not within"
        verdict = f"{where} the tolerance of {report['tolerance']:g} of the range"
    parts += [
        f"rounding alone takes {entry['name']} of A {difference(entry['rounding'])} of the range from its float64 value"
        "; B rounds, too, so twice that is allowed"
        for entry in report["outputs"]
        if entry["rounding"] is not None
    ]
    parts.append(f"{report['images']} {for_terminal(what)}, engine {report['engine']}: {verdict}")
    return "\n\n".join(parts)


def _first(report: dict) -> str:
    first = report["first_difference"]
    if first is None:
        return "no blob is above the tolerance"
    line = f"the first blob above the tolerance is {first['name']}, made by {', '.join(first['layers'])}"
    return for_terminal(line) + ("; the outputs agree: exact passes also move and merge layers" if report["ok"] else "")


def _figures(kind: str, entries: list[dict], first: dict | None) -> str:
    ranked = any(e["top1_agreement"] is not None for e in entries)
    rows = []
    for entry in entries:
        row = [entry["name"], *(difference(entry[key]) for key in ("max_abs", "relative", "mean_abs", "range"))]
        row += [_share(entry[key]) for key in ("top1_agreement", "top5_agreement")] if ranked else []
        rows.append([*row, "<- first above" if first and first["name"] == entry["name"] else ""])
    head = [kind, "max abs", "relative", "mean abs", "range"] + (["top-1", "top-5"] if ranked else []) + [""]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(rows, head, "lrrrrrr"[: 7 if ranked else 5])


def difference(value: float | None) -> str:
    """Return a difference as tables show it; None stands for NaN and infinity."""
    if value is None:
        return "not finite"
    return f"{value:.2e}" if value else "0"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
