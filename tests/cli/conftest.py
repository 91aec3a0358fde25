"""Commands run in this process, and a small trained network to run them on."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from deepmerge.cli import main


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, stdout, stderr without the line `next: …` that may end it, and that line."""

    code: int
    out: str
    err: str
    next: str = ""

    @property
    def line(self) -> str:
        """stderr's only line, of a command that failed: nothing else may have been printed."""
        assert self.out == "" and self.err.count("\n") == 1 and self.err.endswith("\n"), self
        return self.err.rstrip("\n")


@pytest.fixture
def run():
    """A command's words → Done."""
    apart = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters  # click before 8.2
    runner = CliRunner(mix_stderr=False) if apart else CliRunner()

    def run(*words) -> Done:
        done = runner.invoke(main, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        *lines, last = done.stderr.splitlines(keepends=True) or [""]
        if not last.startswith("next: "):
            return Done(done.exit_code, done.stdout, done.stderr)
        return Done(done.exit_code, done.stdout, "".join(lines), last)

    return run


@pytest.fixture(scope="session")
def mini(models) -> tuple[Path, Path]:
    """The trained network in models/: prototxt and caffemodel."""
    folder = models / "inception_mini"
    return folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel"


@pytest.fixture
def pair(mini, tmp_path) -> tuple[Path, Path]:
    """A copy of it, to be spoiled."""
    return tuple(Path(shutil.copy(file, tmp_path)) for file in mini)


def with_lost_int8(out: Path, copy: Path) -> Path:
    """A copy of a conversion with a warning and an int8 network, made of images that are no longer there."""
    shutil.copytree(out, copy)
    (copy / "model-int8.onnx").touch()
    report = json.loads((copy / "report.json").read_text())
    report["onnx"] = {"int8": {"method": "average", "keep": []}}
    report["calibration"] = {"source": "npz:gone.npz", "images": 8, "preprocessing": {}}
    report["warnings"] = ["said when it was converted"]
    (copy / "report.json").write_text(json.dumps(report))
    return copy
