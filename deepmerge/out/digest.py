"""A large file's SHA-256, taken in a thread of its own while the network is read, converted and written.

It takes as long as all the rest of a conversion together, and hashlib lets go of the interpreter's lock. Nothing
heavy is imported here, so that it can begin before everything else does.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from pathlib import Path

_WINDOW = 64 << 20  # bytes mapped at a time; large, since every window waits for the interpreter's lock


class Digest:
    """Begins with the hashing. As a context, it ends with no thread left, whatever has happened inside."""

    def __init__(self, path: str | Path):
        self._path = path
        self._hash = hashlib.sha256()
        self._error: OSError | ValueError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def result(self) -> str:
        """The digest in hexadecimal, as soon as it is there; OSError or ValueError where the file cannot be read."""
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
