"""deepmerge eval: what it prints, exit codes, and which options go together."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.formats.read import read_network
from deepmerge.machine import cores
from deepmerge.text import count

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(12) % 10, classes=list("abcdefghij"))
    np.savez(tmp_path / "b.npz", images=PIXELS)
    return tmp_path


@pytest.fixture
def out(run, mini, data):
    assert run("convert", *mini, "-o", data / "out", "--steps", "conv1,conv2", "-q").code == 0
    return data / "out"


def test_a_table(run, mini, data):
    done = run("eval", *mini, "--data", f"npz:{data}/a.npz", "--per-class")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert re.fullmatch(r"network +\d+\.\d\d ± \d+\.\d\d% +\d+\.\d\d ± \d+\.\d\d%", lines[2])
    assert lines[0].split() == ["network", "top-1", "top-5"] and lines[2].split()[0] == "network"
    assert [line.split()[0] for line in lines if line[:2].strip() in tuple("abcdefghij")] == list("abcdefghij")
    assert lines[-1].startswith(f"12 images of npz:{data}/a.npz, output 'prob', engine ort: ")
    assert lines[-1].endswith(f"images/s with {count(cores(), 'thread')}")
    one = run("eval", *mini, "--data", f"npz:{data}/a.npz", "--threads", 1)
    assert one.out.endswith("images/s with 1 thread\n")


def test_a_folder_and_its_steps(run, out, data):
    for words in (["--steps"], ["--steps", "all"], ["--steps", "conv1,conv2"]):
        done = run("eval", out, "--data", f"npz:{data}/a.npz", *words, "--top", "1")
        assert done.code == 0
        head, _, *rows = done.out.split("\n\n")[0].splitlines()
        assert head.split() == ["network", "top-1", "lost", "same", "top-1", "KL", "max", "diff."]
        assert [row.split()[0] for row in rows] == ["original", "conv1", "conv2", "final"]


def test_per_class_of_several_networks(run, mini, out, data):
    done = run("eval", out, "--data", f"npz:{data}/a.npz", "--per-class", "--against", *mini)
    assert done.out.split("\n\n")[1].splitlines()[0].split("  ") == ["class", "images", "against top-1", "final top-1"]


def test_json(run, out, data):
    done = run("eval", out, "--data", f"npz:{data}/b.npz", "--json", "--limit", "5", "--batch-size", "2")
    report = json.loads(done.out)
    assert report["images"] == 5 and report["against"]["name"] == "original"
    assert (
        report["networks"][0]["agreement"].keys() == {"top1", "kl", "max_abs", "softmax"}
        and report["networks"][0]["top"] is None
    )
    report = json.loads(run("eval", out, "--data", f"npz:{data}/a.npz", "--json", "--top", "1,3").out)
    assert list(report["networks"][0]["top"]) == ["1", "3"]


def test_quiet_and_warnings(run, mini, data):
    done = run("eval", *mini, "--data", f"npz:{data}/a.npz", "--top", "1,12")
    assert (
        done.err == "warning: top-12 of 10 classes is always right; top-9 is measured instead\n" and "top-9" in done.out
    )
    done = run("eval", *mini, "--data", f"npz:{data}/a.npz", "--top", "1,12", "-q")
    assert done.code == 0 and done.out == done.err == ""


def test_limits_of_the_accuracy(run, mini, out, data):
    """The original's labels: it is right for all 12 images."""
    labels = np.array([entry["images"] for entry in answers(run, mini, data)])
    assert labels.sum() == 12
    words = ["eval", out, "--data", f"npz:{data}/own.npz", "--top", "1", "--json"]
    found = json.loads(run(*words).out)["networks"][0]
    lost, top1 = found["drop"]["1"]["value"] * 100, found["top"]["1"] * 100
    assert lost > 0 and lost == pytest.approx(100 - top1)
    for option, value, code in (
        ("--max-drop", lost + 0.1, 0),
        ("--max-drop", lost - 0.1, 1),
        ("--min-top1", top1 - 0.1, 0),
        ("--min-top1", top1 + 0.1, 1),
    ):
        assert run(*words, option, max(value, 0)).code == code, (option, value)
    done = run(*words[:-1], "--max-drop", 0)
    assert re.match(
        r"deepmerge: top-1 is below that of original by [\d.]+ ± [\d.]+ points on 12 images, more than 0\n", done.err
    )
    done = run(*words[:-1], "--min-top1", 100)
    assert re.match(r"deepmerge: top-1 is [\d.]+ ± [\d.]+% on 12 images, below 100%\n", done.err)
    done = run("eval", out, "--data", f"npz:{data}/b.npz", "--min-top1", 1)
    assert done.code == 1 and "there is no top-1 for --max-drop and --min-top1" in done.err


def answers(run, mini, data) -> list[dict]:
    """Write own.npz, labelled by the network itself, and return what eval says about its classes."""
    graph = read_network(*mini)
    with engine("ort").load(graph) as session:
        mean = np.array((104, 117, 123), np.float32)[:, None, None]
        scores = session.forward({"data": np.moveaxis(PIXELS[..., ::-1], 3, 1).astype(np.float32) - mean})["prob"]
    np.savez(data / "own.npz", images=PIXELS, labels=scores.reshape(12, -1).argmax(1))
    done = run(
        "eval", *mini, "--data", f"npz:{data}/own.npz", "--top", "1", "--per-class", "--json", "--min-top1", "100"
    )
    assert done.code == 0
    return json.loads(done.out)["networks"][0]["per_class"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "--data", "npz:x", "--max-drop", "1"], "--max-drop needs another network: give --against, or OUT"),
        (["a", "--data", "npz:x", "--min-top1", "80", "--top", "5"], "--max-drop and --min-top1 need top-1"),
        (["a", "--data", "npz:x", "--min-top1", "101"], "101.0 is not in the range"),
        (["a", "b", "c", "--data", "npz:x"], "give OUT, or a PROTOTXT and its CAFFEMODEL"),
        (["a", "--data", "npz:x", "--top", "0"], "'0' is not a list of numbers from 1 on, such as 1,5"),
        (["a", "--data", "npz:x", "--top", "1,,5"], "is not a list of numbers"),
        (["a", "b", "--data", "npz:x", "--steps"], "--steps goes with OUT"),
        (["a", "b", "--data", "npz:x", "--original", "c", "d"], "--original goes with OUT"),
        (
            ["a", "--data", "npz:x", "--original", "c", "d", "--against", "e", "f"],
            "--against and --original exclude each other",
        ),
        (["a"], "Missing option '--data'"),
        ([], "Missing argument"),
    ],
)
def test_misuse(run, words, message):
    done = run("eval", *words)
    assert done.code == 2 and message in done.err and done.out == ""


def test_failures_are_one_line(run, mini, data, tmp_path):
    for words, message in (
        (
            [tmp_path / "no", "--data", f"npz:{data}/a.npz"],
            "no: no such folder; give the folder that `deepmerge convert` has written",
        ),
        ([*mini, "--data", f"npz:{data}/b.npz"], "b.npz: has no labels, so accuracy cannot be measured"),
        ([*mini, "--data", "photos"], "'photos' is not a source of images"),
        (
            [*mini, "--data", f"npz:{data}/a.npz", "--output", "probe"],
            "--output: the network has no blob 'probe'; its outputs are 'prob'",
        ),
        ([*mini, "--data", f"npz:{data}/a.npz", "--output", "pool1/norm1"], "has scores at 16×16 places"),
    ):
        done = run("eval", *words)
        assert done.code == 1 and message in done.line


def test_the_progress_bar_is_for_terminals(mini, data):
    words = [
        sys.executable,
        "-m",
        "deepmerge",
        "eval",
        *map(str, mini),
        "--data",
        f"npz:{data}/a.npz",
        "--batch-size",
        "4",
    ]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stderr.startswith("next: ")
    ours, theirs = pty.openpty()
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    assert b"8/12 images" in os.read(ours, 1 << 16) and done.stdout.startswith(b"network")


def test_a_file_in_int8_that_was_copied_elsewhere_is_judged(run, mini, data, tmp_path):
    source = f"npz:{data}/a.npz"
    words = ("--emit", "caffe,onnx-int8", "--calibration", source, "--steps", "conv1", "-q")
    assert run("convert", *mini, "-o", tmp_path / "whole", *words).code == 0
    (tmp_path / "dist").mkdir()
    for name in ("deploy.prototxt", "weights.caffemodel", "model-int8.onnx"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "dist")
    done = run("eval", tmp_path / "dist/model-int8.onnx", "--data", source)
    assert done.code == 0 and done.next == ""
    assert "below 100%" in run("eval", tmp_path / "dist/model-int8.onnx", "--data", source, "--min-top1", 100).err


@pytest.mark.parametrize("limit", ["--max-drop", "--min-top1"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_limits_are_numbers(run, out, data, limit, value):
    assert run("eval", out, "--data", f"npz:{data}/a.npz", limit, value).code == 2
