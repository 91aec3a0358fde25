"""The story: read both → match → feed → compare."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.data import Images, Preprocessing, choose_preprocessing, open_images
from deepmerge.engines import engine as find_engine
from deepmerge.errors import GraphError
from deepmerge.formats.read import read_network
from deepmerge.measure.compare.feeds import Chunk, choose_batching, image_chunks, image_input, random_chunks
from deepmerge.measure.compare.figures import Figures
from deepmerge.measure.compare.match import Matched, makers, match_inputs, match_layers, match_outputs
from deepmerge.progress import Progress, silent

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine, Session
    from deepmerge.graph import Graph

TOLERANCE = 1e-5  # of the range of A's output


@dataclass(frozen=True)
class Pair:
    """A network's two files."""

    prototxt: Path
    caffemodel: Path


@dataclass(frozen=True)
class Job:
    """One comparison, as the command line asks for it.

    images: a source (see data.open_images), or None for `random` images from `seed`. limit: at most so many of them.
    mean, scale, resize, crop, channel_order: see data.choose_preprocessing; None: as the network says.
    tolerance: of the range of A's output; infinite to report only. layers: compare every blob that both have, too.
    strict: a warning, an unreadable image among them, is an error.
    """

    a: Pair
    b: Pair
    engine: str = "ort"
    threads: int = 1
    images: str | None = None
    limit: int | None = None
    random: int = 8
    seed: int = 0
    mean: tuple[float, ...] | None = None
    scale: float | None = None
    resize: tuple[int, int] | None = None
    crop: int | None = None
    channel_order: str = "bgr"
    tolerance: float = TOLERANCE
    layers: bool = False
    strict: bool = False


def verify(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Run both networks on the same inputs and return how far apart they are; both get A's preprocessing.

    Keys: engine, images (how many were compared), skipped (how many could not be read), tolerance (None: report only),
    outputs and layers (each a list of {name, b_name, and what Figures.report gives}), first_difference (the first of
    `layers` that is above the tolerance, and which layers of A make it), failures (a line each), ok, warnings.
    Raises a DeepmergeError where the networks cannot be read, run or compared.
    """
    runner = find_engine(job.engine)
    a, b = (read_network(pair.prototxt, pair.caffemodel) for pair in (job.a, job.b))
    warnings = [f"{which}: {line}" for which, graph in (("A", a), ("B", b)) for line in graph.warnings]
    inputs = match_inputs(a, b)
    outputs, notes = match_outputs(a, b)
    layers = match_layers(a, b) if job.layers else []
    images = None if job.images is None else open_images(job.images)
    preprocessing, more = _preprocessing(job, images, a, b, inputs)
    warnings += notes + more
    if job.strict and warnings:
        raise GraphError(f"--strict: {warnings[0]} (a warning, without --strict)")
    skipped: list[str] = []
    batching = choose_batching((a, b), job.layers)
    if images is None:
        count, chunks = job.random, random_chunks(inputs, job.random, job.seed, batching, preprocessing)
    else:
        count, chunks = image_chunks(inputs, images, job.limit, batching, preprocessing, job.strict, skipped)
    with ExitStack() as stack:
        progress("loading", 0, count)
        sessions = [stack.enter_context(_load(runner, g, pair, job.threads)) for g, pair in ((a, job.a), (b, job.b))]
        compared, figures = _run(*sessions, outputs, layers, _counted(chunks, count, progress))
    if skipped:
        warnings.append(
            f"{len(skipped)} of {count} images could not be read, and were left out; the first: {skipped[0]}"
        )
    return _report(job, a, outputs, layers, figures, compared, skipped, warnings)


def _preprocessing(
    job: Job, images: Images | None, a: Graph, b: Graph, inputs: dict
) -> tuple[Preprocessing, list[str]]:
    """A's, or B's where only B was read from a train_val.prototxt."""
    chosen = {"mean": job.mean, "scale": job.scale, "channel_order": job.channel_order}
    asked, pair = (a, job.a) if a.train_layers or not b.train_layers else (b, job.b)
    chosen["folder"] = Path(pair.prototxt).parent
    if images is not None and images.ready:
        return Preprocessing(), []
    if images is not None:
        return choose_preprocessing(asked, image_input(inputs)[1], resize=job.resize, crop=job.crop, **chosen)
    shape = next((shape for shape in inputs.values() if len(shape) == 4), None)
    return (Preprocessing(), []) if shape is None else choose_preprocessing(asked, shape, **chosen)


def _load(runner: Engine, graph: Graph, pair: Pair, threads: int) -> Session:
    """An engine that reads Caffe's files itself is to judge them as they stand, unless they are made for training."""
    load_files = getattr(runner, "load_files", None)
    if load_files is None or graph.train_layers:
        return runner.load(graph, threads)
    return load_files(pair.prototxt, pair.caffemodel, threads=threads)


def _counted(chunks: Iterator[Chunk], count: int, progress: Progress) -> Iterator[Chunk]:
    done = 0
    for chunk in chunks:
        progress("images", done, count)
        done += chunk.images
        yield chunk


def _run(
    a: Session, b: Session, outputs: list[Matched], layers: list[Matched], chunks: Iterator[Chunk]
) -> tuple[int, dict[Matched, Figures]]:
    pairs = list(dict.fromkeys([*outputs, *layers]))
    figures = {pair: Figures() for pair in pairs}
    compared = 0
    for chunk in chunks:
        found_a = a.forward(chunk.feeds, [pair.a for pair in pairs])
        found_b = b.forward(chunk.feeds, [pair.b for pair in pairs])
        batch = len(next(iter(chunk.feeds.values())))
        for pair in pairs:
            _add(figures[pair], pair, found_a[pair.a], found_b[pair.b], chunk.images, batch)
        compared += chunk.images
    return compared, figures


def _add(figures: Figures, pair: Matched, a, b, images: int, batch: int) -> None:
    if a.size != b.size:
        raise GraphError(
            f"the networks cannot be compared: {pair.a!r} came out as {a.shape} in A and as {b.shape} in B"
        )
    if images < batch and a.shape[:1] == b.shape[:1] == (batch,):
        a, b = a[:images], b[:images]  # the rest only filled up the batch
    figures.add(a, b)


def _report(
    job: Job,
    graph: Graph,
    outputs: list[Matched],
    layers: list[Matched],
    figures: dict[Matched, Figures],
    compared: int,
    skipped: list[str],
    warnings: list[str],
) -> dict[str, Any]:
    failures = _failures(job, outputs, layers, figures)
    first = next((pair for pair in layers if figures[pair].above(job.tolerance)), None)
    return {
        "engine": job.engine,
        "images": compared,
        "skipped": len(skipped),
        "tolerance": job.tolerance if math.isfinite(job.tolerance) else None,
        "outputs": [_entry(pair, figures[pair]) for pair in outputs],
        "layers": [_entry(pair, figures[pair]) for pair in layers],
        "first_difference": None if first is None else {"name": first.a, "layers": makers(graph, first.a)},
        "failures": failures,
        "ok": not failures,
        "warnings": list(dict.fromkeys(warnings)),
    }


def _entry(pair: Matched, figures: Figures) -> dict[str, Any]:
    return {"name": pair.a, "b_name": pair.b, **figures.report()}


def _failures(job: Job, outputs: list[Matched], layers: list[Matched], figures: dict[Matched, Figures]) -> list[str]:
    """A line each: NaN in whatever was looked at, and outputs above the tolerance. Inner blobs may differ."""
    lines = []
    for pair in dict.fromkeys([*outputs, *layers]):
        for which, nans in zip(("A", "B"), figures[pair].nans, strict=True):
            if nans:
                kind = "output" if pair in outputs else "blob"
                name = pair.a if which == "A" else pair.b
                lines.append(f"{kind} {name!r} of {which} has {nans} NaN among its values")
    for pair in outputs:
        if not any(figures[pair].nans) and figures[pair].above(job.tolerance):
            apart = f"{figures[pair].relative:.2g} of its range"
            lines.append(f"output {pair.a!r} differs by {apart}, above the tolerance of {job.tolerance:g}")
    return lines
