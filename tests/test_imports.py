"""Who may import whom, and that nothing heavy is loaded before it is needed."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("caffe", "google.protobuf", "onnx", "onnxruntime", "scipy", "tensorly", "torch")

REPORT = f"import sys; print('loaded:', *[name for name in {HEAVY} if name in sys.modules])"


@pytest.mark.parametrize(
    "program",
    [
        "import deepmerge",
        "import deepmerge.errors, deepmerge.schema",
        "from deepmerge.cli import main; main(['--help'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_loaded_by(program):
    done = subprocess.run([sys.executable, "-c", f"{program}; {REPORT}"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_import_rules():
    """setup.cfg's contracts, by import-linter."""
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed; `pip install -e .[test]` does it")
    done = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
