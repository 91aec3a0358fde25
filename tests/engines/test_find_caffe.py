"""Which interpreter is taken, and what is said of one that does not work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deepmerge.engines import find_caffe
from deepmerge.engines.caffe import CaffeEngine
from deepmerge.errors import EngineError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="makes interpreters of shell scripts")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with no interpreter but those that a test puts there."""
    for variable in (find_caffe.VARIABLE, "PYENV_ROOT", "CONDA_PREFIX", "MAMBA_ROOT_PREFIX", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    # a checkout may hold an environment that `make caffe` made
    monkeypatch.setattr(find_caffe, "__file__", str(tmp_path / "site/deepmerge/engines/find_caffe.py"))
    find_caffe._find.cache_clear()
    yield tmp_path
    find_caffe._find.cache_clear()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def working(path: Path) -> Path:
    """An interpreter that answers as one with Caffe does: `PROGRAM --find`, `PROGRAM --describe`."""
    return script(path, """[ "$2" = --find ] || echo '{"caffe": "1.0.0"}'""")


def test_nothing_to_be_found(bare):
    assert find_caffe.find_python() is None
    with pytest.raises(EngineError, match="no interpreter with real Caffe.*make caffe.*DEEPMERGE_CAFFE_PYTHON"):
        CaffeEngine()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{}/none/python", "does not exist"),
        ("{}/bin", "is a folder; give the interpreter in it"),
        ("{}/plain", "is not executable"),
        ("{}/broken", "cannot `import caffe`: out of order"),
        ("{}/empty", "cannot be run: Exec format error"),
        ("{}/true", "cannot `import caffe`: it is no Python"),
        ("{}/echo", "cannot `import caffe`: it is no Python"),
    ],
)
def test_a_named_interpreter_that_does_not_work_is_an_error(bare, monkeypatch, value, message):
    (bare / "plain").write_text("")
    script(bare / "broken", "echo out of order >&2; exit 127")
    script(bare / "true", "exit 0")
    script(bare / "echo", 'echo "$@"')
    (bare / "empty").write_text("")
    (bare / "empty").chmod(0o755)
    monkeypatch.setenv(find_caffe.VARIABLE, value.format(bare))
    with pytest.raises(EngineError, match=message) as caught:
        find_caffe.find_python()
    assert str(bare) in str(caught.value) and "\n" not in str(caught.value)


def test_a_named_interpreter_without_caffe(bare, monkeypatch):
    monkeypatch.setenv(find_caffe.VARIABLE, str(script(bare / "python", "exit 1")))
    with pytest.raises(EngineError, match="cannot `import caffe`: it ended without a message"):
        find_caffe.find_python()


def test_the_named_one_comes_first(bare, monkeypatch):
    working(bare / ".venv-caffe/bin/python")
    named = working(bare / "mine")
    monkeypatch.setenv(find_caffe.VARIABLE, str(named))
    assert find_caffe.find_python() == named


def test_then_the_environment_that_make_makes(bare):
    made = working(bare / ".venv-caffe/bin/python")
    working(bare / "bin/python3")
    assert find_caffe.find_python() == made
    find_caffe._find.cache_clear()
    made.unlink()
    installed = working(bare / "data/deepmerge/caffe/bin/python")
    assert find_caffe.find_python() == installed


def test_then_the_path_past_those_that_fail(bare):
    script(bare / "bin/python", "exit 127")
    script(bare / "bin/python3", "echo 'pyenv: python3: command not found' >&2; exit 127")
    found = working(bare / "bin/python3.9")
    assert find_caffe.find_python() == found


@pytest.mark.parametrize(
    "place",
    [
        "home/.pyenv/versions/3.8.18/bin/python3",
        "data/uv/python/cpython-3.9/bin/python3",
        "home/miniconda3/envs/old/bin/python3",
        "elsewhere/bin/python3",
    ],
)
def test_then_pyenv_uv_and_conda(bare, place):
    (bare / "home/.conda").mkdir(parents=True)
    (bare / "home/.conda/environments.txt").write_text(f"{bare / 'elsewhere'}\n")
    script(bare / "home/.pyenv/versions/2.7.18/bin/python", "echo never run; exit 1")
    found = working(bare / place)
    assert find_caffe.find_python() == found


def test_shims_are_not_run_but_show_where_pyenv_is(bare, monkeypatch):
    script(bare / "pyenv/shims/python3", f"touch {bare}/was-run; exit 127")
    found = working(bare / "pyenv/versions/3.9.18/bin/python3")
    monkeypatch.setenv("PATH", str(bare / "pyenv/shims"))
    assert find_caffe.find_python() == found
    assert not (bare / "was-run").exists()


def test_a_folder_that_is_called_caffe_is_not_caffe(bare, monkeypatch):
    real = os.path.realpath(sys.exec_prefix + "/bin/python3")
    (bare / "lib/caffe").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(bare / "lib"))
    python = script(bare / "bin/python3", f'exec "{real}" "$@"')
    assert find_caffe.find_python() is None
    with pytest.raises(EngineError, match="cannot `import caffe`"):
        find_caffe.describe(python)


def test_it_is_looked_for_once(bare):
    found = working(bare / "bin/python3")
    assert find_caffe.find_python() == found
    found.unlink()
    assert find_caffe.find_python() == found


def test_real_caffe_behind_a_script(bare, caffe_python):
    found = script(bare / "bin/python3", f'exec "{caffe_python}" "$@"')
    assert find_caffe.find_python() == found
    said = find_caffe.describe(found)
    assert set(said) == {"caffe", "path", "python", "executable", "numpy", "layer_types", "types"}
    assert said["layer_types"] == len(said["types"]) > 40
    assert {"Convolution", "LRN", "Pooling", "BatchNorm", "Scale"} <= set(said["types"])
    assert Path(said["path"]).name == "caffe"
