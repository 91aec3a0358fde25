"""The public Python API: load a network, plan, convert, verify, recover, fine-tune, evaluate, tabulate.

>>> import deepmerge
>>> network = deepmerge.load(
...     "models/inception_mini/inception_mini.prototxt", "models/inception_mini/inception_mini.caffemodel"
... )
>>> network.costs["layers"], network.costs["macs"]
(57, 18479616)
>>> plan = network.plan(steps="conv1,conv2")
>>> [step.name for step in plan.steps]
['conv1', 'conv2']
>>> network.convert(plan).costs["macs"]
12507648

Every function raises `DeepmergeError` with a message of one line. The commands call these functions: what
`network.convert(plan, "out")` writes is, byte for byte, what `deepmerge convert` writes with the same options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.data import ImageWishes
from deepmerge.errors import EmitError, PlanError, ReadError
from deepmerge.formats import INT8
from deepmerge.formats.read import read_network, read_train_layers
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.costs import (
    KeptCosts,
    LayerCost,
    layer_costs,
    non_tensor_share,
    not_counted,
    shapes_of_one,
    summary,
)
from deepmerge.names import for_html, for_terminal
from deepmerge.out.staging import check_free, staged, write_whole
from deepmerge.passes.support.base import Change, Options, Refusal
from deepmerge.plan import Plan as FoundPlan
from deepmerge.plan import Recipe, Step, Wishes, make_plan, read_recipe, run_recipe
from deepmerge.plan.recipe import check_fits
from deepmerge.plan.sketch import shapes_say_weights, without_weights
from deepmerge.progress import Progress, silent
from deepmerge.targets.check import problems
from deepmerge.targets.target import load_target
from deepmerge.temporary import temporary_folder
from deepmerge.text import did_you_mean, plain_table, unused

if TYPE_CHECKING:
    import numpy as np

    from deepmerge.choose.plans import Plans
    from deepmerge.choose.study import Study
    from deepmerge.convert.calibrate import CalibrationImages
    from deepmerge.graph.graph import Graph
    from deepmerge.out.digest import Digest
    from deepmerge.out.read import Pair

PathLike = str | Path
Report = dict[str, Any]

__all__ = [
    "Conversion",
    "Frontier",
    "ImageWishes",
    "LayerCost",
    "Network",
    "Plan",
    "Recipe",
    "Refusal",
    "Step",
    "evaluate",
    "finetune",
    "load",
    "read_recipe",
    "recover",
    "tabulate",
    "verify",
]


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
            How many images are used: a quarter to fit on, a quarter to judge by, the rest to check the result on.
        steps, absorb, keep, target
            What may be changed, as for `plan`.

        Raises
        ------
        PlanError
            If nothing can be chosen, or SciPy is not installed.
        """
        from deepmerge.choose.job import Job
        from deepmerge.choose.study import Study

        if self.prototxt is None or self.caffemodel is None:
            raise ReadError("choosing needs the network's weights: load it with its caffemodel", self.prototxt)
        options = Options(absorb=tuple(absorb), keep=frozenset(keep), target=target and load_target(target).name)
        job = Job(
            self.graph,
            self.train_val or self.prototxt,
            data,
            wishes or ImageWishes(),
            images,
            engine,
            threads,
            _path(measurements),
            steps,
            options,
            strict,
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
        data = TrainData(train, test, batch_size)
        files = tuple(emit), data, _overrides(solver), step_folders, tuple(style)
        settings = Settings(*files, onnx_lrn, int8_method, tuple(int8_keep), step_weights)
        finish = original._write_page if page else lambda folder: None
        out = _path(out)
        job = Job(self.prototxt, self.caffemodel, out, settings, plan.images, check, strict, force, finish)
        graph = original.graph.copy()
        graph.warnings += plan.notes if INT8 not in emit else plan.images.notes if plan.images else []
        report = run(graph, plan.found, job, progress, digest)
        return Conversion(original, graph, report, out if "caffe" in emit else None)

    def save(self, folder: PathLike, *, force: bool = False) -> None:
        """Write deploy.prototxt and weights.caffemodel into a new folder; `force` replaces an existing one."""
        from deepmerge.formats.write import write_pair

        check_free(Path(folder), force)
        with staged(Path(folder), force) as stage:
            write_pair(self.graph, stage / "deploy.prototxt", stage / "weights.caffemodel")

    def __repr__(self) -> str:
        known = f"{self.costs['layers']} layers, {self.costs['params']:,} parameters, {self.costs['macs']:,} MACs"
        return f"<{type(self).__name__} {for_terminal(self.name)!r}: {known}>"

    def __str__(self) -> str:
        total = f"{len(self.layers)} layers, {self.costs['params']:,} parameters, {self.costs['macs']:,} MACs"
        return f"{for_terminal(self.name)}: {total}\n\n{plain_table(self._rows(), _LAYER_HEAD)}"

    def _repr_html_(self) -> str:
        return _as_html(repr(self), _LAYER_HEAD, self._rows())

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


class Plan:
    """The steps that a conversion would take, and what it would leave alone and why.

    Attributes
    ----------
    network : Network
        The network that it is for.
    """

    def __init__(self, network: Network, found: FoundPlan, images: CalibrationImages | None = None):
        self.network, self.found, self.images = network, found, images

    @property
    def recipe(self) -> Recipe:
        """The steps as a recipe. Its `to_toml()` is what `--recipe` reads."""
        return self.found.recipe

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order, with `name`, `passes`, `layers` and `exact`."""
        return self.found.recipe.steps

    @property
    def notes(self) -> list[str]:
        """What is said about the calibration images, one line each."""
        notes = [] if self.images is None else list(self.images.notes)
        if self.images is not None and self.recipe.file and not any(s.options.get("calibration") for s in self.steps):
            notes.append(f"{self.recipe.file}: none of its steps uses calibration images, so they are ignored")
        return notes

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is left alone, with `pass_name`, `layer` and `reason`."""
        return tuple(dict.fromkeys(self.found.refusals))

    def to_dict(self) -> Report:
        """Return the steps, costs and refusals as `deepmerge plan --json` prints them. The steps run on a copy."""
        from deepmerge.convert.convert import refusal_entry, step_entry, target_entry
        from deepmerge.out.write import Settings

        graph = self.network.graph.copy()
        costs = KeptCosts(graph)
        before, steps = costs.summary(), []
        cleanup: list[Change] = []
        lean = bool(self.found.choice) and shapes_say_weights(graph)  # it names all ranks: nothing looks at weights

        def begin(step: Step) -> None:
            if lean and not step.exact:
                without_weights(graph)

        for index, result in run_recipe(graph, self.recipe, cleanup, begin):
            entry = step_entry(index, result, {}, costs.summary())
            steps.append({key: value for key, value in entry.items() if key != "before"})
        taken = {layer for step in self.steps for layer in step.layers}
        costly = [c for c in self.found.candidates if c.costly and not taken & set(c.step.layers)]
        aim = (
            {"target": target_entry(graph, Settings().for_target(self.recipe.target), self.recipe.target)[0]}
            if self.recipe.target
            else {}
        )
        return {
            "network": graph.name,
            **aim,
            "before": before,
            "after": costs.summary(),
            "steps": steps,
            "cleanup": [{"pass": change.pass_name, "layers": list(change.merged)} for change in cleanup],
            "refusals": [refusal_entry(refusal) for refusal in self.refusals if not refusal.costly],
            "costly": [{"name": c.step.name, "layers": list(c.step.layers), "reason": c.costly} for c in costly],
        }

    def write(self, file: PathLike, *, force: bool = False) -> None:
        """Write the plan as a recipe, a TOML file to edit; `force` replaces an existing one."""
        if Path(file).exists() and not force:
            remedy = "give another name, or force=True to replace it"
            raise EmitError(f"{file}: exists already", file=file, remedy=remedy)
        write_whole(Path(file), self.recipe.to_toml())

    def __repr__(self) -> str:
        return f"<Plan for {for_terminal(self.network.name)!r}: {len(self.steps)} steps>"

    def __str__(self) -> str:
        return f"{len(self.steps)} steps\n\n{plain_table(self._rows(), _STEP_HEAD)}"

    def _repr_html_(self) -> str:
        return _as_html(repr(self), _STEP_HEAD, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        return [(s.name, "yes" if s.exact else "no", ", ".join(s.passes), ", ".join(s.layers)) for s in self.steps]


class Frontier:
    """What a network's merges save and cost, as measured: the plans with the least loss for each time.

    `Network.frontier` makes it. It measures what is not yet in its file when it is first asked.

    Attributes
    ----------
    network : Network
        The network that it is for.
    """

    def __init__(self, network: Network, study: Study):
        self.network, self.study = network, study

    @cached_property
    def _plans(self) -> Plans:
        """The plans and what they cost. Now all is measured that is not yet in the file."""
        from deepmerge.choose.plans import Plans

        return Plans(self.study)

    def plan(
        self,
        *,
        speedup: float | None = None,
        budget_ms: float | None = None,
        max_loss: float | None = None,
        calibration: str | None = None,
        calibration_images: int = 500,
    ) -> Plan:
        """Return the plan with the least loss that keeps one goal.

        Its `found.choice` says whether the goal was kept; if not, the plan is the nearest one.

        Parameters
        ----------
        speedup
            How many times as fast as the original the network is to be.
        budget_ms
            How many milliseconds it may take.
        max_loss
            How many points of agreement with the original it may lose, fitted, on images that took no part in choosing.
        calibration, calibration_images
            Images for `convert(emit=["onnx-int8"])`, and how many of them.
        """
        from deepmerge.choose.goal import Goal, choose
        from deepmerge.choose.report import chosen_entry

        goals = {"speedup": speedup, "budget_ms": budget_ms, "max_loss": max_loss}
        if sum(value is not None for value in goals.values()) != 1:
            raise PlanError("give one of speedup, budget_ms and max_loss")
        how = self.study.job.wishes, self.study.job.strict, self.study.progress
        images = self.network._calibration(calibration, calibration_images, *how)
        chosen = choose(self._plans, Goal(**goals))
        self.study.close()
        return Plan(self.network, FoundPlan(chosen.recipe, choice=chosen_entry(self._plans, chosen)), images)

    def to_dict(self) -> Report:
        """Return the frontier as `deepmerge plan --json` prints it."""
        from deepmerge.choose.report import study_entry

        found = study_entry(self._plans)
        self.study.close()
        return found

    def draw(self, file: PathLike, plan: Plan | None = None) -> None:
        """Draw it (PNG, SVG or PDF), with the point of a plan if one is given. Needs matplotlib."""
        from deepmerge.choose.picture import draw

        draw(self.network.name, self.to_dict(), Path(file), plan and dict(plan.found.choice or {}))

    def write(self, folder: PathLike, *, force: bool = False) -> list[Path]:
        """Write a recipe for each plan on the frontier into a new folder, named by its speed-up; return the files."""
        check_free(Path(folder), force)
        with staged(Path(folder), force) as stage:
            names = []
            for point, entry in zip(self._plans.points, self.to_dict()["points"], strict=True):
                names.append(unused(f"{entry['expected']['speedup']:.2f}", names))
                text = self._plans.recipe_of(point).to_toml()
                (stage / f"{names[-1]}.toml").write_text(text, "utf-8", "surrogateescape")
        return [Path(folder) / f"{name}.toml" for name in names]


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


def verify(
    a: Network | tuple[PathLike, PathLike] | PathLike,
    b: Network | tuple[PathLike, PathLike] | PathLike,
    *,
    images: str | None = None,
    tolerance: float = 1e-5,
    engine: str = "ort",
    inputs: Sizes | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Run two networks on the same images and return how far apart they are, as `deepmerge verify --json` does.

    Parameters
    ----------
    a, b
        Networks, (prototxt, caffemodel) pairs, or ONNX files that a conversion wrote. Both get A's preprocessing.
    images
        Images to compare on (no labels needed), such as "folder:photos"; None for random ones.
    tolerance
        The largest difference that is `ok`, as a share of the range of A's output.
    engine
        "ort", "torch" or "caffe".
    inputs
        Sizes of inputs, as `load` takes them. A Network has its own.
    options
        The other fields of `deepmerge.measure.compare.Job`: wishes (an ImageWishes), limit, random, seed, layers …

    Returns
    -------
    dict
        Among others `ok`, `failures` (one line each) and `outputs` (the figures of each output).
    """
    from deepmerge.measure.compare import Job
    from deepmerge.measure.compare import verify as run

    with ExitStack() as stack:
        first, second = _files(a, stack, inputs), _files(b, stack, inputs)
        return run(Job(first, second, images=images, tolerance=tolerance, engine=engine, **options), progress)


def recover(
    folder: PathLike,
    data: str,
    out: PathLike,
    *,
    stages: Sequence[str] | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    force: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Recover accuracy without labels, as `deepmerge recover` does, and return the new report.

    Parameters
    ----------
    folder
        What `Network.convert` or `deepmerge convert` wrote.
    data
        Images to learn from (no labels needed), such as "folder:photos".
    out
        The folder to write; it has the form of `folder`.
    stages
        Some of "lsq", "refit", "front", "tail", "distill"; None for lsq, then front and tail for a large network on a
        CPU, else distill.
    minutes
        The time for all stages together; None for a default number of iterations.
    device
        "cpu" or "cuda".
    options
        The other fields of `deepmerge.train.recover.spec.Job`: wishes, steps, limit, counts, seed, inputs …
    """
    from deepmerge.train.recover import STAGES
    from deepmerge.train.recover.job import recover as run
    from deepmerge.train.recover.spec import Job

    if stages is not None:
        for unknown in (stage for stage in stages if stage not in STAGES):
            raise PlanError(f"recover has no stage {unknown!r}", remedy=did_you_mean(unknown, STAGES))
        options["stages"] = tuple(stage for stage in STAGES if stage in stages)
    return run(Job(Path(folder), data, Path(out), minutes=minutes, device=device, force=force, **options), progress)


def finetune(
    folder: PathLike,
    data: str,
    out: PathLike,
    *,
    test_data: str | None = None,
    steps: str | None = None,
    solver: Mapping[str, str] | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    force: bool = False,
    say: Callable[[str], object] = lambda line: None,
    **options: Any,
) -> Report:
    """Fine-tune with labels, as `deepmerge finetune` does, and return the new report.

    Parameters
    ----------
    folder
        What `Network.convert`, `recover` or their commands wrote.
    data
        Labelled images to train on, such as "lmdb:train_lmdb".
    out
        The folder to write; it has the form of `folder`.
    test_data
        Labelled images to test on, when the solver says and at the end.
    steps
        The steps to fine-tune in turn: "all", or names and ranges; None for the final network at once.
    solver
        Fields of the solvers to override, such as {"max_iter": "2000"}.
    minutes
        The limit for all steps together; None for none.
    device
        "cpu" or "cuda".
    say
        Called with a line for each display, test and step.
    options
        The other fields of `deepmerge.train.finetune.spec.Job`: wishes, engine, limit, distill, seed, inputs …
    """
    from deepmerge.train.finetune.job import finetune as run
    from deepmerge.train.finetune.spec import Job

    chosen = {"test_data": test_data, "steps": steps, "solver": _overrides(solver), "minutes": minutes}
    return run(Job(Path(folder), Path(out), data, **chosen, device=device, force=force, **options), say)


def evaluate(
    network: Network | tuple[PathLike, PathLike] | PathLike,
    data: str,
    *,
    top: Sequence[int] = (1, 5),
    against: Network | tuple[PathLike, PathLike] | PathLike | None = None,
    engine: str = "ort",
    inputs: Sizes | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Measure accuracy, or agreement with another network, as `deepmerge eval --json` does.

    Parameters
    ----------
    network
        A network, a (prototxt, caffemodel) pair, the folder of a conversion, or an ONNX file in it.
    data
        Images to measure on (labels needed for accuracy), such as "lmdb:val_lmdb".
    top
        Which top-k to count.
    against
        The network whose answers are compared.
    engine
        "ort", "torch" or "caffe".
    inputs
        Sizes of inputs, as `load` takes them. A Network has its own.
    options
        The other fields of `deepmerge.measure.accuracy.Job`: wishes, per_class, steps, limit, threads …
    """
    from deepmerge.measure.accuracy import Job, run

    with ExitStack() as stack:
        folder = isinstance(network, (str, Path)) and Path(network).suffix != ".onnx"
        measured = Path(network) if folder else _files(network, stack, inputs)
        other = None if against is None else _files(against, stack, inputs)
        job = Job(measured, data, top=tuple(top), against=other, engine=engine, inputs=inputs or {}, **options)
        return run(job, progress)


def tabulate(
    folders: Sequence[PathLike],
    *,
    data: str = "",
    top: Sequence[int] = (1, 5),
    engine: str = "ort",
    seconds: float = 60.0,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Measure accuracy and time after each step of a conversion, as `deepmerge table --json` does.

    Parameters
    ----------
    folders
        What `Network.convert` wrote, and what `recover` and `finetune` made of it.
    data
        Labelled images to measure accuracy on, such as "folder:val"; "" for a table without it.
    top
        Which top-k to count.
    engine
        "ort", "torch" or "caffe".
    seconds
        The time limit for the timing; 0 for a table without times.
    options
        The other fields of `deepmerge.measure.steps.Job`: titles, wishes, limit, time_engine, threads, inputs …
    """
    from deepmerge.measure.steps import Job, run

    paths = [Path(folder) for folder in folders]
    return run(Job(paths, data=data, top=tuple(top), engine=engine, seconds=seconds, **options), progress)


def _files(network: Network | tuple[PathLike, PathLike] | PathLike, stack: ExitStack, inputs: Sizes | None) -> Pair:
    """Return the network's files; those of a network that is on no disk yet are written to a temporary folder."""
    from deepmerge.formats.write import write_pair
    from deepmerge.out.read import Pair, onnx_pair

    if isinstance(network, (str, Path)):
        return onnx_pair(network, inputs)
    if not isinstance(network, Network):
        return Pair(*map(Path, network), inputs or {})
    if network.prototxt is not None and network.caffemodel is not None:
        return Pair(network.prototxt, network.caffemodel, network.graph.given_inputs)
    folder = stack.enter_context(temporary_folder())
    pair = Pair(folder / "deploy.prototxt", folder / "weights.caffemodel")
    write_pair(network.graph, *pair)
    return pair


_LAYER_HEAD = ("layer", "type", "top", "parameters", "MACs", "bytes")
_STEP_HEAD = ("step", "exact", "passes", "layers")


def _path(file: PathLike | None) -> Path | None:
    return None if file is None else Path(file)


def _overrides(solver: Mapping[str, str] | None) -> dict[str, str]:
    """Return the solver's fields; EmitError for one that Caffe's solver does not have."""
    from deepmerge.formats.write.solver import parse_override

    return dict(parse_override(f"{key}={value}") for key, value in (solver or {}).items())


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else "×".join(map(str, shape))


def _as_html(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{for_html(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><caption>{for_html(title)}</caption><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"
