"""deepmerge profile."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.chart import check_chart
from deepmerge.cli.network_options import Measuring, measuring, random_note, require_measured, settings_line
from deepmerge.cli.options import command, common, option
from deepmerge.cli.output import Console, table
from deepmerge.text import milliseconds, times_as_fast

LAYER_REPEAT = 15
BUSY = 0.1  # the share of time spent waiting that is worth a warning
LITTLE = 0.0005  # the share of time below which a row is left out


@command(short_help="show where the time goes: by layer, type or step, on every engine")
@measuring
@option(
    "--by", type=click.Choice(["group", "type", "layer"]), default="group", help="What a row shows; a group is a step."
)
@option(
    "--chart",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    metavar="FILE.png",
    help="Also draw the layers' times as bars (needs matplotlib).",
)
@common
def profile(measuring: Measuring, by: str, chart: Path | None, console: Console):
    """Time the layers of networks on every installed engine, and show where the time goes.

    NET is a folder that `convert` wrote, an ONNX file in it, PROTOTXT, or PROTOTXT CAFFEMODEL; NAME=NET names it.
    Without a caffemodel the weights are random. Every network is compared with the first. With -v, all rows are shown.

    \b
    forward     one forward of the whole network, with the engine's fusion on: median, quartiles
    unfused     the same with fusion off, which is how ort and opencv time layers
    layers      the sum of the layers' own times; it differs from the time of the whole network
    non-tensor  the share of that sum outside convolutions and inner products

    \b
    Examples:
      deepmerge profile net.prototxt net.caffemodel
      deepmerge profile before=net.prototxt net.caffemodel after=out/ --engine caffe,ort
      deepmerge profile net.prototxt --by type --batch 8 --threads 2 --json
    """
    check_chart("--chart", chart)
    from deepmerge.measure.profile import Settings
    from deepmerge.measure.profile import profile as measure

    with console.progress():
        nets = measuring.read()
    for net in nets:
        console.warn(net.graph.warnings)
    m = measuring
    settings = Settings(m.engines, m.threads, m.device, m.repeat or LAYER_REPEAT, budget=m.budget(), seed=m.seed)
    with console.progress() as progress:
        report = measure(nets, settings, progress)
    console.warn(waiting(report))
    console.show(report, lambda: _text(report, by, console.verbose))
    require_measured(report)
    if chart is not None:
        from deepmerge.measure.profile.chart import draw

        draw(report, chart)


def waiting(report: dict) -> list[str]:
    """Return a warning for each engine whose networks waited for a core: the layers' times include the wait."""
    lines = []
    for engine in report["engines"]:
        share = max((entry.get("waited") or 0 for entry in engine["networks"]), default=0)
        if share > BUSY:
            lines.append(
                f"{engine['engine']}: networks waited for a core {share:.0%} of the time, "
                "and the layers' times include it; measure on a quieter machine"
            )
    return lines


def _text(report: dict, by: str, verbose: bool) -> str:
    parts = [settings_line(report), random_note(report["networks"])]
    for engine in report["engines"]:
        if engine["absent"] is None:
            parts += [_totals(engine), _rows(engine, by, verbose)]
    absent = [(engine["engine"], engine["absent"]) for engine in report["engines"] if engine["absent"]]
    parts.append(table(absent, ("engine", "not measured, because")) if absent else "")
    return "\n\n".join(part for part in parts if part)


_TOTALS = ("forward, ms", "quartiles", "times as fast", "unfused", "layers", "non-tensor", "waited", "")


def _totals(engine: dict) -> str:
    """Return a row for each of the engine's networks, without the columns that are empty."""
    rows = [_total(entry) for entry in engine["networks"]]
    head = (engine["engine"], *_TOTALS)
    keep = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    sides = "".join("lrrrrrrrl"[i] for i in keep)
    return table([[row[i] for i in keep] for row in rows], [head[i] for i in keep], sides)


def _total(entry: dict) -> tuple[str, ...]:
    if entry["refused"]:
        return (entry["label"], *[""] * (len(_TOTALS) - 1), entry["refused"])
    forward, unfused, share = entry["forward"], entry.get("unfused"), entry.get("non_tensor")
    return (
        entry["label"],
        milliseconds(forward["median"]),
        f"{milliseconds(forward['low'])}–{milliseconds(forward['high'])}",
        times_as_fast(entry["ratio"]),
        milliseconds(unfused["median"]) if unfused else "",
        milliseconds(entry["sum"]["median"]) if share else "",
        f"{share['median']:.1%}" if share else "",
        "" if entry["waited"] is None else f"{entry['waited']:.0%}",
        entry.get("layers_refused") or "",
    )


def _rows(engine: dict, by: str, verbose: bool) -> str:
    """Return where the time goes: milliseconds and share, networks side by side."""
    from deepmerge.measure.profile.rows import side_by_side, tensor_keys

    entries = [entry for entry in engine["networks"] if entry.get("layers")]
    if not entries:
        return ""
    sums = [sum(layer["seconds"]["median"] for layer in entry["layers"]) or 1.0 for entry in entries]
    tensor = tensor_keys(entries, by)
    rows, rest = [], 0
    for key, times in side_by_side(entries, by):
        shares = [None if time is None else time / total for time, total in zip(times, sums, strict=True)]
        if not verbose and all(share is None or share < LITTLE for share in shares):
            rest += 1
            continue
        cells = [key] if by == "group" else [key, _kind(tensor[key])]
        for time, share in zip(times, shares, strict=True):
            cells += ["", ""] if time is None else [milliseconds(time), f"{share:.1%}"]
        rows.append(cells)
    labels = [cell for entry in entries for cell in (f"{entry['label']}, ms", "share")]
    kind = [] if by == "group" else ["kind"]
    note = f"\n{rest} more take less than {LITTLE:.2%} each (-v shows them)" if rest else ""
    return table(rows, [f"{engine['engine']}, {by}", *kind, *labels], "l" * (1 + len(kind)) + "r" * len(labels)) + note


def _kind(tensor: bool | None) -> str:
    if tensor is None:
        return "both"
    return "tensor" if tensor else "non-tensor"
