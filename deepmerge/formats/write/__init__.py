"""Graph → Caffe's files: deploy.prototxt, caffemodel, train_val.prototxt, solver.prototxt."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.style import styled, styled_layers, styled_tree
from deepmerge.graph.graph import Graph
from deepmerge.names import encoded

__all__ = ["write_caffemodel", "write_pair", "write_prototxt"]


def write_prototxt(graph: Graph, path: str | Path, style: Collection[str] = ()) -> None:
    """Write the network as a deploy prototxt. style: names in style.STYLES."""
    _write_tree(styled(graph, style), path, style)


def write_pair(graph: Graph, prototxt: str | Path, caffemodel: str | Path | None, style: Collection[str] = ()) -> Graph:
    """Write the network's prototxt and caffemodel as real Caffe loads them, with the same layers and names in both.

    caffemodel: None to write the prototxt alone. Returns the graph with its names in that style; see style.styled.
    """
    named = styled(graph, style)
    _write_tree(named, prototxt, style)
    if caffemodel is not None:
        write_caffemodel(named, caffemodel, styled_layers(named, style))
    return named


def _write_tree(named: Graph, path: str | Path, style: Collection[str]) -> None:
    Path(path).write_bytes(encoded(format_tree(styled_tree(named, style))))
