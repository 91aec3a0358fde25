"""Graph → files: prototxt, caffemodel, train_val, solver, ONNX, report."""

from __future__ import annotations

from pathlib import Path

from deepmerge.emit.caffemodel import write_caffemodel
from deepmerge.emit.layers import network_tree
from deepmerge.emit.prototxt import format_tree
from deepmerge.graph.graph import Graph

__all__ = ["write_caffemodel", "write_pair", "write_prototxt"]


def write_prototxt(graph: Graph, path: str | Path) -> None:
    """The network as a deploy prototxt."""
    Path(path).write_text(format_tree(network_tree(graph)), encoding="utf-8")


def write_pair(graph: Graph, prototxt: str | Path, caffemodel: str | Path) -> None:
    """The network as real Caffe loads it: its prototxt and its caffemodel."""
    write_prototxt(graph, prototxt)
    write_caffemodel(graph, caffemodel)
