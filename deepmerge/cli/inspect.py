"""deepmerge inspect."""

from __future__ import annotations

import click

from deepmerge.cli.options import FILE, common
from deepmerge.cli.output import megabytes, millions, show, show_json, table, warn


@click.command(short_help="layers, shapes, parameters, MACs, activation memory")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@common
def inspect(prototxt, caffemodel, as_json, quiet, verbose, debug):
    """Show a network's layers, shapes, parameters, MACs, activation memory, and what share is non-tensor.

    \b
    Examples:
      deepmerge inspect net.prototxt
      deepmerge inspect net.prototxt net.caffemodel --json
    """
    from deepmerge.graph.costs import layer_costs, non_tensor_share, summary
    from deepmerge.read import read_network

    graph = read_network(prototxt, caffemodel)
    costs, total = layer_costs(graph), summary(graph)
    rough = [c for c in costs if not c.tensor]
    moved = sum(c.bytes for c in costs)
    share = {"layers": non_tensor_share(graph), "activation_bytes": sum(c.bytes for c in rough) / moved if moved else 0.0}
    warn(graph.warnings, quiet)
    if as_json:
        layers = [{"name": c.name, "type": c.type, "tops": c.tops, "params": c.params, "macs": c.macs, "bytes": c.bytes, "tensor": c.tensor} for c in costs]
        show_json({"network": graph.name, **total, "non_tensor_share": share, "layer_costs": layers})
        return
    rows = [
        (c.name, c.type, " ".join("×".join(map(str, s)) if s is not None else "?" for s in c.tops), f"{c.params:,}" if c.params else "",
         millions(c.macs) if c.macs else "", megabytes(c.bytes))
        for c in costs
    ]  # fmt: skip
    memory = total["activation_bytes"]
    foot = table(
        [
            ("layers", f"{total['layers']} ({', '.join(f'{n} {t}' for t, n in total['layer_types'].items())})"),
            ("parameters", f"{total['params']:,}"),
            ("MACs, one image", f"{total['macs']:,}"),
            ("storage", megabytes(total["storage_bytes"])),
            ("activations", f"{megabytes(memory['caffe'])} as Caffe counts, {megabytes(memory['unique'])} distinct, {megabytes(memory['planned'])} planned"),
            ("non-tensor share", f"{share['layers']:.1%} of the layers, {share['activation_bytes']:.1%} of the activation bytes"),
        ]
    )
    show(table(rows, ("layer", "type", "top", "parameters", "MACs", "activations"), "lllrrr") + "\n\n" + foot, quiet)
