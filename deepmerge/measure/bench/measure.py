"""Measure networks for bench, one engine after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepmerge.engines import TIMES_ALONE, USUAL
from deepmerge.engines.timing.timing import Budget, Timings, compare
from deepmerge.errors import EngineError
from deepmerge.graph.costs import summary
from deepmerge.measure import WHAT
from deepmerge.measure.bench.energy import Meter, NoMeter, find_meter
from deepmerge.measure.bench.largest import largest_batch
from deepmerge.measure.bench.memory import memory_of
from deepmerge.measure.harness.machine import load, machine
from deepmerge.measure.harness.networks import Network
from deepmerge.measure.harness.process import Worker
from deepmerge.measure.harness.setup import Files, files_of, loaded
from deepmerge.progress import Progress, of_budget, silent, within

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What to measure, and how.

    what: some of WHAT. limit: bytes that a process may take while the largest batch is searched for; "device" for all
    of the GPU's memory; None for no search. budget: for the times on each engine.
    """

    engines: Sequence[str] = USUAL
    what: Sequence[str] = WHAT
    threads: int = 1
    device: str = "cpu"
    budget: Budget = field(default_factory=lambda: Budget(seconds=30.0))
    limit: int | str | None = None
    energy_seconds: float = 3.0
    seed: int = 0


def bench(networks: Sequence[Network], settings: Settings = Settings(), progress: Progress = silent) -> dict[str, Any]:
    """Return the figures, JSON-ready: machine, settings, networks (their sizes), engines (each with the networks).

    Times are seconds of a forward of the whole batch; ratios are to the first network. `absent` says why an engine is
    not installed, `refused` why an engine does not take a network, and `not_available` why the machine does not report
    a
    figure: nothing is estimated.
    """
    before, found = machine(), []
    with files_of(networks) as files:
        abouts = [about(network, files) for network in networks]
        for number, name in enumerate(settings.engines):
            progress(name, number, len(settings.engines))
            try:
                found.append(
                    {
                        "engine": name,
                        "absent": None,
                        "networks": _engine(name, networks, files, settings, within(name, progress)),
                    }
                )
            except EngineError as error:
                found.append({"engine": name, "absent": str(error), "networks": []})
    chosen = {key: value for key, value in asdict(settings).items() if key != "engines"}
    return {
        "version": VERSION,
        "machine": before,
        "load_after": load(),
        "settings": chosen,
        "networks": abouts,
        "engines": found,
    }


def about(network: Network, files: Files) -> dict[str, Any]:
    """Return a network's own figures, for one image. file_bytes: of its two files, as deepmerge writes them.

    Of an ONNX file, storage and file are its own size with its weights beside it, and activations are not known.
    """
    from deepmerge.graph.shapes import infer_shapes

    shapes, costs, held = infer_shapes(network.graph), summary(network.graph), files[network.label]
    size = _onnx_bytes(network.source.onnx) if network.source.onnx else 0
    if size:
        costs |= {"storage_bytes": size, "activation_bytes": dict.fromkeys(costs["activation_bytes"])}
    return {
        "label": network.label,
        "prototxt": str(network.source.prototxt),
        "caffemodel": str(network.source.caffemodel) if network.source.caffemodel else None,
        **({"onnx": str(network.source.onnx)} if network.source.onnx else {}),
        "random_weights": network.random,
        "inputs": {blob.name: list(shapes[blob] or ()) for blob in network.graph.inputs},
        **costs,
        "file_bytes": size or sum(path.stat().st_size for path in held),
    }


def _onnx_bytes(file: Path) -> int:
    """Return the size of an ONNX file, with the weights that `write_model` puts beside a large one."""
    beside = file.with_name(file.name + ".data")
    return sum(path.stat().st_size for path in (file, beside) if path.is_file())


def batch_of(network: Network) -> int:
    """Return the images in one forward: the first size of the first input, 1 without one."""
    if not network.graph.inputs:
        return 1
    shapes = network.graph.inputs[0].producer.params.shape
    return shapes[0][0] if shapes and shapes[0] else 1


def _engine(
    name: str, networks: Sequence[Network], files: Files, settings: Settings, progress: Progress
) -> list[dict[str, Any]]:
    device = settings.device if name == "torch" else "cpu"
    with loaded(name, files, settings.threads, device) as (worker, refused):
        taken = [network.label for network in networks if network.label not in refused]
        timings = _times(worker, taken, settings, of_budget(progress, "timing"))
        progress("memory and energy", 0, 1)
        energies = _energies(worker, networks, taken, settings, device)
    entries = []
    for network in networks:
        label = network.label
        entry: dict[str, Any] = {"label": label, "refused": refused.get(label)}
        if label in taken:
            entry |= _time(timings, label) if timings else {}
            if "memory" in settings.what:
                entry["memory"] = _tried(memory_of, name, files[label], settings.threads, device)
            if "energy" in settings.what:
                entry["energy"] = energies[label]
            limit = settings.limit
            if limit is not None and (limit != "device" or device != "cpu"):
                entry["largest_batch"] = _tried(largest_batch, name, network, limit, settings.threads, device)
        entries.append(entry)
    return entries


def _tried(measure: Callable[..., dict[str, Any]], engine: str, *arguments: Any) -> dict[str, Any]:
    if engine in TIMES_ALONE:
        return {"not_available": f"{engine} is for times alone: its process also quantizes; measure model-int8.onnx"}
    try:
        return measure(engine, *arguments)
    except EngineError as error:
        return {"not_available": str(error)}


def _times(worker: Worker, labels: Sequence[str], settings: Settings, used: Callable[[float], None]) -> Timings | None:
    if not labels or "time" not in settings.what:
        return None
    runs = {label: (lambda label=label: worker.run(label)) for label in labels}
    return compare(runs, settings.budget, threads=settings.threads, seed=settings.seed, used=used)


def _time(timings: Timings, label: str) -> dict[str, Any]:
    first = next(iter(timings.samples))
    ratio = None if label == first else asdict(timings.ratio(label))
    return {"forward": asdict(timings.spread(label)), "ratio": ratio, "waited": timings.waited(label)}


def _energies(
    worker: Worker, networks: Sequence[Network], labels: Sequence[str], settings: Settings, device: str
) -> dict[str, dict]:
    """Return for each label the joules of one image, as the machine's meter reads them; or why there is no reading."""
    if "energy" not in settings.what:
        return {}
    images = {network.label: batch_of(network) for network in networks}
    try:
        meter = find_meter(device)
        return {label: _energy(worker, label, images[label], meter, settings.energy_seconds) for label in labels}
    except NoMeter as error:
        return {label: {"not_available": str(error)} for label in labels}


def _energy(worker: Worker, label: str, batch: int, meter: Meter, seconds: float) -> dict[str, Any]:
    """Return what the meter counted while the network ran, and in an idle second before."""
    idle_start, idle_from = time.monotonic(), meter.joules()
    time.sleep(min(seconds, 1.0))
    idle_watts = (meter.joules() - idle_from) / (time.monotonic() - idle_start)
    runs, start, before = 0, time.monotonic(), meter.joules()
    while time.monotonic() - start < seconds or runs < 2:
        worker.run(label)
        runs += 1
    joules, took = meter.joules() - before, time.monotonic() - start
    return {
        "joules_per_image": joules / (runs * batch),
        "meter": meter.name,
        "idle_watts": idle_watts,
        "seconds": took,
        "images": runs * batch,
    }
