"""Where the time goes: measured times."""

from __future__ import annotations

from deepmerge.page.markup import Html, code, element, join, table, used, without_folders, written
from deepmerge.page.measured import Measured, Run
from deepmerge.page.svg import OTHER, TENSOR, bar, columns
from deepmerge.text import count, milliseconds, share_left, size, times

_OWN = "(the engine's own)"
_HEAD = (
    "network",
    "forward",
    "quartiles",
    "times as fast",
    "sum of its layers",
    "in non-tensor layers",
    "peak memory",
    "energy, an image",
    "largest batch",
)


def ms(seconds: float) -> str:
    """`12.3 ms`, three figures."""
    return f"{milliseconds(seconds)} ms"


def profile(found: Measured) -> Html:
    """Totals, then engine by engine the layers' times as columns, by type and by step."""
    parts = [bench(found)]
    for name, runs in found.engines.items():
        timed = [run for run in runs if run.layers]
        if timed:
            inside = join([element("summary", element("b", name), ": layer by layer"), _engine(name, timed)], "\n")
            parts.append(element("details", inside, class_="engine", open=len(parts) == 1))
    return join(parts, "\n")


def bench(found: Measured) -> Html:
    """Time, memory, energy and the largest batch of each network on each engine."""
    said = element("p", "Measured on ", found.where, ". From ", code(found.file.name), ".")
    return join([said, totals(found)], "\n")


def totals(found: Measured) -> Html:
    """Return a row for each network on each engine, without empty columns."""
    parts = []
    runs = [(engine, run) for engine, runs in found.engines.items() for run in runs]
    if runs:
        head, rows = used(_HEAD, [(join([code(run.label), f" on {engine}"]), *_cells(run)) for engine, run in runs])
        parts.append(table("Whole forwards", head, rows, "l" + "r" * (len(head) - 1)))
    if any(run.total is not None for _, run in runs):
        note = "Layers are timed one by one, without the fusion that a whole forward has: their sum differs from it."
        parts.append(element("p", note, class_="note"))
    if found.absent:
        absent = (element("li", code(engine), ": ", without_folders(why)) for engine, why in found.absent.items())
        parts.append(element("details", element("summary", "Not measured"), element("ul", *absent)))
    return join(parts)


def _cells(run: Run) -> list[str]:
    forward, ratio = run.forward, run.ratio
    return [
        ms(forward[0]) if forward else "",
        f"{ms(forward[1])} – {ms(forward[2])}" if forward else "",
        f"{times(ratio[0])} ({times(ratio[1])} – {times(ratio[2])})" if ratio else "",
        written(ms, run.total),
        written("{:.1%}".format, run.non_tensor),
        written(size, run.figures.get("peak")),
        written(lambda joules: f"{1e3 * joules:.1f} mJ", run.figures.get("joules")),
        written("{:,.0f}".format, run.figures.get("batch")),
    ]


def _engine(engine: str, runs: list[Run]) -> Html:
    top = max(layer.seconds for run in runs for layer in run.layers)
    slots = max(len(run.layers) for run in runs)
    figures = [_columns(engine, run, top, slots) for run in runs]
    title = element("p", f"Each layer's time, in the network's order; a full column is {ms(top)}", class_="keys")
    steps = element("details", element("summary", "By step"), _side_by_side(engine, runs, "group"), class_="every")
    return join([title, element("div", *figures, class_="profile"), _side_by_side(engine, runs, "type"), steps], "\n")


def _columns(engine: str, run: Run, top: float, slots: int) -> Html:
    longest = max(run.layers, key=lambda layer: layer.seconds)
    number = count(len(run.layers), "layer")
    label = f"{run.label} on {engine}: {number}, the longest {longest.name} with {ms(longest.seconds)}"
    kinds = [TENSOR if one.tensor else OTHER for one in run.layers]
    total = f" {ms(run.total or 0)}, {run.non_tensor or 0:.1%} of it in non-tensor layers"
    caption = element("figcaption", element("b", run.label), total)
    return element("figure", caption, columns([one.seconds for one in run.layers], kinds, top, slots, label))


def _side_by_side(engine: str, runs: list[Run], by: str) -> Html:
    """Return times by type, the longest first, or by step, each with its share of the first network."""
    sums: list[dict[str, float]] = []
    for run in runs:
        found: dict[str, float] = {}
        for layer in run.layers:
            key = (layer.type if by == "type" else layer.group) or _OWN
            found[key] = found.get(key, 0.0) + layer.seconds
        sums.append(found)
    names = list(dict.fromkeys(key for found in sums for key in found))
    if by == "type":
        names.sort(key=lambda name: (-sums[0].get(name, 0.0), name))
    whole = sum(sums[0].values())
    rows = []
    for name in names:
        cells = [cell for found in sums for cell in _time(found.get(name), whole)]
        last = sums[-1].get(name)
        rows.append((name, *cells, bar((last or 0.0) / whole if whole else None)))
    head = [by if by == "type" else "step"] + [text for run in runs for text in (run.label, "share")] + [""]
    caption = f"{engine}, by {head[0]}: shares are of {runs[0].label}'s sum, and so are the bars, for {runs[-1].label}"
    return table(caption, head, rows, "l" + "r" * (len(head) - 2), "types")


def _time(seconds: float | None, whole: float) -> tuple[str, str]:
    return ("", "") if seconds is None else (ms(seconds), share_left(whole, seconds))
