"""What trains a stage: PyTorch in this process, or real Caffe in its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepmerge.formats.read.weights import Weights
from deepmerge.out.read import Converted
from deepmerge.out.staging import scratch
from deepmerge.train.finetune.learner import Learner
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.shared.processes import Processes, joined


@dataclass(frozen=True)
class Engine:
    """What trains. open: yields a stage that starts from some caffemodels. about: for the report."""

    open: Callable[[Stage, Sequence[Path | Weights]], AbstractContextManager[Learner]]
    about: dict[str, Any]
    processes: Processes = Processes()


@contextlib.contextmanager
def open_engine(job: Job, converted: Converted, seed: int) -> Iterator[Engine]:
    """Yield the engine that the job asks for. What it needs to run, folders and processes, ends with it."""
    about = {"engine": job.engine, "seed": seed}
    if job.engine == "caffe":
        from deepmerge.train.finetune import caffe_run

        with scratch(job.out) as folder:
            setup = caffe_run.Setup(job, seed, folder)
            yield Engine(partial(caffe_run.open_learner, setup=setup), about)
        return
    with joined(job.device) as processes:
        from deepmerge.train.finetune import torch_run

        setup = torch_run.Setup.of(job, seed, processes, converted.original.read() if job.distill else None)
        about |= {"device": str(setup.device), "processes": processes.size}
        yield Engine(partial(torch_run.open_learner, setup=setup), about, processes)
