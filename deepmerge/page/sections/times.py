"""Where the time goes, as it was measured."""

from __future__ import annotations

from deepmerge.page.figures import OTHER, TENSOR, bar, columns
from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.page.measured import Measured, Run
from deepmerge.text import count, milliseconds, share_left, size, times

_OWN = "(the engine's own)"


def ms(seconds: float) -> str:
    """`12.3 ms`, three figures."""
    return f"{milliseconds(seconds)} ms"


def profile(found: Measured) -> Html:
    """Totals, then engine by engine the layers' times as columns, by type and by step."""
    first = next((name for name, runs in found.engines.items() if any(run.layers for run in runs)), None)
    parts = [_said(found), totals(found)]
    for name, runs in found.engines.items():
        timed = [run for run in runs if run.layers]
        if timed:
            inside = join(
                [element("summary", join([element("b", name), ": layer by layer"])), _engine(name, timed)], "\n"
            )
            parts.append(element("details", inside, class_="engine", open=name == first))
    return join(parts, "\n")


def bench(found: Measured) -> Html:
    """Time, memory, energy and the largest batch of each network on each engine."""
    return join([_said(found), totals(found)], "\n")


def _said(found: Measured) -> Html:
    return element("p", join(["Measured on ", found.where, ". From ", code(found.file.name), "."]))


def totals(found: Measured) -> Html:
    """Return a row for each network on each engine, without empty columns."""
    rows = []
    for engine, runs in found.engines.items():
        for run in runs:
            rows.append((join([code(run.label), f" on {engine}"]), *_cells(run)))
    head = (
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
    used = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    rows_table = table(
        "Whole forwards", [head[i] for i in used], [[row[i] for i in used] for row in rows], "l" + "r" * (len(used) - 1)
    )
    absent = join(element("li", join([code(engine), ": ", why])) for engine, why in found.absent.items())
    if any(run.total is not None for runs in found.engines.values() for run in runs):
        note = "Layers are timed one by one, without the fusion that a whole forward has: their sum differs from it."
        rows_table = join([rows_table, element("p", note, class_="note")])
    why = element("details", join([element("summary", "Not measured"), element("ul", absent)])) if absent else ""
    return join([rows_table if rows else "", why])


def _cells(run: Run) -> list[str]:
    cells = [""] * 8
    if run.forward:
        cells[0], cells[1] = (
            ms(run.forward[0]),
            f"{ms(run.forward[1])} – {ms(run.forward[2])}",
        )
    if run.ratio:
        cells[2] = f"{times(run.ratio[0])} ({times(run.ratio[1])} – {times(run.ratio[2])})"
    if run.total is not None and run.non_tensor is not None:
        cells[3], cells[4] = ms(run.total), f"{run.non_tensor:.1%}"
    for place, (key, form) in enumerate(
        (("peak", size), ("joules", lambda j: f"{1e3 * j:.1f} mJ"), ("batch", "{:,.0f}".format))
    ):
        cells[5 + place] = form(run.figures[key]) if key in run.figures else ""
    return cells


def _engine(engine: str, runs: list[Run]) -> Html:
    top = max(layer.seconds for run in runs for layer in run.layers)
    slots = max(len(run.layers) for run in runs)
    figures = [_columns(engine, run, top, slots) for run in runs]
    title = element("p", f"Each layer's time, in the network's order; a full column is {ms(top)}", class_="keys")
    parts = [title, element("div", join(figures), class_="profile"), _side_by_side(engine, runs, "type")]
    steps = _side_by_side(engine, runs, "group")
    parts.append(element("details", join([element("summary", "By step"), steps]), class_="every"))
    return join(parts, "\n")


def _columns(engine: str, run: Run, top: float, slots: int) -> Html:
    longest = max(run.layers, key=lambda layer: layer.seconds)
    number = count(len(run.layers), "layer")
    label = f"{run.label} on {engine}: {number}, the longest {longest.name} with {ms(longest.seconds)}"
    drawing = columns(
        [one.seconds for one in run.layers], [TENSOR if one.tensor else OTHER for one in run.layers], top, slots, label
    )
    total = f" {ms(run.total or 0)}, {run.non_tensor or 0:.1%} of it in non-tensor layers"
    return element("figure", join([element("figcaption", join([element("b", run.label), total])), drawing]))


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
