from __future__ import annotations

import json


def test_a_page_of_a_conversion(run, pair, tmp_path):
    out = tmp_path / "out"
    assert run("convert", *pair, "-o", out, "-q").code == 0
    done = run("report", out)
    assert (done.code, done.out) == (0, f"written to {out / 'report.html'}\n")
    assert run("report", out).line.endswith(
        "report.html: exists already; give another name with -o, or --force to replace it"
    )
    done = run("report", out, "-o", tmp_path / "page.html", "--json")
    assert json.loads(done.out) == {
        "version": 1,
        "page": str(tmp_path / "page.html"),
        "bytes": (tmp_path / "page.html").stat().st_size,
    }
    assert (tmp_path / "page.html").read_bytes() == (out / "report.html").read_bytes()


def test_convert_writes_the_same(run, pair, tmp_path):
    assert run("convert", *pair, "-o", tmp_path / "a", "--report", "-q").code == 0
    assert run("convert", *pair, "-o", tmp_path / "b", "-q").code == 0
    assert not (tmp_path / "b" / "report.html").exists()
    assert run("report", tmp_path / "b", "-q").out == ""
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_convert_to_onnx_alone(run, pair, tmp_path):
    assert run("convert", *pair, "-o", tmp_path / "out", "--report", "--emit", "onnx", "--no-steps", "-q").code == 0
    assert "GoogleNet" not in (tmp_path / "out" / "report.html").read_text()


def test_measurements_go_in(run, pair, tmp_path):
    assert run("convert", *pair, "-o", tmp_path / "out", "--steps", "conv1", "-q").code == 0
    words = ("before=" + str(pair[0]), "after=" + str(tmp_path / "out"), "--engine", "ort", "--repeat", "2")
    (tmp_path / "p.json").write_text(run("profile", *words, "--json").out)
    assert run("report", tmp_path / "out", "--profile", tmp_path / "p.json").code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Times were not measured" not in page and "<code>after</code> on ort" in page
    assert (
        "is not what `deepmerge table … --json` writes"
        in run("report", tmp_path / "out", "--force", "--table", tmp_path / "p.json").line
    )


def test_an_original_elsewhere(run, pair, tmp_path):
    assert run("convert", *pair, "-o", tmp_path / "out", "-q").code == 0
    for file in pair:
        file.rename(f"{file}.moved")
    assert run("report", tmp_path / "out", "-o", tmp_path / "a.html").code == 0
    assert "The original cannot be drawn" in (tmp_path / "a.html").read_text()
    moved = [f"{file}.moved" for file in pair]
    assert run("report", tmp_path / "out", "-o", tmp_path / "b.html", "--original", *moved).code == 0
    assert "The original cannot be drawn" not in (tmp_path / "b.html").read_text()
