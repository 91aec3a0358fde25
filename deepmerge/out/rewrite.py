"""Copying OUT with new weights, as recover and finetune do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmerge.formats import INT8_FILE, WRITTEN_OUT
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted, Pair
from deepmerge.out.report import write_report


@dataclass(frozen=True)
class Retrained:
    """A network of OUT with new weights. pair, new_layers: its files in OUT; the final network has no new_layers.

    new: names of layers that new_layers gets beside those that it already holds. complete: whether all weights are
    written even if the step's folder holds new_layers alone: those of the step before it are no longer the others.
    """

    graph: Graph
    pair: Pair
    new_layers: Path | None = None
    new: Collection[str] = ()
    complete: bool = False


def rewrite(converted: Converted, folder: Path, networks: Iterable[Retrained], report: Mapping[str, Any]) -> None:
    """Write all of OUT into `folder`, with the weights of these networks and the new report.

    networks: taken one at a time, so that not all of them are in memory at once.
    report.html and model-int8.onnx are left out, since they are of the old weights; a new model-int8.onnx that is in
    `folder` stays.
    """
    for network in networks:
        _write_network(converted, folder, network)

    def already_there(source: str, names: list[str]) -> list[str]:
        here = folder / Path(source).relative_to(converted.folder)
        return [name for name in names if name in ("report.html", INT8_FILE) or (here / name).is_file()]

    shutil.copytree(converted.folder, folder, dirs_exist_ok=True, symlinks=True, ignore=already_there)
    _make_writable(folder)
    write_report(folder, report)


def _make_writable(folder: Path) -> None:
    """Let the owner write into the folder and to what is in it: a copy has the modes of what was copied."""
    for root, _, names in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in names)):
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | stat.S_IWUSR)


def _write_network(converted: Converted, folder: Path, network: Retrained) -> None:
    if not network.pair.over:
        _write_weights(network.graph, network.pair.caffemodel, converted.folder, folder)
    elif network.complete:
        home = folder / network.pair.prototxt.parent.relative_to(converted.folder)
        home.mkdir(parents=True, exist_ok=True)
        write_caffemodel(network.graph, home / "weights.caffemodel")
    if network.new_layers is not None:
        _write_weights(network.graph, network.new_layers, converted.folder, folder, network.new)
    elif (converted.folder / "model.onnx").exists():
        from deepmerge.formats.onnx import write_onnx

        lrn = converted.report.get("onnx", {}).get("lrn", WRITTEN_OUT)
        write_onnx(network.graph, folder / "model.onnx", lrn=lrn)


def _write_weights(graph: Graph, file: Path, old: Path, new: Path, more: Collection[str] = ()) -> None:
    """Write the layers that `file` in OUT holds, and `more` of them, as they are in the graph."""
    held = {layer.name for layer in read_caffemodel(file)} | set(more)
    written = new / file.relative_to(old)
    written.parent.mkdir(parents=True, exist_ok=True)
    write_caffemodel(graph, written, [layer for layer in graph.layers if layer.name in held])
