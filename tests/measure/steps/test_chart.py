"""The table's picture: a line for each folder, a bar for each step, the same bytes for the same table."""

from __future__ import annotations

import pytest
from PIL import Image

from deepmerge.errors import EngineError

pytest.importorskip("matplotlib", reason="matplotlib is not installed; extra [plot]")


def report(top: bool = True, times: bool = True) -> dict:
    rows = []
    for place, step in enumerate((None, "conv1", "a $tep")):
        tops = {"original": {1: 0.9}} if step is None else {"merged": {1: 0.5}, "recovered": {1: 0.85}}
        speed = {"value": 1.0 + place, "low": 0.9 + place, "high": 1.1 + place}
        rows.append({"step": step, "top": tops if top else None, "speedup": speed if times else None})
    return {"network": "Net", "images": 100, "columns": [{"title": "merged"}, {"title": "recovered"}], "rows": rows}


@pytest.mark.parametrize(("top", "times", "panels"), [(True, True, 2), (True, False, 1), (False, True, 1)])
def test_panels(tmp_path, top, times, panels):
    from deepmerge.measure.steps.chart import draw

    draw(report(top, times), tmp_path / "a.png")
    draw(report(top, times), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[1] == pytest.approx(3.2 * 120 * panels, abs=2)


def test_lines_and_labels(tmp_path):
    from deepmerge.measure.steps.chart import draw

    draw(report(), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for words in ("original 90.0", "50.0", "85.0", "3.00", "recovered", "a $tep"):
        assert f"<!-- {words}" in text or f"<!-- {words.replace('$', chr(92) + '$')}" in text, words


def test_nothing_to_draw_and_formats(tmp_path):
    from deepmerge.measure.steps.chart import draw

    with pytest.raises(EngineError, match="nothing to draw"):
        draw(report(False, False), tmp_path / "a.png")
    with pytest.raises(EngineError, match="--png .*a.doc"):
        draw(report(), tmp_path / "a.doc")
