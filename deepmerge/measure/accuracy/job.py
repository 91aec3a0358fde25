"""Measure networks on images: which networks, which images, one pass, the report."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepmerge.data import ImageWishes, Loader, Loading, open_loader
from deepmerge.engines import engine
from deepmerge.engines.base import load_onnx, reads_onnx
from deepmerge.errors import GraphError, PlanError, ReadError
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.fingerprint import weights_digest
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores
from deepmerge.measure.accuracy.measure import TOP, Settings, measure
from deepmerge.measure.accuracy.scores import Network, check_same_input, output_of
from deepmerge.measure.batching import fitting_batch
from deepmerge.out.read import Converted, Pair, read_converted
from deepmerge.progress import Progress, silent
from deepmerge.text import did_you_mean


@dataclass(frozen=True)
class Job:
    """One measurement, as the command line asks for it.

    network: a network's two files, or the folder that convert wrote; with its int8, if the engine runs that.
    data: a source (see data.open_images).
    against: the network whose answers the others' are compared with; by default a folder's original.
    original: the original's files, if they are not those that the folder's report names.
    steps: the folder's steps whose networks are measured, too ("all" for all).
    output: the blob of scores. limit, strict: see data.Loading. batch_size: None for what fits into memory.
    inputs: sizes of inputs, if `network` is a folder; a Pair has its own. threads: None for all cores.
    """

    network: Pair | Path
    data: str
    wishes: ImageWishes = field(default_factory=ImageWishes)
    top: tuple[int, ...] = TOP
    per_class: bool = False
    against: Pair | None = None
    original: Pair | None = None
    steps: tuple[str, ...] = ()
    output: str | None = None
    limit: int | None = None
    batch_size: int | None = None
    strict: bool = False
    engine: str = "ort"
    threads: int | None = None
    inputs: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A network to be measured: its name in the table, its files, and what is in them."""

    name: str
    pair: Pair
    graph: Graph

    @property
    def run(self) -> tuple[Graph, Path | None]:
        """What is run: the network, or its ONNX file."""
        return self.graph, self.pair.onnx


def run(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Measure the networks of the job.

    Keys: data, engine, threads, images, skipped (how many could not be read), classes, networks (entries of `measure`,
    with name, prototxt and caffemodel), against (one more, or None), seconds, images_per_second (of all networks
    together), warnings. Raises a DeepmergeError if something cannot be read, run or compared.
    """
    converted = None if isinstance(job.network, Pair) else read_converted(job.network, job.original, inputs=job.inputs)
    named = (
        [Named("network", job.network, job.network.read())] if converted is None else _of_folder(converted, job.steps)
    )
    main = named[-1]
    if converted is not None and converted.int8 and reads_onnx(engine(job.engine)):
        named.insert(-1, Named("int8", converted.int8, main.graph))  # the final network, which is judged, stays last
    graphs = list(dict.fromkeys(n.graph for n in named))
    loader, warnings = _loader(job, main, graphs)
    runs = list(dict.fromkeys(n.run for n in named))
    against, more = _against(job, converted, loader)
    if against is not None:
        check_same_input(main.graph, against.graph)
    elif not loader.has_labels:
        remedy = "give labelled images, or measure agreement with `deepmerge eval --against PROTOTXT CAFFEMODEL`"
        raise ReadError("has no labels, so accuracy cannot be measured", job.data, remedy=remedy)
    warnings = [f"{n.name}: {line}" for n in _all(named, against) for line in n.graph.warnings] + warnings + more
    if job.strict and warnings:
        raise GraphError(f"--strict: {warnings[0]} (a warning, without --strict)")
    progress("loading", 0, loader.count)
    settings = Settings(job.top, job.output, job.per_class, bool(job.wishes.mirror), job.engine, _threads(job))
    with ExitStack() as stack:
        loaded = [_loaded(job, *run, stack) for run in runs]
        found = measure(loaded, loader, settings, against and _loaded(job, *against.run, stack), progress)
    found["networks"] = [found["networks"][runs.index(n.run)] for n in named]
    return _report(job, named, against, loader, found, warnings)


def _loaded(job: Job, graph: Graph, onnx: Path | None, stack: ExitStack) -> Network:
    """Return what `measure` takes: the network, or its ONNX file in a session that `stack` closes."""
    if onnx is None:
        return graph
    return stack.enter_context(load_onnx(engine(job.engine), onnx, graph, _threads(job)))


def _of_folder(converted: Converted, wanted: Sequence[str]) -> list[Named]:
    """Return the networks of the wanted steps, then the final one, which is often the last step's."""
    names = [step.name for step in converted.steps]
    if wanted and not names:
        raise ReadError(
            "has no folder for each step; convert without --no-steps, or leave --steps out", converted.folder
        )
    for name in wanted:
        if name != "all" and name not in names:
            raise PlanError(f"--steps: {converted.folder} has no step {name!r}", remedy=did_you_mean(name, names))
    chosen = [step for step in converted.steps if step.name in wanted or "all" in wanted]
    named = [Named(step.name, step.pair, step.pair.read()) for step in chosen]
    final = Named("final", converted.final, converted.final.read())
    if named and filecmp.cmp(named[-1].pair.prototxt, final.pair.prototxt, shallow=False):
        if weights_digest(named[-1].graph) == weights_digest(final.graph):
            final = replace(final, graph=named[-1].graph)
    return [*named, final]


def _loader(job: Job, main: Named, graphs: Sequence[Graph]) -> tuple[Loader, list[str]]:
    size = job.batch_size or fitting_batch(graphs)
    classes = output_of(main.graph, job.output)[1]
    loading = Loading(limit=job.limit, strict=job.strict, classes=classes, labelled=None, cache_bytes=0)
    return open_loader(job.data, main.graph, main.pair.prototxt, size, job.wishes, loading)


def _against(job: Job, converted: Converted | None, loader: Loader) -> tuple[Named | None, list[str]]:
    """Return the network that the others are compared with, and notes for the user.

    A network that the user names must be there, and so must the original if there is nothing else to compare with.
    """
    if job.against is not None:
        return Named("against", job.against, job.against.read()), []
    if converted is None:
        return None, []
    try:
        return Named("original", converted.original, converted.original.read()), []
    except ReadError as error:
        if not loader.has_labels or job.original is not None:
            raise
        return None, [f"the original is left out: {error}"]


def _threads(job: Job) -> int:
    return job.threads or cores()


def _all(named: Sequence[Named], against: Named | None) -> list[Named]:
    return [*named, *([against] if against is not None else [])]


def _report(
    job: Job, named: Sequence[Named], against: Named | None, loader: Loader, found: dict[str, Any], warnings: list[str]
) -> dict[str, Any]:
    skipped = found["skipped"]
    if skipped:
        left = f"{len(skipped)} of {loader.count} images could not be read, and were left out; the first: {skipped[0]}"
        warnings = [*warnings, left]
    entries = [_entry(n, entry) for n, entry in zip(named, found["networks"], strict=True)]
    return {
        "data": job.data,
        "engine": job.engine,
        "threads": _threads(job),
        "images": found["images"],
        "skipped": len(skipped),
        "classes": found["classes"],
        "networks": entries,
        "against": None if against is None else _entry(against, found["against"]),
        "seconds": round(found["seconds"], 3),
        "images_per_second": round(found["images"] / found["seconds"], 1),
        "warnings": list(dict.fromkeys(warnings + found["notes"])),
    }


def _entry(named: Named, entry: dict[str, Any]) -> dict[str, Any]:
    files = {"prototxt": str(named.pair.prototxt), "caffemodel": str(named.pair.caffemodels[-1])}
    files |= {"onnx": str(named.pair.onnx)} if named.pair.onnx else {}
    return {"name": named.name, **files, **entry}
