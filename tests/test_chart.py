"""What every chart shares."""

from __future__ import annotations

import sys

import pytest
from PIL import Image

from deepmerge.chart import chart
from deepmerge.errors import EngineError


def draw(file, width: float = 3.0, height: float = 2.0) -> bytes:
    with chart("--png", file, width, height) as figure:
        figure.subplots().plot([1, 2, 3], label="line")
    return file.read_bytes()


@pytest.mark.parametrize("kind", ["png", "PNG", "svg", "pdf"])
def test_the_same_figures_give_the_same_bytes(tmp_path, kind):
    pytest.importorskip("matplotlib")
    first = draw(tmp_path / f"a.{kind}")
    assert first == draw(tmp_path / f"b.{kind}")
    assert not [word for word in (b"Matplotlib", b"CreationDate", b"dc:date") if word in first]


def test_no_picture_is_larger_than_12000_pixels(tmp_path):
    pytest.importorskip("matplotlib")
    draw(tmp_path / "a.png", 10_000.0, 0.5)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (12_000, 60)


def test_formats_that_nobody_knows(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(EngineError, match=r"--png .*a\.nonsense"):
        draw(tmp_path / "a.nonsense")
    with pytest.raises(OSError, match="No such file"):
        draw(tmp_path / "none" / "a.png")


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EngineError, match=r"--png needs matplotlib: pip install 'deepmerge-caffe\[plot\]'"):
        draw(tmp_path / "a.png")
