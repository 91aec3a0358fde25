"""The SHA-256 of a large file, computed in a thread while the network is read, converted and written.

It takes as long as the rest of a conversion, and hashlib releases the interpreter's lock. Nothing heavy is imported
here, so that it can start before everything else.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import threading
from pathlib import Path

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
            mode = os.stat(self._path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return  # opening a pipe may block
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
