"""deepmerge profile."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.network_options import budget, networks, random_note, read, settings_line
from deepmerge.cli.options import common
from deepmerge.cli.output import Progress, show, show_json, table, warn
from deepmerge.text import milliseconds, times_as_fast

LAYER_REPEAT = 15
BUSY = 0.1  # the share of the time from which on waiting is worth a warning


@click.command(short_help="where the time goes: by layer, type or step, on every engine")
@networks
@click.option(
    "--by",
    type=click.Choice(["group", "type", "layer"]),
    default="group",
    show_default=True,
    help="What a row stands for; a group is a step.",
)
@click.option(
    "--chart",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Bars of the layers' times, too (needs matplotlib).",
)
@common
def profile(words, engines, threads, batch, device, repeat, seconds, seed, by, chart, as_json, quiet, verbose, debug):
    """Time networks' layers on every engine that is installed, and show where the time goes, step by step (conv1, conv2,
    inception_3a …), and what share of it non-tensor layers take (all but convolutions and inner products).

    NET is a folder that `convert` wrote, or PROTOTXT, or PROTOTXT CAFFEMODEL; NAME=NET gives it a name. Without a caffemodel
    the weights are random. Several networks take turns on each engine and stand side by side; the first is what the others
    are compared with. With -v, rows that take next to nothing are shown too.

    \b
    forward     one forward of the whole network, as fast as the engine can (fusion on): median, quartiles
    unfused     the same with fusion off, which is how ort and opencv time layers
    layers      the sum of the layers' own times; it differs from the whole
    non-tensor  their share of that sum

    \b
    Examples:
      deepmerge profile net.prototxt net.caffemodel
      deepmerge profile before=net.prototxt net.caffemodel after=out/ --engine caffe,ort
      deepmerge profile net.prototxt --by type --batch 8 --threads 2 --json
    """
    from deepmerge.measure.profile import Settings
    from deepmerge.measure.profile import profile as measure

    nets = read(words, batch)
    for net in nets:
        warn(net.graph.warnings, quiet)
    chosen = Settings(engines, threads, device, repeat or LAYER_REPEAT, budget=budget(repeat, seconds), seed=seed)
    progress = Progress(quiet or as_json)
    try:
        report = measure(nets, chosen, progress)
    finally:
        progress.clear()
    warn(waiting(report), quiet)
    if chart is not None:
        from deepmerge.measure.profile.chart import draw

        draw(report, chart)
    if as_json:
        show_json(report)
    else:
        show(told(report, by, verbose), quiet)


def waiting(report: dict) -> list[str]:
    """A line for each engine whose networks had to wait for a core: it can be taken off whole forwards, not off layers."""
    lines = []
    for engine in report["engines"]:
        share = max((entry.get("waited") or 0 for entry in engine["networks"]), default=0)
        if share > BUSY:
            lines.append(
                f"{engine['engine']}: networks waited for a core {share:.0%} of the time, which the layers' times hold; "
                "measure on a quieter machine"
            )
    return lines


def told(report: dict, by: str, verbose: bool = False) -> str:
    parts = [settings_line(report)]
    if note := random_note(report["networks"]):
        parts.append(note)
    for engine in report["engines"]:
        if engine["absent"] is None:
            parts += [_totals(engine), _rows(engine, by, verbose)]
    absent = [(engine["engine"], engine["absent"]) for engine in report["engines"] if engine["absent"]]
    parts.append(table(absent, ("engine", "not measured, because")) if absent else "")
    return "\n\n".join(part for part in parts if part)


def _totals(engine: dict) -> str:
    """The engine's networks, a row each."""
    rows = []
    for entry in engine["networks"]:
        if entry["refused"]:
            rows.append((entry["label"], *[""] * 7, entry["refused"]))
            continue
        forward, unfused = entry["forward"], entry.get("unfused")
        share = entry.get("non_tensor")
        rows.append(
            (
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
        )
    head = (
        engine["engine"],
        "forward, ms",
        "quartiles",
        "times as fast",
        "unfused",
        "layers",
        "non-tensor",
        "waited",
        "",
    )
    keep = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    return table(
        [[row[i] for i in keep] for row in rows], [head[i] for i in keep], "".join("lrrrrrrrl"[i] for i in keep)
    )


def _rows(engine: dict, by: str, verbose: bool) -> str:
    """Where the time goes: milliseconds and share, networks side by side."""
    from deepmerge.measure.profile.rows import side_by_side, tensor_keys

    entries = [entry for entry in engine["networks"] if entry.get("layers")]
    if not entries:
        return ""
    sums = [sum(layer["seconds"]["median"] for layer in entry["layers"]) or 1.0 for entry in entries]
    tensor = tensor_keys(entries, by)
    rows, rest = [], 0
    for key, times in side_by_side(entries, by):
        shares = [None if time is None else time / total for time, total in zip(times, sums, strict=True)]
        if not verbose and all(share is None or share < 0.0005 for share in shares):
            rest += 1
            continue
        cells = (
            [""] if by == "group" else ["tensor" if tensor[key] else "non-tensor" if tensor[key] is False else "both"]
        )
        for time, share in zip(times, shares, strict=True):
            cells += ["", ""] if time is None else [milliseconds(time), f"{share:.1%}"]
        rows.append([key, *cells])
    labels = [cell for entry in entries for cell in (f"{entry['label']}, ms", "share")]
    head = [f"{engine['engine']}, {by}", "kind", *labels]
    if by == "group":
        head, rows = [head[0], *head[2:]], [[row[0], *row[2:]] for row in rows]
    note = f"\n{rest} more take less than 0.05 % each (-v shows them)" if rest else ""
    return table(rows, head, ("l" if by == "group" else "ll") + "rr" * len(entries)) + note
