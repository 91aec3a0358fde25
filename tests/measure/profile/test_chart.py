from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmerge.errors import EngineError
from deepmerge.measure.profile.chart import draw

LAYERS = [("conv", True, 0.004), ("norm $x$", False, 0.003), ("fc", True, 0.001)]


def report(layers=LAYERS):
    network = {
        "label": "net",
        "sum": {"median": 0.008},
        "non_tensor": {"median": 0.375},
        "layers": [{"name": n, "tensor": t, "seconds": {"median": s}} for n, t, s in layers],
    }
    return {"engines": [{"engine": "caffe", "networks": [network]}, {"engine": "ncnn", "networks": [{"label": "net"}]}]}


def test_red_and_black_bars(tmp_path):
    pytest.importorskip("matplotlib")
    draw(report(), tmp_path / "a.png")
    draw(report(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    red = (pixels == (0xD6, 0x27, 0x28)).all(axis=1).sum()
    black = (pixels == 0).all(axis=1).sum()
    assert red > 1000 and black / red == pytest.approx(5 / 3, rel=0.2)  # 4 + 1 ms of black, 3 of red; frame and text


def test_what_cannot_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(EngineError, match="nothing to draw"):
        draw(report([]), tmp_path / "a.png")
    with pytest.raises(EngineError, match="--chart .*a.nonsense"):
        draw(report(), tmp_path / "a.nonsense")
