"""Bars of the layers' times, as in DeepRebirth's Figure 1: non-tensor layers red, tensor layers black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.chart import chart
from deepmerge.errors import EngineError
from deepmerge.names import for_chart

TENSOR, NON_TENSOR = "black", "#d62728"
ROW, BAR = 0.16, 0.8  # inches for a layer with its name; the bar's share of a layer's height
MOST = 24.0  # inches of height: enough for the names in a GoogLeNet


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a profile (see measure.profile): a row for each engine, a panel for each network, a bar for each layer.

    The names are left out if there are too many layers. The file name's suffix gives the format (png, svg, pdf). Raises
    EngineError if matplotlib is missing or does not know the format, or no layer was timed; OSError if the file cannot
    be written.
    """
    rows = [(e["engine"], [n for n in e["networks"] if n.get("layers")]) for e in report["engines"]]
    rows = [(engine, networks) for engine, networks in rows if networks]
    if not rows:
        raise EngineError("--chart: no engine reported its layers' times, so there is nothing to draw")
    across = max(len(networks) for _, networks in rows)
    longest = max(len(network["layers"]) for _, networks in rows for network in networks)
    height = min(max(3.0, ROW * longest), MOST / len(rows))
    with chart("--chart", file, 6.5 * across, height * len(rows)) as figure:
        for down, (engine, networks) in enumerate(rows):
            widest = 1e3 * max(layer["seconds"]["median"] for network in networks for layer in network["layers"])
            for at, network in enumerate(networks):
                axes = figure.add_subplot(len(rows), across, down * across + at + 1)
                _bars(axes, engine, network, named=ROW * len(network["layers"]) <= height)
                axes.set_xlim(0, 1.05 * widest or 1)  # one scale for an engine, so that bars can be compared


def _bars(axes: Any, engine: str, network: dict[str, Any], named: bool) -> None:
    layers = network["layers"]
    times = [1e3 * layer["seconds"]["median"] for layer in layers]
    axes.barh(range(len(layers)), times, BAR, color=[TENSOR if layer["tensor"] else NON_TENSOR for layer in layers])
    if named:
        axes.set_yticks(range(len(layers)), [for_chart(layer["name"]) for layer in layers], fontsize=6)
    else:
        axes.set_ylabel("layer")
    axes.set_ylim(len(layers), -1)
    axes.set_xlabel("milliseconds")
    label, share = for_chart(network["label"]), network["non_tensor"]["median"]
    axes.set_title(
        f"{engine}: {label}\nnon-tensor (red) {share:.1%} of {1e3 * network['sum']['median']:.1f} ms",
        fontsize=9,
    )
