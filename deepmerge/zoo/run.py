"""A run: which models are to be done, and doing them on a pool of concurrent.futures."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from deepmerge.errors import DeepmergeError, EmitError, EngineError
from deepmerge.text import did_you_mean, flat
from deepmerge.zoo.guard import Convert, Outcome, guarded
from deepmerge.zoo.index import is_index, part
from deepmerge.zoo.manifest import Manifest, Model
from deepmerge.zoo.pages import FILE as PAGE
from deepmerge.zoo.pages import is_index_page
from deepmerge.zoo.record import (
    CONVERTED,
    SET_ASIDE,
    Failure,
    Task,
    expectations,
    is_foreign,
    read_record,
    write_failure,
)

DONE, GIVEN_UP, TO_DO = "done", "failed", "to do"


@dataclass(frozen=True)
class Choice:
    """Which models of a manifest. names: patterns such as 'resnet*'; () for all. shard: (i, n) for the i-th of n."""

    names: tuple[str, ...] = ()
    shard: tuple[int, int] = (1, 1)

    def of(self, models: Sequence[Model]) -> list[Model]:
        """Return the models; DeepmergeError if a pattern fits none."""
        for pattern in self.names:
            if not any(fnmatchcase(model.name, pattern) for model in models):
                known = did_you_mean(pattern, [model.name for model in models])
                raise DeepmergeError(f"--name: no model is called {pattern!r}", remedy=known)
        index, count = self.shard
        named = [m for m in models if not self.names or any(fnmatchcase(m.name, one) for one in self.names)]
        return [model for model in named if (model.number - 1) % count == index - 1]


@dataclass(frozen=True)
class Job:
    """A model and its task. state: DONE (its result is there), GIVEN_UP (its failure is) or TO_DO."""

    model: Model
    task: Task
    state: str


def jobs_of(manifest: Manifest, out: Path, models: Iterable[Model], threads: int = 1) -> Iterator[Job]:
    """Yield the job of each model."""
    base, out = str(manifest.folder), out.absolute()
    for model in models:
        task = _task(model, base, out, threads)
        record = read_record(task.out)
        if record is None or not record.fits(task, task.signatures()):
            state = TO_DO
        else:
            state = DONE if record.status == CONVERTED else GIVEN_UP
        yield Job(model, task, state)


def check_places(out: Path, jobs: Iterable[Job], shard: tuple[int, int] = (1, 1)) -> None:
    """Raise EmitError if OUT is no folder, or if something there that no zoo has written would be replaced."""
    if os.path.lexists(out) and not out.is_dir():
        raise EmitError(f"{out}: is not a folder", file=out, remedy="give another -o")
    index, page = out / part(shard), out / PAGE
    if os.path.lexists(index) and not is_index(index):
        raise _in_the_way(index, "move it")
    if shard[1] == 1 and os.path.lexists(page) and not is_index_page(page):
        raise _in_the_way(page, "move it")
    for job in jobs:
        if job.state == TO_DO and is_foreign(job.task.out):
            raise _in_the_way(out / job.model.folder, "move it, rename the model,")


def _in_the_way(place: Path, remedy: str) -> EmitError:
    text = f"{place}: is there already, and is not the result of a zoo"
    return EmitError(text, file=place, remedy=f"{remedy} or give another -o; nothing was written")


def _task(model: Model, base: str, out: Path, threads: int) -> Task:
    reads = {"prototxt": model.prototxt, "caffemodel": model.caffemodel, **model.reads}
    if model.expect.data is not None:
        reads["expect.data"] = model.expect.data
    file = Path(model.prototxt)
    if file.name == "deploy.prototxt" and Path(base, beside := file.with_name("train_val.prototxt")).is_file():
        reads["train_val.prototxt beside it"] = str(beside)  # it says how images are prepared
    limits = model.limits
    most = None if limits.gigabytes is None else int(limits.gigabytes * 1e9)
    place = str(out / model.folder)
    expect = expectations(model.expect)
    return Task(model.name, base, place, reads, model.words, expect, limits.seconds, most, model.sha256, threads)


@dataclass(frozen=True)
class Pool:
    """Where models are done. submit: begins one. ahead: how many may have begun, or wait there, at a time."""

    submit: Callable[[Task], Future[Outcome]]
    ahead: int


@contextlib.contextmanager
def local_pool(workers: int, convert: Convert) -> Iterator[Pool]:
    """Yield a pool of threads of this process, each of which watches one process at a time; all end with the block."""
    stop = threading.Event()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="zoo")
    try:
        yield Pool(lambda task: executor.submit(guarded, task, convert, stop), 2 * workers)
    finally:
        stop.set()
        executor.shutdown(cancel_futures=True)


def outcomes(tasks: Iterable[Task], pool: Pool) -> Iterator[Outcome]:
    """Yield what comes of each task, as soon as it is known. EngineError if a worker cannot do its work at all."""
    pending: dict[Future[Outcome], Task] = {}
    for task in tasks:
        pending[pool.submit(task)] = task
        if len(pending) >= pool.ahead:
            yield from _finished(pending)
    while pending:
        yield from _finished(pending)


def _finished(pending: dict[Future[Outcome], Task]) -> Iterator[Outcome]:
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        yield _outcome(future, pending.pop(future))


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    try:
        error = future.exception()
    except CancelledError:
        raise EngineError("the cluster has given up the models that it had", remedy="is its scheduler alive?") from None
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":  # Dask's, when several workers have died with the model
        failure = Failure("killed", f"the workers that had it died: {flat(error)}", 0.0)
        write_failure(task, failure)
        return Outcome(task.name, SET_ASIDE, 0.0, failure.message)
    if isinstance(error, DeepmergeError):
        raise error
    raise EngineError(f"a worker cannot do its work: {type(error).__name__}: {flat(error)}") from None
