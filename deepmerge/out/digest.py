"""The SHA-256 of a large file, computed in a thread while the network is read, converted and written.

It takes as long as the rest of a conversion, and hashlib releases the interpreter's lock. Nothing heavy is imported
here, so that it can start before everything else.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepmerge.graph.graph import Graph

_WINDOW = 64 << 20  # bytes mapped at a time; large, because each window waits for the interpreter's lock


class Digest:
    """Starts hashing at once. As a context manager, it leaves no thread running, even after an error inside."""

    def __init__(self, path: str | Path):
        self._path = path
        self._hash = hashlib.sha256()
        self._error: OSError | ValueError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def result(self) -> str:
        """Wait for the digest and return it in hexadecimal. OSError or ValueError if the file cannot be read."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        try:
            with open(self._path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                for start in range(0, size, _WINDOW):
                    if self._stopped:
                        return
                    with mmap.mmap(
                        file.fileno(), min(_WINDOW, size - start), access=mmap.ACCESS_READ, offset=start
                    ) as part:
                        self._hash.update(part)
        except (OSError, ValueError) as error:
            self._error = error


def weights_digest(graph: Graph) -> str:
    """Return the SHA-256 of all weights and of the names of their layers, in hexadecimal."""
    found = hashlib.sha256()
    for layer in graph.layers:
        for array in layer.weights:
            found.update(f"{layer.name}\0{array.shape}\0".encode("utf-8", "surrogateescape"))
            found.update(array.tobytes())
    return found.hexdigest()
