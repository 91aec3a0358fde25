"""Graph → files: prototxt, caffemodel, train_val, solver, ONNX, report."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.style import styled, styled_layers, styled_tree
from deepmerge.graph.graph import Graph

__all__ = ["write_caffemodel", "write_pair", "write_prototxt"]


def write_prototxt(graph: Graph, path: str | Path, style: Collection[str] = ()) -> None:
    """The network as a deploy prototxt, in a style of emit.style.STYLES."""
    Path(path).write_text(format_tree(styled_tree(styled(graph, style), style)), encoding="utf-8")


def write_pair(graph: Graph, prototxt: str | Path, caffemodel: str | Path, style: Collection[str] = ()) -> None:
    """The network as real Caffe loads it: its prototxt and its caffemodel, with the same layers and names in both."""
    write_prototxt(graph, prototxt, style)
    graph = styled(graph, style)
    write_caffemodel(graph, caffemodel, styled_layers(graph, style))
