"""OUT2: the folder that was given, with fine-tuned weights, the snapshots, and the story in report.json."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write import write_caffemodel
from deepmerge.out.read import Converted
from deepmerge.out.report import report_text
from deepmerge.out.staging import staged
from deepmerge.train.finetune.stages import Stage, override_weights


@dataclass(frozen=True)
class Trained:
    """weights: a caffemodel of all that a stage ended with. snapshots: files to keep beside it."""

    stage: Stage
    weights: Path
    snapshots: Sequence[Path] = ()


def write_output(
    converted: Converted, out: Path, force: bool, trained: Sequence[Trained], report: dict[str, Any]
) -> None:
    """Write OUT2 whole or not at all; see emit.folder.staged. The final network gets what the last stage ended with."""
    with staged(out, force) as folder:
        shutil.copytree(converted.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("report.html"))
        for one in trained:
            here = folder / one.stage.folder
            if one.stage.name:
                _write_step(one, here)
            for snapshot in one.snapshots:
                shutil.copyfile(snapshot, here / snapshot.name)
        kept = _write_final(converted, trained[-1].weights, folder)
        if kept:
            names = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
            report["finetuning"].setdefault("warnings", []).append(
                f"no step has trained {names}, which keep their weights"
            )
        (folder / "report.json").write_text(report_text(report), encoding="utf-8")


def _write_step(one: Trained, here: Path) -> None:
    graph = one.stage.pair.read()
    override_weights(graph, one.weights)
    write_caffemodel(graph, here / "weights.caffemodel")
    new = {layer.name for layer in read_caffemodel(one.stage.new_layers)}
    write_caffemodel(graph, here / "new_layers.caffemodel", [layer for layer in graph.layers if layer.name in new])


def _write_final(converted: Converted, weights: Path, folder: Path) -> list[str]:
    """The final network's weights; returns the names of the layers that got none from `weights`."""
    graph = converted.final.read()
    kept = override_weights(graph, weights)
    write_caffemodel(graph, folder / "weights.caffemodel")
    if (folder / "model.onnx").exists():
        from deepmerge.formats.onnx import write_onnx

        write_onnx(graph, folder / "model.onnx")
    return [layer.name for layer in kept]
