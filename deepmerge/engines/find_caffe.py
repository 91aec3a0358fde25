"""Finding an interpreter that has real Caffe, and describing it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepmerge.engines.process import inherited
from deepmerge.errors import EngineError

VARIABLE = "DEEPMERGE_CAFFE_PYTHON"
WORKER = Path(__file__).with_name("caffe_worker.py")
NAMES = ("python", "python3", *(f"python3.{minor}" for minor in range(6, 14)))
BIN = "Scripts" if os.name == "nt" else "bin"
FIND_SECONDS = 10.0
IMPORT_SECONDS = 120.0


def find_python() -> Path | None:
    """Return the interpreter to run real Caffe with, or None. It is searched for once in each environment.

    In order: DEEPMERGE_CAFFE_PYTHON; the environment that `make caffe` makes; interpreters on PATH; those of pyenv, uv
    and conda. EngineError if DEEPMERGE_CAFFE_PYTHON is set but does not work: a wrong setting is not ignored.
    """
    return _find(os.environ.get(VARIABLE, ""), os.environ.get("PATH", ""), os.getcwd())


@functools.cache
def _find(named: str, path: str, folder: str) -> Path | None:
    if named:
        python = _named(named)
        describe(python)
        return python
    seen: set[tuple[str, str]] = set()
    for python in _interpreters(path, Path(folder)):
        # the folder as well: many environments link to the same interpreter
        key = (os.path.realpath(python.parent), os.path.realpath(python))
        if key not in seen:
            seen.add(key)
            if _has_caffe(python):
                return python
    return None


def describe(python: Path) -> dict[str, Any]:
    """Describe real Caffe under that interpreter. EngineError if `import caffe` does not work there.

    Keys: caffe, python, numpy (versions), path, executable, layer_types (how many), types (names).
    """
    return dict(_describe(python))


@functools.cache
def _describe(python: Path) -> dict[str, Any]:
    another = f"name another with {VARIABLE}"
    try:
        done = _run(python, "--describe", IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{python}: `import caffe` took over {IMPORT_SECONDS:.0f} s", remedy=another) from None
    except OSError as error:
        raise EngineError(f"{python} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise EngineError(f"{python} cannot `import caffe`: {_last_line(done.stderr)}", remedy=another)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise EngineError(f"{python} cannot `import caffe`: it is no Python", remedy=another) from None


def _named(value: str) -> Path:
    """Return DEEPMERGE_CAFFE_PYTHON as a path; it may also be the name of a command."""
    found = shutil.which(os.path.expanduser(value))
    if found:
        return Path(found).absolute()
    path = Path(value).expanduser()
    remedy = "name a python that can `import caffe`, or unset it"
    if path.is_dir():
        reason, remedy = "is a folder", f"give the interpreter in it, such as {path / BIN / 'python'}"
    else:
        reason = "is not executable" if path.exists() else "does not exist"
    raise EngineError(f"{VARIABLE}={value}: {reason}", remedy=remedy)


def _has_caffe(python: Path) -> bool:
    """Return whether the interpreter has Caffe. The import takes a second, so a quick look comes first."""
    try:
        if _run(python, "--find", FIND_SECONDS).returncode != 0:
            return False
        describe(python)
    except (OSError, subprocess.TimeoutExpired, EngineError):
        return False
    return True


def _run(python: Path, option: str, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), str(WORKER), option],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        env=inherited(),
        check=False,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a message"


def _interpreters(path: str, folder: Path) -> Iterator[Path]:
    """Yield the interpreters that may have Caffe, the likeliest first."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    project = Path(__file__).parents[2]
    made = [folder / ".venv-caffe", data / "deepmerge/caffe"]
    if (project / "setup.cfg").exists():
        made.insert(0, project / ".venv-caffe")
    yield from _existing(environment / BIN / _python() for environment in made)

    yield Path(sys.executable)
    pyenvs = [Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")]
    for entry in map(Path, filter(None, path.split(os.pathsep))):
        if entry.name == "shims" and (entry.parent / "versions").is_dir():
            # pyenv's shims are slow, and fail for versions not chosen here
            pyenvs.append(entry.parent)
        else:
            yield from _existing(entry / _python(name) for name in NAMES)

    for root in dict.fromkeys(pyenvs):
        yield from _environments(root / "versions")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    yield from _environments(uv)
    yield from _environments(data / "uv/tools")
    yield from _conda(home)


def _conda(home: Path) -> Iterator[Path]:
    names = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba")
    roots = [home / name for name in names] + [Path("/opt/conda")]
    for variable in ("CONDA_PREFIX", "MAMBA_ROOT_PREFIX"):
        if os.environ.get(variable):
            roots.insert(0, Path(os.environ[variable]))
    for root in roots:
        yield from _existing([root / BIN / _python("python3")])
        yield from _environments(root / "envs")
    try:
        listed = (home / ".conda/environments.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return
    yield from _existing(Path(line) / BIN / _python("python3") for line in listed if line)


def _environments(folder: Path) -> Iterator[Path]:
    """Yield the interpreters of the environments in `folder`; python3 only, so never Python 2."""
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return
    yield from _existing(environment / BIN / _python("python3") for environment in found)


def _existing(paths: Iterator[Path] | list[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_file() and os.access(path, os.X_OK))


def _python(name: str = "python") -> str:
    return f"{name}.exe" if os.name == "nt" else name
