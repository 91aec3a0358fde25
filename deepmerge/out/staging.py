"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
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


@contextlib.contextmanager
def staged(out: str | Path, force: bool = False) -> Iterator[Path]:
    """A fresh folder beside `out` to write into, moved to `out` at the end if all went well.

    Whatever goes wrong, an existing `out` stays as it was and nothing half-written is left.
    EmitError where `out` exists and `force` is not given, or the disk refuses.
    """
    out = Path(out)
    check_free(out, force)
    stage, made = None, [p for p in out.parents if not os.path.lexists(p)]  # the nearest first
    done = False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name[:99]}.", suffix=".partial", dir=out.parent))
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


def check_free(out: str | Path, force: bool = False) -> None:
    """EmitError if `out` may not be written: it exists and `force` is not given, or is nothing to replace."""
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
    """Put `stage` in the place of `out`; what was there is deleted last, and comes back if the move fails."""
    if not out.exists():
        os.rename(stage, out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name[:99]}.", suffix=".old", dir=out.parent))
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
    return EmitError(
        f"{out}: cannot be written: {error.strerror or error}"
        + (f"; {hint}" if hint else "")
        + "; nothing was left behind"
    )


@contextlib.contextmanager
def replacing(file: str | Path) -> Iterator[Path]:
    """Give a fresh path beside `file` to write to; what was written becomes `file` at the end, if all went well.

    Whatever goes wrong, an existing `file` stays as it was and nothing half-written is left.
    EmitError where the disk refuses.
    """
    file, partial = Path(file), None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name[:99]}.", suffix=".partial", dir=file.parent)
        partial = Path(name)
        os.close(handle)
        yield partial
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, file)
    except OSError as error:
        raise _refused(file, error) from None
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def write_whole(file: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all; see `replacing`. Text is UTF-8; names that are not keep their bytes."""
    with replacing(file) as partial:
        partial.write_bytes(content if isinstance(content, bytes) else encoded(content))


def encoded(text: str) -> bytes:
    """The bytes of a text as deepmerge writes it: UTF-8, with the bytes of a name that is not UTF-8 kept as they were."""
    return text.encode("utf-8", "surrogateescape")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
