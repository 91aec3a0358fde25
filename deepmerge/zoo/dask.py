"""The models of a zoo on a Dask cluster that is there already; `deepmerge-caffe[dask]` has what it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from deepmerge.errors import EngineError
from deepmerge.text import flat
from deepmerge.zoo.guard import Convert, guarded
from deepmerge.zoo.run import Pool

_TIMEOUT = 30  # seconds to find the scheduler
_AHEAD = 1000  # models that the scheduler knows of at a time


@contextlib.contextmanager
def cluster(address: str, convert: Convert) -> Iterator[Pool]:
    """Yield a pool that gives models to the workers of the scheduler at this address. EngineError if none answers.

    Dask gives a model whose worker has died to another one, and gives up after some, which is its setting
    distributed.scheduler.allowed-failures.
    """
    try:
        from distributed import Client
    except ImportError:
        remedy = "`pip install 'deepmerge-caffe[dask]'` gets it"
        raise EngineError("--scheduler needs dask.distributed, which is not installed", remedy=remedy) from None
    try:
        client = Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(f"{address}: no Dask scheduler answers: {flat(error)}") from None
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield Pool(lambda task: executor.submit(guarded, task, convert), _AHEAD)
        finally:
            executor.shutdown(wait=False)  # what has not been done is cancelled: nobody waits for it any more
