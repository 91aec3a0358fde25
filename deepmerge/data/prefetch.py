"""Run an iterator in a thread of its own, a little ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetched(source: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """Yield the same values in the same order; what `source` raises is raised here. Closing it ends the thread."""
    made: queue.Queue = queue.Queue(ahead)
    over = threading.Event()

    def put(item) -> None:
        while not over.is_set():
            try:
                return made.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for value in source:
                put((value, None))
                if over.is_set():
                    return
            put((_END, None))
        except BaseException as error:  # any of them, so that the consumer does not wait for ever
            put((_END, error))

    thread = threading.Thread(target=work, name="deepmerge-images", daemon=True)
    thread.start()
    try:
        while True:
            value, error = made.get()
            if error is not None:
                raise error
            if value is _END:
                return
            yield value
    finally:
        over.set()
        thread.join()
