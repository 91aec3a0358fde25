"""The public Python API has what it promises, is loaded when it is used, and its examples run."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys

import pytest

import deepmerge
from tests.api.commands import ROOT


def test_its_examples_run():
    from deepmerge import api

    found = doctest.testmod(api)
    assert found.attempted and not found.failed


def test_all_that_it_promises_is_there():
    assert all(getattr(deepmerge, name) for name in deepmerge.__all__)
    assert set(deepmerge.__all__) <= set(dir(deepmerge))
    with pytest.raises(AttributeError, match="no attribute 'merge'"):
        deepmerge.merge  # noqa: B018


def test_importing_it_is_quick_and_loads_nothing():
    program = "import sys; before = set(sys.modules); import deepmerge; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["deepmerge"]


def test_the_examples_in_the_documentation_run(tmp_path, images, monkeypatch, capsys):
    """Those of docs/reference/python.md, one after the other."""
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    examples = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    (tmp_path / "models").symlink_to(ROOT / "models")
    for name in ("train.npz", "test.npz"):
        (tmp_path / name).symlink_to(images)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for example in examples:
        exec(example, names)
    assert len(examples) == 3 and "conv1/3x3" in capsys.readouterr().out
