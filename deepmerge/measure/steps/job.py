"""Make the table: the networks after each step, their accuracy in one pass, their times in turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from deepmerge.data import ImageWishes, Loading, open_loader
from deepmerge.engines import engine
from deepmerge.engines.base import load_onnx, reads_onnx
from deepmerge.errors import GraphError, ReadError
from deepmerge.formats.read.inputs import Sizes
from deepmerge.graph.fingerprint import weights_digest
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores
from deepmerge.measure.accuracy.measure import TOP, Settings, measure
from deepmerge.measure.accuracy.scores import output_of
from deepmerge.measure.batching import fitting_batch
from deepmerge.measure.harness.machine import machine
from deepmerge.measure.harness.networks import Network, Source
from deepmerge.measure.steps.times import step_times
from deepmerge.out.read import Converted, Pair, read_converted
from deepmerge.progress import Progress, silent

VERSION = 1


@dataclass(frozen=True)
class Job:
    """One table, as the command line asks for it.

    folders: OUT as convert wrote it, and what recover and finetune made of it. titles: their columns' titles, "" for
    what their reports say. data: a source of images (see data.open_images), "" for a table without accuracy.
    seconds: for timing, 0 for a table without times. original: its files, if not those that the reports name.
    engine: for accuracy, and for times unless there is a time_engine. threads: None for all cores, but 1 for times.
    inputs: sizes of the networks' inputs.
    """

    folders: Sequence[Path]
    titles: Sequence[str] = ()
    data: str = ""
    wishes: ImageWishes = field(default_factory=ImageWishes)
    top: tuple[int, ...] = TOP
    original: Pair | None = None
    limit: int | None = None
    batch_size: int | None = None
    engine: str = "ort"
    threads: int | None = None
    time_engine: str | None = None
    seconds: float = 60.0
    strict: bool = False
    inputs: Sizes = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One folder: its title, and the network of each row that is not in an earlier column already."""

    title: str
    converted: Converted
    graphs: dict[str, Graph]


FINAL, INT8 = "all", "int8"  # rows beside the steps'


def run(job: Job, progress: Progress = silent) -> dict[str, Any]:
    """Measure, and return the table, JSON-ready.

    Keys: version, network, machine, data, images, engine, time_engine, threads, columns (title, folder), rows,
    warnings. A row has
    step: None for the original, "all" for the folders' final networks if they are not just the last step's, "int8" for
    those in int8, if the engine runs them;
    index, merged (layers), passes: as in report.json;
    top: {column: {k: share}}, without columns whose network is that of an earlier one; the original's under "original";
    None without data;
    seconds: a Spread, for the first folder's network, since weights do not change times; None without times, and for
    a file in int8 that the engine refuses (a warning says why);
    speedup: value, low, high: the original's time by this one's, with its 95 % interval.
    Raises a DeepmergeError if the folders are not of one conversion, or something cannot be read or run.
    """
    converted = [read_converted(folder, job.original, need_steps=True, inputs=job.inputs) for folder in job.folders]
    _one_conversion(converted)
    original = converted[0].original.read()
    columns = _columns(converted, job.titles)
    rows = [_row(None, original=True), *(_row(entry) for entry in converted[0].approximate)]
    if any(FINAL in column.graphs for column in columns):
        rows.append({**_row(None), "step": FINAL})
    if any(one.int8 for one in converted) and any(reads_onnx(engine(name)) for name in _engines(job)):
        rows.append({**_row(None), "step": INT8})
    report = {
        "version": VERSION,
        "network": converted[0].report.get("network", ""),
        "machine": machine(),
        "data": job.data or None,
        "images": None,
        "engine": job.engine,
        "time_engine": job.time_engine or job.engine,
        "threads": job.threads or 1,
        "columns": [{"title": column.title, "folder": str(column.converted.folder)} for column in columns],
        "rows": rows,
        "warnings": [],
    }
    if job.data:
        report |= _accuracy(job, original, columns, rows, progress)
    if job.seconds:
        report["warnings"] += _times(job, original, columns[0], rows, progress)
    return report


def _engines(job: Job) -> list[str]:
    """Return the engines of the accuracy and of the times, as far as they are measured."""
    return [job.engine] * bool(job.data) + [job.time_engine or job.engine] * bool(job.seconds)


def _one_conversion(converted: Sequence[Converted]) -> None:
    """Raise ReadError if folders have other steps than the first, or another original."""
    first = converted[0]
    if not first.approximate:
        text = "has no approximate step, so there is nothing to tabulate"
        raise ReadError(text, first.folder, remedy="compare it with its original: `deepmerge bench OUT`")
    for other in converted[1:]:
        if other.report["source"]["caffemodel"]["sha256"] != first.report["source"]["caffemodel"]["sha256"]:
            raise ReadError(f"was made from another network than {first.folder}", other.folder)
        if [entry["name"] for entry in other.approximate] != [entry["name"] for entry in first.approximate]:
            raise ReadError(
                f"has other steps than {first.folder}; give what recover and finetune made of it", other.folder
            )


def _columns(converted: Sequence[Converted], titles: Sequence[str]) -> list[Column]:
    titled = [title or _title(one.report) for title, one in zip_longest(titles, converted, fillvalue="")]
    named = [t if titled.count(t) == 1 else one.folder.name for t, one in zip(titled, converted, strict=True)]
    if len(set(named)) < len(named):
        named = [str(one.folder) for one in converted]
    seen: set[tuple[str, str]] = set()
    return [Column(title, one, _networks(one, seen)) for title, one in zip(named, converted, strict=True)]


def _title(report: dict[str, Any]) -> str:
    return "fine-tuned" if "finetuning" in report else "recovered" if "recovery" in report else "merged"


def _networks(converted: Converted, seen: set[tuple[str, str]]) -> dict[str, Graph]:
    """Return each row's network, without those in `seen` (which is added to): finetune may leave the steps unchanged.

    The final network has a row of its own if its weights are not the last step's.
    """
    pairs = {step.name: step.pair for step in converted.steps} | {FINAL: converted.final}
    graphs = {}
    before = ""
    for row, pair in pairs.items():
        graph = pair.read()
        digest = weights_digest(graph)
        if (row, digest) not in seen and not (row == FINAL and digest == before):
            seen.add((row, digest))
            graphs[row] = graph
        before = digest
    return graphs


def _row(entry: dict[str, Any] | None, original: bool = False) -> dict[str, Any]:
    about = {"step": None, "index": 0 if original else None, "merged": [], "passes": []}
    if entry is not None:
        about = {"step": entry["name"], "index": entry["index"], "merged": entry["merged"], "passes": entry["passes"]}
    return {**about, "top": None, "seconds": None, "speedup": None}


def _accuracy(
    job: Job, original: Graph, columns: Sequence[Column], rows: list[dict[str, Any]], progress: Progress
) -> dict[str, Any]:
    """Run all networks on all images in one pass, and fill the rows' `top`."""
    keyed: list[tuple[str | None, str, Any]] = [(None, "original", original)]
    keyed += [(step, column.title, graph) for column in columns for step, graph in column.graphs.items()]
    graphs = [graph for _, _, graph in keyed]
    size, classes = job.batch_size or fitting_batch(graphs), output_of(original)[1]
    loading = Loading(limit=job.limit, strict=job.strict, classes=classes, labelled=None, cache_bytes=0)
    loader, notes = open_loader(job.data, original, columns[0].converted.final.prototxt, size, job.wishes, loading)
    if not loader.has_labels:
        raise ReadError(
            "has no labels, so accuracy cannot be measured; `deepmerge eval OUT --steps` measures agreement",
            job.data,
        )
    threads = job.threads or cores()
    with ExitStack() as stack:
        runner = engine(job.engine)
        for column in columns if reads_onnx(runner) else ():
            if pair := column.converted.int8:
                session = load_onnx(runner, pair.onnx, pair.read(weights=False), threads)
                keyed.append((INT8, column.title, stack.enter_context(session)))
        networks = [one for *_, one in keyed]
        settings = Settings(job.top, mirror=bool(job.wishes.mirror), engine=job.engine, threads=threads)
        found = measure(networks, loader, settings, progress=progress)
    for row in rows:
        tops = {
            title: entry["top"]
            for (step, title, _), entry in zip(keyed, found["networks"], strict=True)
            if step == row["step"]
        }
        row["top"] = tops
    if found["skipped"]:
        notes = [*notes, f"{len(found['skipped'])} images could not be read; the first: {found['skipped'][0]}"]
    _check_strict(job, notes)
    return {"images": found["images"], "warnings": list(dict.fromkeys(notes + found["notes"]))}


def _check_strict(job: Job, warnings: Sequence[str]) -> None:
    """Raise GraphError if there is a warning, and none may be."""
    if job.strict and warnings:
        raise GraphError(f"--strict: {warnings[0]} (a warning, without --strict)")


def _times(job: Job, original: Graph, column: Column, rows: list[dict[str, Any]], progress: Progress) -> list[str]:
    """Run the networks in turns, fill the rows' `seconds` and `speedup`, and return warnings."""
    steps = column.converted.steps
    networks = {"": original, **{step.name: column.graphs[step.name] for step in steps}}
    timed_on, int8 = job.time_engine or job.engine, column.converted.int8
    progress(f"timing on {timed_on}", 0, 1)
    runs = {step: Network(step, Source(step, Path(), None), graph, False) for step, graph in networks.items()}
    if int8 and reads_onnx(engine(timed_on)):
        runs[INT8] = Network(INT8, Source(INT8, *int8, int8.onnx), column.graphs[steps[-1].name], False)
    found, warnings = step_times(list(runs.values()), timed_on, job.threads or 1, job.seconds, progress)
    for row in rows:
        step = steps[-1].name if row["step"] == FINAL else row["step"] or ""
        if step in found:
            row["seconds"], row["speedup"] = found[step]
    _check_strict(job, warnings)
    return warnings
