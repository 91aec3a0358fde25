"""What came of it, in a sentence, a picture and a table."""

from __future__ import annotations

from typing import Any

from deepmerge.page.layout import Layout
from deepmerge.page.markup import Html, element, join, table
from deepmerge.page.script_data import marks
from deepmerge.page.stages import Stage
from deepmerge.page.svg import bar, strip
from deepmerge.page.training import agreement, trained, undone
from deepmerge.text import count, scaled, share_left, size

_ROWS = (
    ("Layers", ("layers",), "{:,}".format),
    ("Parameters", ("params",), scaled),
    ("MACs, one image", ("macs",), scaled),
    ("Storage of the weights", ("storage_bytes",), size),
    ("Activations, as Caffe counts", ("activation_bytes", "caffe"), size),
    ("Activations, distinct", ("activation_bytes", "unique"), size),
    ("Activations, planned", ("activation_bytes", "planned"), size),
)
_KEY = Html(
    '<span><span class="key tensor"></span> layers with learned tensors</span> '
    '<span><span class="key other"></span> all others</span> '
    '<span><span class="key touched"></span> merged or changed, and what came of it</span>'
)


def lead(report: dict[str, Any]) -> Html:
    """Return the result in a sentence or two."""
    before, after = report["before"], report["after"]
    exact = sum(step["exact"] for step in report["steps"])
    rough = len(report["steps"]) - exact
    steps = (
        " and ".join(count(n, f"{kind} step") for n, kind in ((exact, "exact"), (rough, "approximate")) if n)
        or "no step"
    )
    text = f"{steps} took it from {_number(before, 'layers')} to {_number(after, 'layers')} layers"
    if report["steps"] and before.get("layers") == after.get("layers"):
        text = f"{steps} changed it; it has {_number(after, 'layers')} layers, as before"
    if before.get("macs") and "macs" in after:
        text += f"; {share_left(before['macs'], after['macs'])} of the multiply-adds are left"
    if before.get("params") and "params" in after:
        text += f", and {share_left(before['params'], after['params'])} of the parameters"
    cost = f" {_cost(report)}" if rough else ""
    exactly = " Exact steps change the output by float rounding alone." if exact and not rough else ""
    return element("p", f"{text[0].upper()}{text[1:]}.{cost}{exactly}", class_="lead")


def _cost(report: dict[str, Any]) -> str:
    """Return what approximate steps cost, and what training has won back."""
    done, found, lost = trained(report), agreement(report), undone(report)
    if not done:
        text = "Approximate steps cost accuracy until the network is recovered or fine-tuned."
    elif found is None:
        text = f"Approximate steps cost accuracy; the network has been {done} since."
    else:
        shares = f"{found.before:.1%} of {found.images} before recovery, on {found.after:.1%} after it"
        text = f"The network has been {done}: it gave the original's answer on {shares}."
    return f"{text} Undone, since it did harm: {', '.join(lost)}." if lost else text


def _number(summary: dict[str, Any], key: str) -> str:
    return f"{summary[key]:,}" if key in summary else "?"


def strips(stages: list[Stage], placed: list[Layout]) -> Html:
    """Return the first and the last network, at one scale; nothing if neither is known."""
    if not stages:
        return Html("")
    frame = max(layout.height for layout in placed), max(layout.width for layout in placed)
    last = stages[-1]
    if len(stages) == 1:
        drawings = [_figure("The network as it is", stages[0], placed[0], [False] * len(stages[0].facts), frame)]
    else:
        known = {fact.name: (fact.type, fact.settings, fact.weights) for fact in last.facts}
        gone = [known.get(fact.name) != (fact.type, fact.settings, fact.weights) for fact in stages[0].facts]
        made: set[str] = set()
        for number, stage in enumerate(stages):
            made |= {fact.name for fact, mark in zip(stage.facts, marks(stages, number), strict=True) if mark & 1}
        first = "Before" if stages[0].title == "Original" else f"First known: {stages[0].title}"
        drawings = [
            _figure(first, stages[0], placed[0], gone, frame),
            _figure("After", last, placed[-1], [fact.name in made for fact in last.facts], frame),
        ]
    return element("div", join([*drawings, element("p", _KEY, class_="keys")], "\n"), class_="strips")


def _figure(title: str, stage: Stage, layout: Layout, touched: list[bool], frame: tuple[int, int]) -> Html:
    many_layers = count(stage.totals["layers"], "layer")
    label = (
        f"{title}: {many_layers}, drawn from the input on the left to the output on the right; "
        f"{sum(touched)} of them merged or changed"
    )
    caption = element("figcaption", element("b", title), f" {many_layers}")
    return element("figure", caption, strip(stage.facts, layout, touched, frame, label))


def totals(report: dict[str, Any]) -> Html:
    """Before and after, and what is left."""
    rows = []
    for name, path, form in _ROWS:
        before, after = (_at(report.get(key), path) for key in ("before", "after"))
        share = after / before if before and after is not None else None
        shown = [form(value) if value is not None else "not known" for value in (before, after)]
        rows.append((name, *shown, share_left(before, after), bar(share)))
    return table(
        "Before and after, for one image, in float32", ("", "before", "after", "left", ""), rows, "lrrrl", "totals"
    )


def _at(summary: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        summary = summary.get(key) if isinstance(summary, dict) else None
    return summary if isinstance(summary, int | float) else None
