"""deepmerge inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.cli.options import FILE, command, common, inputs
from deepmerge.cli.output import Console, table
from deepmerge.text import megabytes


@command(short_help="show layers, shapes, parameters, MACs, activation memory, non-tensor share")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@inputs
@common
def inspect(prototxt: Path, caffemodel: Path | None, inputs: dict, console: Console):
    """Show a network's layers, shapes, parameters, MACs, activation memory and non-tensor share, for one image.

    With -v, the table also shows which layers each layer reads.

    \b
    Examples:
      deepmerge inspect net.prototxt
      deepmerge inspect net.prototxt net.caffemodel --json
      deepmerge inspect train_val.prototxt --input data=1,3,224,224
    """
    from deepmerge import load

    network = load(prototxt, caffemodel, inputs=inputs)
    figures = network.to_dict()
    console.warn(network.warnings)
    console.show(figures, lambda: f"{_layer_table(figures['layer_costs'], console.verbose)}\n\n{_total_table(figures)}")


def _layer_table(layers: list[dict[str, Any]], verbose: bool) -> str:
    rows = []
    for layer in layers:
        tops = " ".join("×".join(map(str, shape)) if shape is not None else "?" for shape in layer["tops"])
        numbers = [f"{layer[key]:,}" if layer[key] else "" for key in ("params", "macs")]
        reads = [", ".join(layer["reads"])] if verbose else []
        rows.append((layer["name"], layer["type"], tops, *numbers, f"{layer['bytes'] / 1e3:,.1f}", *reads))
    head = ("layer", "type", "top", "parameters", "MACs", "top, kB", *(["reads"] if verbose else []))
    return table(rows, head, "lllrrr")


def _total_table(figures: dict[str, Any]) -> str:
    memory = {kind: megabytes(number) for kind, number in figures["activation_bytes"].items()}
    types = ", ".join(f"{number} {name}" for name, number in figures["layer_types"].items())
    share = {kind: f"{value:.1%}" for kind, value in figures["non_tensor_share"].items()}
    kinds = f"{memory['caffe']} as Caffe counts, {memory['unique']} distinct, {memory['planned']} planned"
    return table(
        [
            ("layers", f"{figures['layers']} ({types})"),
            ("parameters", f"{figures['params']:,}"),
            ("MACs", f"{figures['macs']:,}"),
            ("storage", megabytes(figures["storage_bytes"])),
            ("activations", kinds),
            ("non-tensor", f"{share['layers']} of the layers, {share['activation_bytes']} of the activation bytes"),
        ]
    )
