"""docs/first_hour.sh, the whole path of a new user, with the small network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_from_a_caffe_pair_to_the_page(models, tmp_path):
    pytest.importorskip("torch")
    pixels = np.random.default_rng(3).integers(0, 256, (80, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "some.npz", images=pixels, labels=np.arange(80) % 10)
    (tmp_path / "deepmerge").write_text(f'#!/bin/sh\nexec {sys.executable} -m deepmerge "$@"\n')
    (tmp_path / "deepmerge").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "INSTALL": "true", "MINUTES": "0.03", "TIMING": "0.3", "PYTHONPATH": str(ROOT)}
    mini = models / "inception_mini/inception_mini"
    words = ["sh", ROOT / "docs/first_hour.sh", f"{mini}.prototxt", f"{mini}.caffemodel", *["npz:some.npz"] * 2]
    done = subprocess.run(list(map(str, words)), cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hints = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("next: deepmerge ")]
    assert hints == ["convert", "recover", "eval", "report"], "each command leads to the next one"
    out = tmp_path / "first_hour"
    stages = json.loads((out / "recovered/report.json").read_text())["recovery"]["stages"]
    kept = any(not stage.get("undone") for stage in stages)  # two seconds of recovery may do harm
    page = (out / "recovered/report.html").read_text()
    assert "times as fast</dd>" in page and "measured on ort" in page
    assert f"top-1 {'recovered' if kept else 'merged'}, 80 images" in page
    original, *_, last = json.loads((out / "table.json").read_text())["rows"]
    assert list(original["top"]) == ["original"] and set(last["top"]) <= {"merged", "recovered"}
