"""Bars of the layers' times, as in DeepRebirth's Figure 1: non-tensor layers red, tensor layers black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepmerge.errors import EngineError

TENSOR, NON_TENSOR = "black", "#d62728"
ROW, WIDEST = 0.16, 0.8  # inches a layer; of the page
MOST = 160.0  # inches of height


def draw(report: dict[str, Any], file: Path) -> None:
    """Write a picture of a profile (see measure.profile): a panel for each engine and network, a bar for each layer.

    The format is the file name's (png, svg, pdf). EngineError where matplotlib is missing, does not know the format, or no
    layer was timed; OSError where the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise EngineError("--chart needs matplotlib: pip install matplotlib") from None

    panels = [(e["engine"], n) for e in report["engines"] for n in e["networks"] if n.get("layers")]
    if not panels:
        raise EngineError("--chart: no engine told its layers' times, so that there is nothing to draw")
    across = max(len(e["networks"]) for e in report["engines"])
    down = -(-len(panels) // across)
    longest = max(len(network["layers"]) for _, network in panels)
    figure = Figure((6.5 * across, min(max(3.0, ROW * longest) * down, MOST)), layout="constrained")
    FigureCanvasAgg(figure)
    for at, (engine, network) in enumerate(panels):
        _bars(figure.add_subplot(down, across, at + 1), engine, network)
    try:
        # no date and no version in the file: the same report gives the same picture
        figure.savefig(file, dpi=100, metadata={"Software": None} if file.suffix.lower() == ".png" else None)
    except ValueError as error:
        raise EngineError(f"--chart {file}: {error}") from None


def _bars(axes: Any, engine: str, network: dict[str, Any]) -> None:
    layers = network["layers"]
    times = [1e3 * layer["seconds"]["median"] for layer in layers]
    axes.barh(range(len(layers)), times, WIDEST, color=[TENSOR if layer["tensor"] else NON_TENSOR for layer in layers])
    axes.set_yticks(range(len(layers)), [layer["name"].replace("$", r"\$") for layer in layers], fontsize=6)
    axes.set_ylim(len(layers), -1)
    axes.set_xlabel("milliseconds")
    share = network["non_tensor"]["median"]
    axes.set_title(f"{engine}: {network['label']}\nnon-tensor (red) {share:.1%} of {1e3 * network['sum']['median']:.1f} ms", fontsize=9)
