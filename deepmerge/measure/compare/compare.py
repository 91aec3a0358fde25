"""Compare two networks: read both, match their blobs, feed them the same inputs, report how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepmerge.data import (
    ImageWishes,
    Loader,
    Loading,
    Preprocessing,
    choose_preprocessing,
    network_transform,
    open_network_images,
)
from deepmerge.engines import engine as find_engine
from deepmerge.engines.base import load_onnx
from deepmerge.errors import DeepmergeError, GraphError, ReadError
from deepmerge.formats import INT8_FILE
from deepmerge.graph.shapes import Shape
from deepmerge.machine import cores
from deepmerge.measure.batching import common_batching
from deepmerge.measure.compare.cut import Cut, cut
from deepmerge.measure.compare.feeds import Chunk, image_chunks, random_chunks
from deepmerge.measure.compare.figures import Figures
from deepmerge.measure.compare.match import Matched, makers, match_inputs, match_layers, match_outputs
from deepmerge.measure.compare.rounding import Sample, rounding
from deepmerge.out.read import Pair, read_converted
from deepmerge.progress import Progress, silent

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine, Session
    from deepmerge.graph import Graph

TOLERANCE = 1e-5  # of the range of A's output
ROUNDINGS = 2  # A rounds, and so does B
MOST_ROUNDING = 1e-3  # of the range; a larger difference is never put down to rounding


@dataclass(frozen=True)
class Job:
    """One comparison, as the command line asks for it.

    threads: None for all cores. images: a source (see data.open_images), or None for `random` images from `seed`.
    limit: use at most this many.
    tolerance: as a share of the range of A's output, or twice what rounding alone makes, if that is more; 0 for the
    same bits, infinite to report only.
    layers: also compare every blob that both have.
    strict: a warning is an error, as is an image that cannot be read.
    """

    a: Pair
    b: Pair
    engine: str = "ort"
    threads: int | None = None
    images: str | None = None
    limit: int | None = None
    random: int = 8
    seed: int = 0
    wishes: ImageWishes = field(default_factory=ImageWishes)
    tolerance: float = TOLERANCE
    layers: bool = False
    strict: bool = False


@dataclass(frozen=True)
class _Feed:
    """What both networks are fed. count: images at most; loader: None for random images."""

    count: int
    chunks: Iterator[Chunk]
    loader: Loader | None = None


@dataclass(frozen=True)
class _Blobs:
    """The blobs to compare, and the figures of each."""

    outputs: Sequence[Matched]
    layers: Sequence[Matched]
    figures: dict[Matched, Figures]


def verify(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Run both networks on the same inputs and return how far apart they are; both get A's preprocessing.

    Keys: engine, images (how many were compared), skipped (how many could not be read), tolerance (None: report only),
    outputs and layers (each a list of {name, b_name, and what Figures.report gives}), first_difference (the first of
    `layers` above the tolerance, and which layers of A make it), failures (one line each), ok, warnings.
    An entry of `outputs` also has stands_for (the outputs that this blob stands for, since the engine cannot compute
    them) and rounding: how far from its float64 values float32 takes A, as a share of the range. It is measured where
    the difference is above the tolerance and at most MOST_ROUNDING, else None. expected: approximate steps made B, so
    that the failures are no surprise.
    Raises a DeepmergeError if the networks cannot be read, run or compared.
    """
    runner = find_engine(job.engine)
    whole = job.a.read(), job.b.read()
    cut_a, cut_b = (cut(graph, runner.lacks, runner.name) for graph in whole)
    a, b = cut_a.graph, cut_b.graph
    warnings = [f"{which}: {line}" for which, graph in zip("AB", whole, strict=True) for line in graph.warnings]
    inputs = match_inputs(a, b)
    outputs, notes = match_outputs(a, b)
    if job.layers and (job.a.onnx or job.b.onnx):
        raise ReadError("gives its outputs alone, so --layers cannot compare it", job.a.onnx or job.b.onnx)
    layers = match_layers(a, b) if job.layers else []
    fed, more = _feed(job, a, b, inputs)
    warnings += cut_a.notes + notes + more
    if job.strict and warnings:
        raise GraphError(f"--strict: {warnings[0]} (a warning, without --strict)")
    blobs = _Blobs(outputs, layers, {pair: Figures() for pair in [*outputs, *layers]})
    with ExitStack() as stack:
        progress("loading", 0, fed.count)
        pairs = (cut_a, job.a), (cut_b, job.b)
        sessions = [stack.enter_context(_load(runner, made, pair, job.threads or cores())) for made, pair in pairs]
        compared, sample = _run(*sessions, blobs, _counted(fed, progress))
        rounded, unknown = _rounding(a, sample, blobs, job.tolerance, progress)
    skipped = fed.loader.skipped if fed.loader else []
    if skipped:
        warnings.append(
            f"{len(skipped)} of {fed.count} images could not be read, and were left out; the first: {skipped[0]}"
        )
    return _report(job, cut_a, blobs, compared, len(skipped), rounded, warnings + unknown)


def _feed(job: Job, a: Graph, b: Graph, inputs: dict[str, Shape]) -> tuple[_Feed, list[str]]:
    """Return what both networks are fed, and notes for the user."""
    batching = common_batching((a, b), job.layers)
    # A's preprocessing, or B's if only B was read from a train_val.prototxt
    asked, pair = (a, job.a) if a.train_layers or not b.train_layers else (b, job.b)
    transform = network_transform(asked, pair.prototxt)
    if job.images is not None:
        images = open_network_images(job.images, a, remedy="use --random")
        preprocessing, notes = images.preprocessing(transform, job.wishes)
        loading = Loading(limit=job.limit, strict=job.strict, cache_bytes=0)
        loader = Loader(images.source, preprocessing, images.shape, batching.size, loading)
        return _Feed(loader.count, image_chunks(images.input, loader, batching), loader), notes
    preprocessing, notes = Preprocessing(), []
    shape = next((shape for shape in inputs.values() if len(shape) == 4), None)
    if shape is not None:
        preprocessing, notes = choose_preprocessing(transform, shape, job.wishes)
    return _Feed(job.random, random_chunks(inputs, job.random, job.seed, batching, preprocessing)), notes


def _load(runner: Engine, made: Cut, pair: Pair, threads: int) -> Session:
    """Load a network; an engine that reads Caffe's files itself reads them, unless they are not what was read."""
    if pair.onnx is not None:
        return load_onnx(runner, pair.onnx, made.graph, threads)
    load_files, graph = getattr(runner, "load_files", None), made.graph
    if load_files is None or made.notes or graph.train_layers or graph.given_inputs:
        return runner.load(graph, threads)
    return load_files(pair.prototxt, pair.caffemodel, threads=threads)


def _counted(fed: _Feed, progress: Progress) -> Iterator[Chunk]:
    done = 0
    for chunk in fed.chunks:
        progress("images", done, fed.count)
        done += chunk.images
        yield chunk


def _run(a: Session, b: Session, blobs: _Blobs, chunks: Iterator[Chunk]) -> tuple[int, Sample | None]:
    """Fill the figures; return the number of images compared, and the first chunk with A's outputs."""
    compared, sample = 0, None
    for chunk in chunks:
        found_a = a.forward(chunk.feeds, [pair.a for pair in blobs.figures])
        found_b = b.forward(chunk.feeds, [pair.b for pair in blobs.figures])
        sample = sample or Sample(chunk, {pair.a: found_a[pair.a] for pair in blobs.outputs})
        batch = len(next(iter(chunk.feeds.values())))
        for pair, compare in blobs.figures.items():
            array_a, array_b = found_a[pair.a], found_b[pair.b]
            if array_a.size != array_b.size:
                shapes = f"{array_a.shape} in A and as {array_b.shape} in B"
                raise GraphError(f"the networks cannot be compared: {pair.a!r} came out as {shapes}")
            if chunk.images < batch and array_a.shape[:1] == array_b.shape[:1] == (batch,):
                array_a, array_b = array_a[: chunk.images], array_b[: chunk.images]  # the rest only fills the batch
            compare.add(array_a, array_b)
        compared += chunk.images
    return compared, sample


def _approximate(pair: Pair) -> bool:
    """Return whether int8 or approximate steps made the network: it is OUT's, or that of a step's folder in OUT."""
    if pair.onnx is not None and pair.onnx.name == INT8_FILE:
        return True
    for folder in list(pair.prototxt.resolve().parents)[:3:2]:
        try:
            converted = read_converted(folder)
        except ReadError:
            continue
        networks = [converted.final, *(step.pair for step in converted.steps)]
        return bool(converted.approximate) and any(pair.prototxt.samefile(one.prototxt) for one in networks)
    return False


def _rounding(
    a: Graph, sample: Sample, blobs: _Blobs, tolerance: float, progress: Progress
) -> tuple[dict[Matched, float], list[str]]:
    """Return how far rounding alone takes A, as a share of the range, where an output needs it; or why it is not known.

    An output needs it if it is above the tolerance, and not further apart than rounding may ever explain. A tolerance
    of 0 asks for the same bits.
    """
    doubtful = [pair for pair in blobs.outputs if 0 < tolerance < blobs.figures[pair].relative <= MOST_ROUNDING]
    if not doubtful:
        return {}, []
    progress("rounding", 0, 1)
    try:
        largest = rounding(a, Sample(sample.chunk, {pair.a: sample.found[pair.a] for pair in doubtful}))
    except DeepmergeError as error:
        return {}, [f"how far rounding alone takes A could not be measured: {error.reason}"]
    shares = {pair: blobs.figures[pair].share(largest[pair.a]) for pair in doubtful}
    # the digits beyond depend on how many threads numpy uses
    return {pair: float(f"{share:.3g}") for pair, share in shares.items()}, []


def _report(
    job: Job,
    cut_a: Cut,
    blobs: _Blobs,
    compared: int,
    skipped: int,
    rounded: dict[Matched, float],
    warnings: list[str],
) -> dict[str, Any]:
    failures = _failures(blobs, job.tolerance, rounded)
    finite = not any(any(figures.nans) for figures in blobs.figures.values())
    return {
        "engine": job.engine,
        "images": compared,
        "skipped": skipped,
        "tolerance": job.tolerance if math.isfinite(job.tolerance) else None,
        "outputs": [
            _entry(pair, blobs, stands_for=cut_a.stands_for.get(pair.a, []), rounding=rounded.get(pair))
            for pair in blobs.outputs
        ],
        "layers": [_entry(pair, blobs) for pair in blobs.layers],
        "first_difference": _first_difference(cut_a.graph, blobs, job.tolerance),
        "failures": failures,
        "ok": not failures,
        "expected": bool(failures) and finite and _approximate(job.b),
        "warnings": list(dict.fromkeys(warnings)),
    }


def _entry(pair: Matched, blobs: _Blobs, **more: Any) -> dict[str, Any]:
    return {"name": pair.a, "b_name": pair.b, **blobs.figures[pair].report(), **more}


def _first_difference(a: Graph, blobs: _Blobs, tolerance: float) -> dict[str, Any] | None:
    first = next((pair for pair in blobs.layers if blobs.figures[pair].above(tolerance)), None)
    return None if first is None else {"name": first.a, "layers": makers(a, first.a)}


def _failures(blobs: _Blobs, tolerance: float, rounded: dict[Matched, float]) -> list[str]:
    """Return one line for each NaN in a blob, and for each output that neither the tolerance nor rounding explains.

    Inner blobs may differ.
    """
    lines = []
    for pair, figures in blobs.figures.items():
        for which, nans in zip(("A", "B"), figures.nans, strict=True):
            if nans:
                kind = "output" if pair in blobs.outputs else "blob"
                name = pair.a if which == "A" else pair.b
                lines.append(f"{kind} {name!r} of {which} has {nans} NaN among its values")
    for pair in blobs.outputs:
        figures = blobs.figures[pair]
        allowed = max(tolerance, min(ROUNDINGS * rounded.get(pair, 0.0), MOST_ROUNDING))
        if not any(figures.nans) and figures.above(allowed):
            apart = f"{figures.relative:.2g} of its range"
            lines.append(f"output {pair.a!r} differs by {apart}, above the tolerance of {tolerance:g}")
    return lines
