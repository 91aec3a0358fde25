"""Graph → Caffe's files: deploy.prototxt, caffemodel, train_val.prototxt, solver.prototxt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.style import styled, styled_layers, styled_tree
from deepmerge.graph.graph import Graph
from deepmerge.names import encoded

__all__ = ["write_caffemodel", "write_pair"]


def write_pair(graph: Graph, prototxt: str | Path, caffemodel: str | Path | None, style: Collection[str] = ()) -> Graph:
    """Write the network's prototxt and caffemodel as real Caffe loads them, with the same layers and names in both.

    caffemodel: None to write the prototxt alone. style: names in formats.STYLES. Returns the graph with its names in
    that style; see style.styled.
    """
    named = styled(graph, style)
    Path(prototxt).write_bytes(encoded(format_tree(styled_tree(named, style))))
    if caffemodel is not None:
        write_caffemodel(named, caffemodel, styled_layers(named, style))
    return named
