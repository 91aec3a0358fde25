"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deepmerge.errors import EmitError

_HINTS = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "your quota is used up; free some space, or write elsewhere",
    errno.EACCES: "give a folder in which you may write",
    errno.EPERM: "give a folder in which you may write",
    errno.EROFS: "the disk is read-only; write elsewhere",
}
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


@contextlib.contextmanager
def staged(out: str | Path, force: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `out`, and move it to `out` at the end if all went well.

    If anything fails, an existing `out` stays unchanged and nothing half-written is left.
    EmitError if `out` exists and `force` is not given, or if the disk refuses.
    """
    out = Path(out)
    check_free(out, force)
    stage, made = None, [p for p in out.parents if not os.path.lexists(p)]  # the nearest first
    done = False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = _folder_beside(out, out.parent, ".partial")
        yield stage
        os.chmod(stage, 0o777 & ~_umask())
        _move(stage, out)
        done = True
    except OSError as error:
        raise _refused(out, error) from None
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        for folder in [] if done else made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def scratch(out: str | Path) -> Iterator[Path]:
    """Yield a temporary folder on the disk of `out`, and delete it at the end. EmitError if the disk refuses."""
    out = Path(out)
    place = next(parent for parent in out.absolute().parents if parent.exists())
    try:
        folder = _folder_beside(out, place, ".scratch")
    except OSError as error:
        raise _refused(out, error) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder_beside(out: Path, place: Path, suffix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{out.name[:99]}.", suffix=suffix, dir=place))


def check_free(out: str | Path, force: bool = False) -> None:
    """Raise EmitError if `out` may not be written: it exists and `force` is not given, or must not be replaced."""
    out = Path(out)
    try:
        reason = _taken(out, force)
    except OSError as error:
        raise _refused(out, error) from None
    if reason:
        raise EmitError(f"{out}: {reason}")


def _taken(out: Path, force: bool) -> str:
    if not out.name or Path.cwd().is_relative_to(out.resolve()):
        return "is the current folder, or holds it; give a new folder's name"
    if not os.path.lexists(out):
        return ""
    if not force:
        return "exists already; give another -o, or --force to replace it"
    if not out.is_dir() or out.is_symlink():
        return "is not a folder, and --force replaces folders only"
    if out.resolve() == Path.home() or os.path.ismount(out):
        return "is a home folder or a whole disk, and --force replaces neither"
    return ""


def _move(stage: Path, out: Path) -> None:
    """Replace `out` by `stage`. The old folder is deleted last, and comes back if the move fails."""
    if not out.exists():
        os.rename(stage, out)
        return
    aside = _folder_beside(out, out.parent, ".old")
    try:
        os.rename(out, aside / "out")
        os.rename(stage, out)
    except BaseException:
        if not out.exists():
            os.rename(aside / "out", out)
        os.rmdir(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _refused(out: Path, error: OSError) -> EmitError:
    hint = _HINTS.get(error.errno or 0, "")
    ending = f"; {hint}" if hint else ""
    return EmitError(f"{out}: cannot be written: {error.strerror or error}{ending}; nothing was written")


@contextlib.contextmanager
def replacing(file: str | Path, aside: str | Path | None = None) -> Iterator[Path]:
    """Yield a path to write to, and move what was written to `file` at the end if all went well.

    If anything fails, an existing `file` stays unchanged and nothing half-written is left. OSError if the disk refuses.
    aside: the path to write to; by default one that is not taken, beside `file`.
    """
    partial = Path(aside) if aside is not None else None
    try:
        if partial is None:
            partial = _file_beside(Path(file))
        yield partial
        os.replace(partial, file)
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _file_beside(file: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{file.name[:99]}.", suffix=".partial", dir=file.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    return Path(name)


def write_whole(file: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as `encoded` gives it. EmitError if the disk refuses."""
    try:
        with replacing(file) as partial:
            partial.write_bytes(content if isinstance(content, bytes) else encoded(content))
    except OSError as error:
        raise _refused(Path(file), error) from None


def encoded(text: str) -> bytes:
    """Return a text as UTF-8. Names that are not UTF-8 keep their bytes.

    Those were read with the error handler surrogateescape; other lone surrogates become U+FFFD.
    """
    return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
