"""Writing OUT: the final network, a folder for each approximate step, the recipe and the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepmerge.errors import EmitError
from deepmerge.formats import INT8_METHODS, STYLES, WRITTEN_OUT
from deepmerge.formats.write import write_caffemodel, write_pair
from deepmerge.formats.write.data_layers import GUESS, hdf5_list
from deepmerge.formats.write.losses import has_loss, no_loss_fits
from deepmerge.formats.write.makefile import finetune_make
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.solver import FINAL_ITERATIONS, STEP_ITERATIONS, Training, snapshots, solver_text
from deepmerge.formats.write.train_val import TrainData, train_val
from deepmerge.graph.graph import Graph, Layer
from deepmerge.names import encoded, for_path
from deepmerge.out.report import write_report
from deepmerge.targets.target import load_target

_GUESSED = f"""\
# Its data layers are {GUESS}: check source, mean_value and crop_size (or give convert the network's own
# --train-val, or --train-source and --test-source).
"""


@dataclass(frozen=True)
class Settings:
    """What to write. formats: those of the final network. solver: overrides by field. steps: whether to write them.

    style: how deploy.prototxt and the caffemodels are written; see formats.write.style. onnx_lrn: how model.onnx has
    LRN; see formats.onnx.to_onnx. int8_method, int8_keep: see convert.int8; keep may be names of layers or types.
    step_weights: whether every step's folder gets complete weights; else only the first one does, and each later step
    has the weights of the step before it with its own new layers on top.
    """

    formats: tuple[str, ...] = ("caffe",)
    data: TrainData = field(default_factory=TrainData)
    solver: dict[str, str] = field(default_factory=dict)
    steps: bool = True
    style: tuple[str, ...] = ()
    onnx_lrn: str = WRITTEN_OUT
    int8_method: str = INT8_METHODS[0]
    int8_keep: tuple[str, ...] = ()
    step_weights: bool = False

    def for_target(self, name: str) -> Settings:
        """Return the settings with the styles that a target needs as well; name: "" for none."""
        needed = load_target(name).conventions if name else ()
        return replace(self, style=tuple(style for style in STYLES if style in (*self.style, *needed)))


@dataclass(frozen=True)
class _Fine:
    """How a network is fine-tuned. about: the first line of its solver. home: the path from its folder to OUT.

    is_new: whether a layer learns at the rate of new layers.
    """

    about: str
    is_new: Callable[[Layer], bool]
    iterations: int
    home: str = ""


def folder_name(index: int, step: str) -> str:
    """Return the name of a step's folder in steps/, such as 01-conv1; all folders have another number."""
    return for_path(f"{index:02d}-{step}")


class Output:
    """Writes into a staged folder.

    lacking: what no train_val has, a line each. notes: what was left out of a train_val, a line each.
    folded_batchnorm: whether training has to work without a BatchNorm that the network had.
    """

    def __init__(self, root: Path, settings: Settings, lacking: Sequence[str] = ()):
        self.root, self.settings, self.lacking = root, settings, lacking
        self.folders: list[str] = []
        self.notes: list[str] = []
        self.folded_batchnorm = False

    def step(self, graph: Graph, index: int, name: str, about: str) -> None:
        """Write the network after one approximate step, whose layers have `name` as `Layer.step`."""
        if not self.settings.steps:
            return
        folder = folder_name(index, name)
        here = self.root / "steps" / folder
        here.mkdir(parents=True)
        complete = self.settings.step_weights or not self.folders  # finetune.mk begins with the first step's
        named = self._pair(graph, here, complete)
        new = [layer for layer in named.layers if layer.step == name]
        bare = [layer for layer in named.layers if not layer.weights]  # a file without any layer is no caffemodel
        write_caffemodel(named, here / "new_layers.caffemodel", new or bare)
        self._training(graph, here, _Fine(about, lambda layer: layer.step == name, STEP_ITERATIONS, "../../"))
        self.folders.append(folder)

    def final(self, graph: Graph, about: str) -> None:
        """Write the final network. The layers of all approximate steps are new in it."""
        if "caffe" in self.settings.formats:
            self._pair(graph, self.root)
            if self._training(graph, self.root, _Fine(about, lambda layer: bool(layer.step), FINAL_ITERATIONS)):
                _write(self.root / "finetune.mk", finetune_make(self.folders, *snapshots(self.settings.solver)))
        if "onnx" in self.settings.formats:
            from deepmerge.formats.onnx import write_onnx

            write_onnx(graph, self.root / "model.onnx", lrn=self.settings.onnx_lrn)

    def documents(self, recipe: str, report: dict[str, Any]) -> None:
        """Write recipe.toml and report.json."""
        _write(self.root / "recipe.toml", recipe)
        write_report(self.root, report)

    def _pair(self, graph: Graph, here: Path, complete: bool = True) -> Graph:
        weights = here / "weights.caffemodel" if complete else None
        return write_pair(graph, here / "deploy.prototxt", weights, self.settings.style)

    def _training(self, graph: Graph, here: Path, fine: _Fine) -> bool:
        """Write train_val.prototxt and solver.prototxt, with the lists that HDF5 data need; False if no loss fits."""
        if not has_loss(graph.train_layers) and (reason := no_loss_fits(graph)):
            self._note(f"no train_val.prototxt, solver.prototxt and finetune.mk: {reason}; give --train-val")
            return False
        if not graph.inputs:
            text = f"network {graph.name!r} has no Input layer, so no train_val.prototxt can feed it"
            raise EmitError(text, remedy="add one")
        data = replace(self.settings.data, home=fine.home)
        tree, front = train_val(graph, fine.is_new, data)
        _write(here / "train_val.prototxt", (_GUESSED if front.guessed else "") + format_tree(tree))
        new = [layer.name for layer in graph.layers if fine.is_new(layer) and layer.weights]
        training = Training(fine.iterations, front.batch_size, "TEST" in front.phases, self.folded_batchnorm)
        _write(here / "solver.prototxt", solver_text(fine.about, new, training, self.settings.solver))
        for listed in (hdf5_list("TRAIN", data.train), hdf5_list("TEST", data.test)):
            if listed:
                _write(here / listed[0], listed[1])
        for note in (*self.lacking, *front.notes):
            self._note(note)
        return True

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _write(file: Path, text: str) -> None:
    file.write_bytes(encoded(text))
