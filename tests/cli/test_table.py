"""deepmerge table: what it prints, and which options go together."""

from __future__ import annotations

import json

import numpy as np
import pytest

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def out(run, mini, tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(12) % 10)
    assert run("convert", *mini, "-o", tmp_path / "out", "--steps", "conv1,conv2", "-q").code == 0
    return tmp_path / "out"


def test_a_table(run, out):
    done = run("table", f"mine={out}", "--data", f"npz:{out.parent}/a.npz", "--seconds", "0.5", "--top", "1")
    assert done.code == 0 and done.err == ""
    head, _, *rows = done.out.split("\n\n")[0].splitlines()
    assert head.split() == ["step", "merged", "mine", "top-1", "ms", "times", "as", "fast"]
    assert [row.split()[:2] for row in rows] == [["0", "original"], ["1", "conv1"], ["2", "conv2"]]
    assert all("%" in row for row in rows)
    assert done.out.splitlines()[-1].startswith(
        f"12 images of npz:{out.parent}/a.npz, engine ort; times of one forward on ort, 1 thread; "
    )


def test_json_and_picture(run, out):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; extra [plot]")
    done = run(
        "table", out, "--data", f"npz:{out.parent}/a.npz", "--seconds", "0", "--json", "--png", out.parent / "t.png"
    )
    report = json.loads(done.out)
    assert report["columns"] == [{"title": "merged", "folder": str(out)}] and list(
        report["rows"][0]["top"]["original"]
    ) == ["1", "5"]
    assert (out.parent / "t.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_asked_for(run, out):
    done = run("table", out, "--seconds", "0")
    assert done.code == 2 and "nothing is left to show" in done.err


def test_no_such_folder(run, tmp_path):
    assert (
        run("table", tmp_path / "none").line
        == f"deepmerge: {tmp_path}/none: no such folder; give the folder that `deepmerge convert` has written"
    )


def test_mirror_averages_as_in_eval(run, out, monkeypatch):
    from deepmerge.measure.steps import job

    seen, measure = [], job.measure

    def spied(networks, loader, settings, **more):
        seen.append(settings.mirror)
        return measure(networks, loader, settings, **more)

    monkeypatch.setattr(job, "measure", spied)
    for words in ((), ("--mirror",)):
        assert run("table", out, "--data", f"npz:{out.parent}/a.npz", "--seconds", 0, *words).code == 0
    assert seen == [False, True]


def test_what_has_no_effect_is_refused(run, out):
    for words in (("--top", "1"), ("--mean", "1,2,3"), ("--batch-size", "2")):
        assert "has no effect without --data" in run("table", out, "--seconds", "0.1", *words).err
    done = run("table", out, "--data", f"npz:{out.parent}/a.npz", "--seconds", "0", "--time-engine", "ort")
    assert done.code == 2 and "has no effect with --seconds 0" in done.err


@pytest.mark.parametrize("name, says", [("t.doc", "is no picture"), ("gone/t.png", "there is no folder")])
def test_a_picture_that_cannot_be_drawn_is_said_before_anything_is_measured(run, out, monkeypatch, name, says):
    monkeypatch.setattr("deepmerge.measure.steps.run", lambda *_, **__: pytest.fail("it was measured"))
    done = run("table", out, "--png", out.parent / name, "--seconds", "0.1")
    assert done.code == 1 and says in done.line
