"""deepmerge verify: exit codes, what goes to stdout and stderr, and which options go together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from deepmerge.cli import main
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from tests.helpers import inputs, layer, network


@pytest.fixture(scope="module")
def mini(models):
    folder = models / "inception_mini"
    return [str(folder / "inception_mini.prototxt"), str(folder / "inception_mini.caffemodel")]


@pytest.fixture(scope="module")
def changed(mini, tmp_path_factory):
    """The same with one bias of inception_3b/1x1 changed."""
    folder = tmp_path_factory.mktemp("changed")
    graph = read_network(*mini)
    weights, bias = graph.layer("inception_3b/1x1").weights
    bias = bias.copy()
    bias[0] += 10
    graph.layer("inception_3b/1x1").weights = [weights, bias]
    write_pair(graph, folder / "net.prototxt", folder / "net.caffemodel")
    return [str(folder / "net.prototxt"), str(folder / "net.caffemodel")]


def run(*arguments):
    return CliRunner().invoke(main, ["verify", *arguments])


def test_equal_networks(mini):
    result = run(*mini, *mini)
    assert result.exit_code == 0 and result.stderr.startswith("next: ")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["output", "max", "abs", "relative", "mean", "abs", "range", "top-1", "top-5"]
    assert lines[2].split()[:4] == ["prob", "0", "0", "0"] and lines[2].split()[-2:] == ["100.0%", "100.0%"]
    assert lines[-1] == "8 random images (seed 0), engine ort: within the tolerance of 1e-05 of the range"


def test_different_networks(mini, changed):
    result = run(*mini, *changed)
    assert result.exit_code == 1
    line, _ = result.stderr.splitlines()
    assert line.startswith("deepmerge: output 'prob' differs by ") and line.endswith("above the tolerance of 1e-05")
    assert "not within the tolerance" in result.stdout


def test_layers_point_at_the_first_difference(mini, changed):
    result = run(*mini, *changed, "--layers")
    assert result.exit_code == 1
    marked = [line.split()[0] for line in result.stdout.splitlines() if line.endswith("<- first above")]
    assert marked == ["inception_3b/1x1"]
    first = "the first blob above the tolerance is inception_3b/1x1, made by inception_3b/1x1, inception_3b/relu_1x1"
    assert first in result.stdout
    assert "no blob is above the tolerance" in run(*mini, *mini, "--layers").stdout


@pytest.mark.parametrize("tolerance", ["none", "inf", "1.0"])
def test_reports_only(mini, changed, tolerance):
    result = run(*mini, *changed, "--tolerance", tolerance)
    assert result.exit_code == 0 and result.stderr.startswith("next: ")


def test_without_a_tolerance_no_blob_is_called_within_it(mini, changed):
    shown = run(*mini, *changed, "--layers", "--tolerance", "none").stdout
    assert shown.startswith("blob ") and shown.endswith("no tolerance was set\n")
    assert "above the tolerance" not in shown


def test_json(mini, changed):
    result = run(*mini, *changed, "--json", "--layers", "--random", "3", "--seed", "5")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1
    report = json.loads(result.stdout)
    assert {"engine", "images", "tolerance", "outputs", "layers", "ok"} <= report.keys()
    assert (report["engine"], report["images"], report["tolerance"], report["ok"]) == ("ort", 3, 1e-5, False)
    figures = {"name", "max_abs", "relative", "range", "mean_abs", "top1_agreement", "top5_agreement"}
    assert all(figures <= entry.keys() for entry in report["outputs"] + report["layers"])
    assert json.loads(run(*mini, *mini, "--json", "--tolerance", "none").stdout)["tolerance"] is None


def test_rounding_is_shown_where_it_decides(tmp_path):
    """A: a large number is added and taken away again. B: the same without that."""
    start = inputs((1, 2, 3, 4)) + layer("half", "Power", "data", "scale: 0.5")
    far = layer("up", "Power", "half", "shift: 131072") + layer("down", "Power", "up", "shift: -131072", tops="y")
    pairs = []
    for name, text in (("a", start + far), ("b", start + layer("same", "Power", "half", tops="y"))):
        pairs += [tmp_path / f"{name}.prototxt", tmp_path / f"{name}.caffemodel"]
        write_pair(network(tmp_path, text), *pairs[-2:])
    result = run(*map(str, pairs))
    assert result.exit_code == 0 and result.stderr.startswith("next: ")
    assert "\nrounding alone takes y of A " in result.stdout
    assert result.stdout.endswith(": within rounding, though not within the tolerance of 1e-05 of the range\n")
    (output,) = json.loads(run(*map(str, pairs), "--json").stdout)["outputs"]
    assert 1e-5 < output["rounding"] <= 2**-7 / output["range"]  # floats above 131072 are 2^-6 apart


def test_approximate_merges_are_expected_to_differ(mini, tmp_path):
    assert CliRunner().invoke(main, ["convert", *mini, "-o", str(tmp_path / "out"), "-q"]).exit_code == 0
    step = min((tmp_path / "out" / "steps").iterdir())
    for folder in (tmp_path / "out", step):
        result = run(*mini, str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel"), "--random", "1", "-q")
        assert result.exit_code == 1
        assert "; this is expected, since B has approximate merges: `deepmerge eval` measures" in result.stderr
    result = run(*mini, *map(str, copied(step, tmp_path)), "--random", "1", "-q")
    assert result.exit_code == 1 and "expected" not in result.stderr  # nothing says where it comes from


def copied(folder, to):
    return [shutil.copy(folder / name, to / name) for name in ("deploy.prototxt", "weights.caffemodel")]


def test_the_same_bytes_each_time(mini, changed):
    first, second = (run(*mini, *changed, "--json").stdout for _ in range(2))
    assert first == second
    assert first != run(*mini, *changed, "--json", "--seed", "1").stdout


def test_quiet(mini, changed):
    result = run(*mini, *mini, "-q")
    assert (result.exit_code, result.output) == (0, "")
    result = run(*mini, *changed, "-q")
    assert result.exit_code == 1 and result.stdout == "" and len(result.stderr.splitlines()) == 1


def test_images(mini, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (4, 40, 36, 3), dtype=np.uint8))
    (tmp_path / "list.txt").write_text("nothing.png 1\n")
    spec = f"npz:{tmp_path / 'a.npz'}"
    result = run(*mini, *mini, "--images", spec, "--limit", "3", "--resize", "40,36", "--crop", "32", "--mean", "1,2,3")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"3 images of {spec}, engine ort")
    result = run(*mini, *mini, "--images", f"list:{tmp_path / 'list.txt'}")
    assert result.exit_code == 1
    assert result.stderr == "deepmerge: none of the 1 images could be read; the first: nothing.png: no such file\n"


def test_unreadable_images_are_warned_of(mini, tmp_path):
    from PIL import Image

    Image.new("RGB", (5, 9)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("")
    result = run(*mini, *mini, "--images", f"folder:{tmp_path}")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: 1 of 2 images could not be read, and were left out; the first: ")
    result = run(*mini, *mini, "--images", f"folder:{tmp_path}", "--strict")
    assert result.exit_code == 1 and result.stderr.startswith("deepmerge: --strict: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "tensorflow"], "'tensorflow' is not one of"),
        (["--random", "0"], "--random"),
        (["--tolerance", "-1"], "neither a number from 0 on nor 'none'"),
        (["--tolerance", "nan"], "neither a number from 0 on nor 'none'"),
        (["--mean", "1,x"], "is not a number for each channel"),
        (["--resize", "32"], "is not a width and a height in pixels"),
        (["--resize", "32,0"], "is not a width and a height in pixels"),
        (["--images", "folder:x", "--random", "3"], "--random and --images exclude each other"),
        (["--images", "folder:x", "--seed", "3"], "--seed and --images exclude each other"),
        (["--limit", "3"], "--limit has no effect without --images"),
        (["--crop", "3"], "--crop has no effect without --images"),
    ],
)
def test_usage(mini, options, message):
    result = run(*mini, *mini, *options)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


def test_too_few_files(mini):
    assert run(*mini).exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "hdf5:x.h5"], "x.h5: no such file"),
        (["--images", "x"], "is not a source of images"),
        (["--mean", "1,2"], "--mean has 2 numbers"),
        (["--images", "npz:a.npz", "--crop", "3"], "--crop 3 makes images of 3×3; the network takes 32×32"),
    ],
)
def test_failures_are_one_line(mini, tmp_path, monkeypatch, options, message):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 4, 4, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    result = run(*mini, *mini, *options)
    assert result.exit_code == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("deepmerge: ") and message in line


def test_as_a_command(mini, tmp_path):
    command = [sys.executable, "-m", "deepmerge", "verify"]
    done = subprocess.run([*command, *mini, *mini, "--random", "1"], capture_output=True, text=True)
    assert done.returncode == 0 and re.fullmatch("next: .*\n", done.stderr)  # no progress where there is no terminal
    done = subprocess.run([*command, *mini, mini[0], str(tmp_path / "no")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("deepmerge: ") and len(done.stderr.splitlines()) == 1
