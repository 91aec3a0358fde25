"""Networks on disk, as all engines of a measurement read them, and engines with all of them loaded."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from deepmerge.errors import EngineError
from deepmerge.measure.harness.networks import Network
from deepmerge.measure.harness.process import Worker
from deepmerge.measure.harness.worker import OUT_OF_MEMORY
from deepmerge.temporary import temporary_folder

Files = Mapping[str, tuple[Path, ...]]


class Passing(str):
    """Why a network could not be loaded this time: the engine's process ended, or had too little memory."""


@contextlib.contextmanager
def files_of(networks: Sequence[Network]) -> Iterator[Files]:
    """Write each network as deepmerge writes it, so that all engines get the same; give its files by label.

    They are its two files, and its ONNX file if that is what is run.
    """
    from deepmerge.formats.write import write_pair

    with temporary_folder() as folder:
        files = {}
        for number, network in enumerate(networks):
            pair = Path(folder, f"{number}.prototxt"), Path(folder, f"{number}.caffemodel")
            write_pair(network.graph, *pair)
            files[network.label] = (*pair, network.source.onnx) if network.source.onnx else pair
        yield files


@contextlib.contextmanager
def loaded(engine: str, files: Files, threads: int = 1, device: str = "cpu") -> Iterator[tuple[Worker, dict[str, str]]]:
    """Start the engine and load the networks; give it with the reasons why it refuses networks, by label.

    Raises EngineError if the engine is not installed.
    """
    start = functools.partial(Worker, engine, threads, device)
    worker, refused = load_all(start(), files, start)
    try:
        yield worker, refused
    finally:
        worker.close()


def load_all(worker: Worker, files: Files, start: Callable[[], Worker]) -> tuple[Worker, dict[str, str]]:
    """Load the networks; return the worker with them, and the reasons why it refuses networks, by label.

    A network that makes the engine's process end is tried once. Then `start` gives another worker. Reasons that may not
    hold another time are Passing.
    """
    refused: dict[str, str] = {}
    while True:
        for label, pair in files.items():
            if label in refused:
                continue
            try:
                worker.load(label, *pair)
            except EngineError as error:
                lasting = worker.alive and error.reason != OUT_OF_MEMORY
                refused[label] = str(error) if lasting else Passing(error)
                if not worker.alive:
                    break
        else:
            return worker, refused
        worker.close()
        worker = start()
