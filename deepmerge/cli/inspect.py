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

    With -v, the table also shows which layers each layer reads. If there are any, two more tables show the layer types
    of Caffe's forks, and the layers that some totals leave out because a shape or type is not known.

    \b
    Examples:
      deepmerge inspect net.prototxt
      deepmerge inspect net.prototxt net.caffemodel --json
      deepmerge inspect train_val.prototxt --input data=1,3,224,224
    """
    from deepmerge import load

    with console.progress():
        network = load(prototxt, caffemodel, inputs=inputs)
        figures = network.to_dict()
    console.warn(network.warnings)
    console.show(figures, lambda: _text(figures, console.verbose))


def _text(figures: dict[str, Any], verbose: bool) -> str:
    parts = [_layer_table(figures["layer_costs"], verbose), _total_table(figures)]
    if rules := figures["fork_rules"]:
        rows = [(kind, f"{rule}.cpp") for kind, rule in rules.items()]
        parts.append(table(rows, ("type of a fork", "whose rule gives its shape")))
    if lacking := figures["not_counted"]:
        rows = [(name, ", ".join(missing)) for name, missing in lacking.items()]
        parts.append(table(rows, ("layer", "not counted above, as a shape or the type is not known")))
    return "\n\n".join(parts)


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
