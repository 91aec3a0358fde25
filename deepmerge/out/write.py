"""What a conversion leaves in OUT: the final network, a folder for each approximate step, recipe, report."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepmerge.errors import EmitError
from deepmerge.formats.write import write_caffemodel, write_pair
from deepmerge.formats.write.data_layers import hdf5_list
from deepmerge.formats.write.finetune import finetune_make
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.solver import FINAL_ITERATIONS, STEP_ITERATIONS, Training, snapshots, solver_text
from deepmerge.formats.write.style import styled
from deepmerge.formats.write.train_val import TrainData, train_val
from deepmerge.graph.graph import Graph, Layer
from deepmerge.out.report import report_text

FORMATS = ("caffe", "onnx")
_GUESSED = """\
# Its data layers are deepmerge's guess: see to source, mean_value and crop_size (or give convert the network's own
# --train-val, or --train-source and --test-source).
"""


@dataclass(frozen=True)
class Settings:
    """formats: of the final network. solver: overrides by field. steps: whether the step folders are wanted.
    style: how deploy.prototxt and the caffemodels are written, see emit.style.
    """

    formats: tuple[str, ...] = ("caffe",)
    data: TrainData = field(default_factory=TrainData)
    solver: dict[str, str] = field(default_factory=dict)
    steps: bool = True
    style: tuple[str, ...] = ()


def folder_name(index: int, step: str) -> str:
    """The folder of a step under steps/: 01-conv1. What a file name should not hold becomes `_`."""
    return f"{index:02d}-{re.sub(r'[^A-Za-z0-9.-]+', '_', step)}"


class Output:
    """Writes into a staged folder.

    notes: what was left out of a train_val, a line each. folded_batchnorm: whether training has to do without
    a BatchNorm that the network had.
    """

    def __init__(self, root: Path, settings: Settings):
        self.root, self.settings = root, settings
        self.folders: list[str] = []
        self.notes: list[str] = []
        self.folded_batchnorm = False

    def step(self, graph: Graph, index: int, name: str, about: str) -> None:
        """The network behind one approximate step, whose layers carry `name` as `Layer.step`."""
        if not self.settings.steps:
            return
        folder = folder_name(index, name)
        here = self.root / "steps" / folder
        here.mkdir(parents=True)
        write_pair(graph, here / "deploy.prototxt", here / "weights.caffemodel", self.settings.style)
        named = styled(graph, self.settings.style)
        write_caffemodel(named, here / "new_layers.caffemodel", [layer for layer in named.layers if layer.step == name])
        self._training(graph, here, about, lambda layer: layer.step == name, STEP_ITERATIONS, "../../")
        self.folders.append(folder)

    def final(self, graph: Graph, about: str) -> None:
        """The final network. What any approximate step has made is new."""
        if "caffe" in self.settings.formats:
            write_pair(graph, self.root / "deploy.prototxt", self.root / "weights.caffemodel", self.settings.style)
            self._training(graph, self.root, about, lambda layer: bool(layer.step), FINAL_ITERATIONS)
            (self.root / "finetune.mk").write_text(
                finetune_make(self.folders, *snapshots(self.settings.solver)), encoding="utf-8"
            )
        if "onnx" in self.settings.formats:
            from deepmerge.formats.onnx import write_onnx

            write_onnx(graph, self.root / "model.onnx")

    def documents(self, recipe: str, report: dict[str, Any]) -> None:
        """Names that are no UTF-8 keep their bytes, as in the prototxt."""
        for name, text in (("recipe.toml", recipe), ("report.json", report_text(report))):
            (self.root / name).write_text(text, encoding="utf-8", errors="surrogateescape")

    def _training(
        self, graph: Graph, here: Path, about: str, is_new: Callable[[Layer], bool], iterations: int, home: str = ""
    ) -> None:
        """train_val and solver. home: from `here` to OUT."""
        if not graph.inputs:
            raise EmitError(
                f"network {graph.name!r} has no Input layer, so that no train_val.prototxt can feed it; give it one"
            )
        data = replace(self.settings.data, home=home)
        tree, front = train_val(graph, is_new, data)
        head = _GUESSED if front.guessed else ""
        (here / "train_val.prototxt").write_text(head + format_tree(tree), encoding="utf-8")
        new = [layer.name for layer in graph.layers if is_new(layer) and layer.weights]
        training = Training(iterations, front.batch_size, "TEST" in front.phases, self.folded_batchnorm)
        solver = solver_text(about, new, training, self.settings.solver)
        (here / "solver.prototxt").write_text(solver, encoding="utf-8")
        for listed in (hdf5_list("TRAIN", data.train), hdf5_list("TEST", data.test)):
            if listed:
                (here / listed[0]).write_text(listed[1], encoding="utf-8")
        self.notes += [note for note in front.notes if note not in self.notes]
