"""deepmerge inspect."""

from __future__ import annotations

import click

from deepmerge.cli.options import FILE, common
from deepmerge.cli.output import megabytes, show, show_json, table, warn


@click.command(short_help="layers, shapes, parameters, MACs, activation memory, what share is non-tensor")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@common
def inspect(prototxt, caffemodel, as_json, quiet, verbose, debug):
    """Show a network's layers, shapes, parameters, MACs, activation memory, and what share is non-tensor; all for one
    image. With -v, also which layers each layer reads.

    \b
    Examples:
      deepmerge inspect net.prototxt
      deepmerge inspect net.prototxt net.caffemodel --json
    """
    from deepmerge.formats.read import read_network
    from deepmerge.graph.costs import layer_costs, non_tensor_share, shapes_of_one, summary

    graph = read_network(prototxt, caffemodel)
    shapes = shapes_of_one(graph)
    costs, total = layer_costs(graph, shapes), summary(graph, shapes)
    moved = sum(c.bytes for c in costs)
    share = {
        "layers": non_tensor_share(graph),
        "activation_bytes": sum(c.bytes for c in costs if not c.tensor) / moved if moved else 0.0,
    }
    reads = {layer.name: [bottom.producer.name for bottom in layer.bottoms] for layer in graph.layers}
    warn(graph.warnings, quiet)
    if as_json:
        layers = [_entry(cost, reads[cost.name]) for cost in costs]
        show_json({"network": graph.name, **total, "non_tensor_share": share, "layer_costs": layers})
    else:
        show(f"{_layer_table(costs, reads if verbose else None)}\n\n{_total_table(total, share)}", quiet)


def _entry(cost, reads: list[str]) -> dict:
    return {
        "name": cost.name,
        "type": cost.type,
        "reads": reads,
        "tops": cost.tops,
        "params": cost.params,
        "macs": cost.macs,
        "bytes": cost.bytes,
        "tensor": cost.tensor,
    }


def _layer_table(costs, reads: dict[str, list[str]] | None) -> str:
    rows = []
    for c in costs:
        tops = " ".join("×".join(map(str, shape)) if shape is not None else "?" for shape in c.tops)
        numbers = f"{c.params:,}" if c.params else "", f"{c.macs:,}" if c.macs else "", f"{c.bytes / 1e3:,.1f}"
        rows.append((c.name, c.type, tops, *numbers, *([", ".join(reads[c.name])] if reads else [])))
    head = ("layer", "type", "top", "parameters", "MACs", "top, kB", *(["reads"] if reads else []))
    return table(rows, head, "lllrrr")


def _total_table(total: dict, share: dict[str, float]) -> str:
    memory = {kind: megabytes(number) for kind, number in total["activation_bytes"].items()}
    types = ", ".join(f"{number} {name}" for name, number in total["layer_types"].items())
    return table(
        [
            ("layers", f"{total['layers']} ({types})"),
            ("parameters", f"{total['params']:,}"),
            ("MACs", f"{total['macs']:,}"),
            ("storage", megabytes(total["storage_bytes"])),
            (
                "activations",
                f"{memory['caffe']} as Caffe counts, {memory['unique']} distinct, {memory['planned']} planned",
            ),
            (
                "non-tensor",
                f"{share['layers']:.1%} of the layers, {share['activation_bytes']:.1%} of the activation bytes",
            ),
        ]
    )
