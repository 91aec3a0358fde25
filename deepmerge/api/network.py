"""A network, as it is read, looked at, planned for and converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.api.frontier import Frontier
from deepmerge.api.plan import Plan
from deepmerge.api.support import PathLike, Report, as_html, overrides
from deepmerge.data import ImageWishes, source_path
from deepmerge.errors import PlanError, ReadError
from deepmerge.formats import INT8
from deepmerge.formats.read import read_network, read_train_layers
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.costs import LayerCost, layer_costs, non_tensor_share, not_counted, shapes_of_one, summary
from deepmerge.names import for_terminal
from deepmerge.out.staging import check_free, staged
from deepmerge.passes.support.base import Options
from deepmerge.plan import Plan as FoundPlan
from deepmerge.plan import Recipe, Wishes, make_plan, read_recipe
from deepmerge.plan.recipe import check_fits
from deepmerge.progress import Progress, silent
from deepmerge.targets.check import problems
from deepmerge.targets.target import load_target
from deepmerge.text import plain_table

if TYPE_CHECKING:
    import numpy as np

    from deepmerge.convert.calibrate import CalibrationImages
    from deepmerge.graph.graph import Graph
    from deepmerge.out.digest import Digest


def load(
    prototxt: PathLike,
    caffemodel: PathLike | None = None,
    *,
    train_val: PathLike | None = None,
    inputs: Sizes | None = None,
) -> Network:
    """Read a network from its Caffe files.

    Parameters
    ----------
    prototxt
        A deploy or train_val prototxt of any age. Of a train_val, the TEST network is read.
    caffemodel
        The weights, a .caffemodel or .caffemodel.h5 file. Without it a network can be inspected and planned.
    train_val
        The prototxt that the network was trained with. A conversion keeps its data, loss and accuracy layers.
    inputs
        Sizes of inputs by name, if the prototxt gives none or you want others: {"data": (1, 3, 224, 224)}, or
        {"data": (3, 224, 224)} to keep its batch.

    Raises
    ------
    DeepmergeError
        If a file cannot be read, or the two do not belong together.
    """
    from deepmerge.formats.write.data_layers import from_anywhere

    graph = read_network(prototxt, caffemodel, inputs)
    if train_val is not None:
        graph.train_layers = read_train_layers(train_val, graph)
    graph.train_layers = from_anywhere(graph.train_layers, (Path(), Path(train_val or prototxt).parent))
    return Network(graph, Path(prototxt), _path(caffemodel), _path(train_val))


class Network:
    """A network: layers, blobs, shapes, costs and weights. Printing it shows a table; so does a notebook.

    All figures are for one image. `load` makes networks; passes never change one.

    Attributes
    ----------
    graph : deepmerge.graph.Graph
        The layers and blobs themselves. This is the inner representation, and it may change between versions.
    prototxt, caffemodel, train_val : pathlib.Path or None
        The files it was read from.
    """

    def __init__(
        self, graph: Graph, prototxt: Path | None = None, caffemodel: Path | None = None, train_val: Path | None = None
    ):
        self.graph, self.prototxt, self.caffemodel, self.train_val = graph, prototxt, caffemodel, train_val

    @property
    def name(self) -> str:
        """The network's name, as its prototxt gives it."""
        return self.graph.name

    @property
    def warnings(self) -> list[str]:
        """What reading the files brought up, one line each."""
        return list(self.graph.warnings)

    @cached_property
    def layers(self) -> list[LayerCost]:
        """The layers in order, with `name`, `type`, `tops` (shapes), `params`, `macs`, `bytes` and `tensor`."""
        return layer_costs(self.graph, self._shapes)

    @cached_property
    def blobs(self) -> dict[str, tuple[int, ...] | None]:
        """The shape of each blob by its name, None where it is not known."""
        return {blob.name: self._shapes.get(blob) for blob in self.graph.blobs}

    @cached_property
    def costs(self) -> Report:
        """The totals as in report.json (layers, layer_types, params, macs, storage_bytes, activation_bytes)."""
        return summary(self.graph, self._shapes)

    @property
    def weights(self) -> dict[str, list[np.ndarray]]:
        """The learned blobs of each layer that has any, float32, in Caffe's order and axes. Read-only."""
        return {layer.name: list(layer.weights) for layer in self.graph.layers if layer.weights}

    def to_dict(self) -> Report:
        """Return all figures as `deepmerge inspect --json` prints them."""
        moved = sum(layer.bytes for layer in self.layers)
        share = {
            "layers": non_tensor_share(self.graph),
            "activation_bytes": sum(c.bytes for c in self.layers if not c.tensor) / moved if moved else 0.0,
        }
        reads = {layer.name: [bottom.producer.name for bottom in layer.bottoms] for layer in self.graph.layers}
        entries = [
            {"name": c.name, "type": c.type, "reads": reads[c.name], "tops": c.tops}
            | {"params": c.params, "macs": c.macs, "bytes": c.bytes, "tensor": c.tensor}
            for c in self.layers
        ]
        lacking = {layer.name: missing for layer in self.graph.layers if (missing := not_counted(layer, self._shapes))}
        rules = {layer.type: layer.kind.fork for layer in self.graph.layers if layer.kind.fork and layer.params}
        return {
            "network": self.name,
            **self.costs,
            "non_tensor_share": share,
            "layer_costs": entries,
            "fork_rules": dict(sorted(rules.items())),
            "not_counted": lacking,
        }

    def check(self, *targets: str) -> Report:
        """Return what these targets would not take of the network's files, as `deepmerge check --json` prints it.

        Raises
        ------
        PlanError
            If there is no such target.
        """
        stored = None
        if self.caffemodel is not None:
            stored = {layer.name: layer.type for layer in read_caffemodel(self.caffemodel) if layer.blobs}
        entries = []
        for target in map(load_target, targets):
            found = problems(self.graph, target, stored)
            taken = not any(not problem.only_for for problem in found)
            entries.append(target.entry() | {"taken": taken, "problems": [problem.entry() for problem in found]})
        return {"network": self.name, "targets": entries}

    def plan(
        self,
        *,
        recipe: Recipe | PathLike | None = None,
        exact: bool = False,
        steps: str = "all",
        absorb: Sequence[str] = ("lrn", "pooling", "branches"),
        keep: Sequence[str] = (),
        width: float | str = 0.5,
        kernel: str = "keep",
        init: str = "trained",
        tucker: bool = False,
        rank: str = "energy:0.85",
        target: str = "",
        calibration: str | None = None,
        calibration_images: int = 500,
        wishes: ImageWishes | None = None,
        strict: bool = False,
        progress: Progress = silent,
    ) -> Plan:
        """Find what can be merged.

        The keywords are the options of `deepmerge convert`.

        Parameters
        ----------
        recipe
            A recipe, or its file. It says what to do in place of `exact`, `steps` … `rank`.
        wishes
            How calibration images are prepared, if not as the network says.
        strict
            Whether a calibration image that cannot be read is an error.
        progress
            Called with how many calibration images are done, and how many layers Tucker has looked at.

        Raises
        ------
        PlanError
            If `steps`, `keep` or the recipe name something that the network does not have, or there is no
            such target.
        """
        if exact and tucker:
            raise PlanError("exact and tucker exclude each other: Tucker decomposition is approximate")
        target = target and load_target(target).name
        recipe = read_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
        network = self if recipe is None else self._with_inputs(recipe)
        graph = network.graph
        images = network._calibration(calibration, calibration_images, wishes, strict, progress)
        if recipe is not None:
            check_fits(recipe, graph)
            found = replace(recipe, inputs=graph.given_inputs, target=target or recipe.target)
            return Plan(network, FoundPlan(found), images)
        options = Options(
            width=width,
            kernel=kernel,
            init=init,
            rank=rank,
            absorb=tuple(absorb),
            keep=frozenset(keep),
            target=target,
        )
        return Plan(network, make_plan(graph, Wishes(exact, steps, tucker, options), images, progress), images)

    def frontier(
        self,
        data: str,
        *,
        engine: str = "ort",
        threads: int = 1,
        measurements: PathLike | None = None,
        images: int = 800,
        steps: str = "all",
        absorb: Sequence[str] = ("lrn", "pooling", "branches"),
        keep: Sequence[str] = (),
        target: str = "",
        wishes: ImageWishes | None = None,
        strict: bool = False,
        progress: Progress = silent,
    ) -> Frontier:
        """Measure what each merge would save and cost, to choose among them.

        Parameters
        ----------
        data
            Images to choose by (no labels needed), such as "folder:photos".
        engine, threads
            What the times are measured on.
        measurements
            A file to read measurements from and to add them to; None for one in the user's cache.
        images
            How many images are used, 30 or more: a quarter to fit on, a quarter to judge by, the rest to check the
            result on.
        steps, absorb, keep, target
            What may be changed, as for `plan`.
        strict
            Whether a warning about the images is an error.

        Raises
        ------
        PlanError
            If nothing can be chosen, or SciPy is not installed.
        """
        from deepmerge.choose.job import ChooseJob
        from deepmerge.choose.study import Study

        if self.prototxt is None or self.caffemodel is None:
            raise ReadError("choosing needs the network's weights: load it with its caffemodel", self.prototxt)
        options = Options(absorb=tuple(absorb), keep=frozenset(keep), target=target and load_target(target).name)
        job = ChooseJob(
            self.graph,
            self.train_val or self.prototxt,
            data,
            wishes=wishes or ImageWishes(),
            images=images,
            engine=engine,
            threads=threads,
            file=_path(measurements),
            steps=steps,
            options=options,
            strict=strict,
        )
        return Frontier(self, Study(job, progress))

    def convert(
        self,
        plan: Plan | Recipe | PathLike | None = None,
        out: PathLike | None = None,
        *,
        emit: Sequence[str] = ("caffe",),
        style: Sequence[str] = (),
        onnx_lrn: str = "written-out",
        int8_method: str = "average",
        int8_keep: Sequence[str] = (),
        solver: Mapping[str, str] | None = None,
        train_source: str | None = None,
        test_source: str | None = None,
        batch_size: int = 32,
        step_folders: bool = True,
        step_weights: bool = False,
        page: bool = False,
        force: bool = False,
        check: bool = False,
        strict: bool = False,
        progress: Progress = silent,
        digest: Digest | None = None,
    ) -> Conversion:
        """Carry a plan out, and write what `deepmerge convert` writes if there is an `out`.

        Parameters
        ----------
        plan
            What to do: a Plan, a recipe or its file, or None for all steps (`self.plan()`).
        out
            The folder to write, whole or not at all. Without it nothing is written.
        emit, style, onnx_lrn, int8_method, int8_keep, solver, train_source, test_source, batch_size
            What is written. These are the options of `deepmerge convert`. onnx-int8 needs a plan with `calibration`.
        step_folders, step_weights
            Whether each approximate step has a folder, and whether all of them, not the first alone, have all weights.
        page
            Whether to write report.html, too.
        force
            Whether to replace an existing folder.
        check
            Whether to check the graph's invariants after each step.
        strict
            Whether a warning is an error.
        progress
            Called with the name of what begins, how many steps are done, and how many there are.
        digest
            The caffemodel's, if its hashing has begun already.
        """
        from deepmerge.convert.convert import Job
        from deepmerge.convert.convert import convert as run
        from deepmerge.formats.write.data_layers import Source
        from deepmerge.formats.write.train_val import TrainData
        from deepmerge.out.write import Settings

        if self.prototxt is None or self.caffemodel is None:
            raise ReadError("a conversion needs the network's weights: load it with its caffemodel", self.prototxt)
        plan = plan if isinstance(plan, Plan) else self.plan(recipe=plan)
        original = self._with_inputs(plan.recipe)
        train, test = (None if spec is None else Source.parse(spec) for spec in (train_source, test_source))
        settings = Settings(
            formats=tuple(emit),
            data=TrainData(train, test, batch_size),
            solver=overrides(solver),
            steps=step_folders,
            style=tuple(style),
            onnx_lrn=onnx_lrn,
            int8_method=int8_method,
            int8_keep=tuple(int8_keep),
            step_weights=step_weights,
        )
        out = _path(out)
        job = Job(
            self.prototxt,
            self.caffemodel,
            out,
            settings=settings,
            calibration=plan.images,
            reads=[*filter(None, [self.train_val]), *map(source_path, plan.specs)],
            check=check,
            strict=strict,
            force=force,
            finish=original._write_page if page else lambda folder: None,
        )
        graph = original.graph.copy()
        # --strict has failed already on images that cannot be read; what an engine refuses is no error
        chosen = [] if strict else plan.choice_notes
        unused = [] if INT8 in emit else plan.unused_notes
        graph.warnings += [*chosen, *plan.image_notes, *unused]
        report = run(graph, plan.found, job, progress, digest)
        return Conversion(original, graph, report, out if "caffe" in emit else None)

    def save(self, folder: PathLike, *, force: bool = False) -> None:
        """Write deploy.prototxt and weights.caffemodel into a new folder.

        force: replace an existing one, but not a folder that holds this network's own files, unless a conversion
        wrote it.
        """
        from deepmerge.formats.write import write_pair

        check_free(Path(folder), force, [file for file in (self.prototxt, self.caffemodel) if file is not None])
        with staged(Path(folder), force) as stage:
            write_pair(self.graph, stage / "deploy.prototxt", stage / "weights.caffemodel")

    def __repr__(self) -> str:
        known = f"{self.costs['layers']} layers, {self.costs['params']:,} parameters, {self.costs['macs']:,} MACs"
        return f"<{type(self).__name__} {for_terminal(self.name)!r}: {known}>"

    def __str__(self) -> str:
        total = f"{len(self.layers)} layers, {self.costs['params']:,} parameters, {self.costs['macs']:,} MACs"
        return f"{for_terminal(self.name)}: {total}\n\n{plain_table(self._rows(), _LAYER_HEAD)}"

    def _repr_html_(self) -> str:
        return as_html(repr(self), _LAYER_HEAD, self._rows())

    @cached_property
    def _shapes(self):
        return shapes_of_one(self.graph)

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (c.name, c.type, " ".join(map(_shape, c.tops)), f"{c.params:,}", f"{c.macs:,}", f"{c.bytes:,}")
            for c in self.layers
        ]

    def _with_inputs(self, recipe: Recipe) -> Network:
        """Return the network as it is read with the recipe's sizes of inputs; its own come first."""
        sizes = {**recipe.inputs, **self.graph.given_inputs}
        if sizes == self.graph.given_inputs or self.prototxt is None:
            return self
        return load(self.prototxt, self.caffemodel, train_val=self.train_val, inputs=sizes)

    def _calibration(
        self, spec: str | None, count: int, wishes: ImageWishes | None, strict: bool, progress: Progress
    ) -> CalibrationImages | None:
        """Return the images to calibrate on, checked against the network; None if there is no `spec`."""
        from deepmerge.convert.calibrate import CalibrationImages

        if spec is None:
            return None
        if self.prototxt is None:
            raise ReadError("calibration needs a network that was read from files")
        images = CalibrationImages(spec, self.train_val or self.prototxt, count, wishes, strict, progress)
        images.prepare(self.graph)
        return images

    def _write_page(self, folder: Path) -> None:
        from deepmerge.out.read import Pair
        from deepmerge.page import write_page

        write_page(folder, original=Pair(self.prototxt, self.caffemodel), force=True)


class Conversion(Network):
    """A converted network. `Network.convert` makes it; its `save` writes the final network alone.

    Attributes
    ----------
    original : Network
        The network that was converted.
    report : dict
        What was done, as in report.json and `deepmerge convert --json`.
    """

    def __init__(self, original: Network, graph: Graph, report: Report, folder: Path | None = None):
        files = () if folder is None else (folder / "deploy.prototxt", folder / "weights.caffemodel")
        super().__init__(graph, *files)
        self.original, self.report = original, report


_LAYER_HEAD = ("layer", "type", "top", "parameters", "MACs", "bytes")


def _path(file: PathLike | None) -> Path | None:
    return None if file is None else Path(file)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else "×".join(map(str, shape))
