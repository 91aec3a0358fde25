"""Checkpoints: what a run needs to go on where it was killed. Written aside and moved into place, so one is always whole.

A checkpoint is one file, FOLDER/state.npz: arrays by name, and `meta`, which is JSON. It needs no PyTorch, and nothing in
it is ever executed.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepmerge.errors import TrainingError
from deepmerge.train.shared.guards import writing

_META = "meta"
_FILE = "state.npz"


class Saved(NamedTuple):
    """A checkpoint's content. meta: what JSON can hold."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class Checkpoint:
    """The checkpoint of one job in a folder of its own, which the first `save` makes.

    job: all that must be equal for a checkpoint to be of use: name (as the user knows it) → value, what JSON can hold.
    """

    def __init__(self, folder: str | Path, job: Mapping[str, Any]):
        self.folder = Path(folder)
        self._job = json.loads(json.dumps(dict(job)))
        self._kept = ""

    @property
    def kept(self) -> str:
        """For the end of an error's line: what is left of the run; "" if nothing was saved yet."""
        return f"; the checkpoint of {self._kept} is kept in {self.folder}" if self._kept else ""

    def load(self) -> Saved | None:
        """The last checkpoint, None if there is none.

        TrainingError where the folder holds something else, or the checkpoint of another job.
        """
        path = self.folder / _FILE
        if not path.exists():
            if self.folder.exists() and (
                not self.folder.is_dir() or any(not _ours(file) for file in self.folder.iterdir())
            ):
                raise TrainingError(f"{self.folder}: is wanted for checkpoints, and holds something else; move it away")
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files if name != _META}
                meta = json.loads(file[_META].tobytes())
            job, what = meta.pop("job"), meta.pop("what")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise TrainingError(f"{path}: is no checkpoint, or a damaged one ({error}); {self._anew}") from None
        if job != self._job:
            raise TrainingError(
                f"{self.folder}: is the checkpoint of another run: {_difference(job, self._job)}; {self._anew}"
            )
        self._kept = what
        return Saved(arrays, meta)

    def save(self, what: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        """Put a new checkpoint in the place of the last one. what: where the run is, as errors are to say it.

        A full disk, for instance, is a TrainingError, and leaves the last one.
        """
        text = json.dumps({**meta, "job": self._job, "what": what}).encode()
        aside = self.folder / f"{_FILE}.partial"
        with writing(self.folder, lambda: self._failed(aside)):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(aside, "wb") as file:
                np.savez(file, **{_META: np.frombuffer(text, np.uint8)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.folder / _FILE)
            _sync_folder(self.folder)
        self._kept = what

    def remove(self) -> None:
        """Delete the checkpoint, at the end of a run."""
        if (self.folder / _FILE).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _anew(self) -> str:
        return f"delete {self.folder} to start anew"

    def _failed(self, aside: Path) -> str:
        aside.unlink(missing_ok=True)
        return f"{self.kept}, to go on from with the same command" if self._kept else ""


def _ours(file: Path) -> bool:
    return file.name.startswith(_FILE)


def _difference(job: Any, mine: Mapping[str, Any]) -> str:
    """The first thing that differs, as it was and as it is."""
    job = job if isinstance(job, dict) else {}
    name = next((name for name in {**mine, **job} if job.get(name) != mine.get(name)), "")
    return f"{name} was {_shown(job.get(name))}, and is {_shown(mine.get(name))} now"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def _sync_folder(folder: Path) -> None:
    """See to it that the new name outlives a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
