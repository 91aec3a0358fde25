from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from deepmerge.measure.bench.energy import NoMeter

QUICK = ("--repeat", 2, "--engine", "ort", "--measure", "time")


def test_tables(run, mini):
    done = run("bench", f"one={mini[0]}", mini[1], f"two={mini[0]}", *QUICK)
    assert done.code == 0 and done.err == ""
    head, note, times, sizes = done.out.rstrip("\n").split("\n\n")
    assert "load average" in head and note.startswith("two: no caffemodel given, random weights")
    assert times.splitlines()[0].split() == ["time,", "ms", "ort", "times", "as", "fast"]
    assert [line.split()[0] for line in times.splitlines()[2:]] == ["one", "two"]
    assert times.splitlines()[2].split()[2:] == ["1"]
    assert sizes.splitlines()[2].split()[:7] == ["one", "0.29", "M", "18.48", "M", "1.14", "MB"]
    assert sizes.splitlines()[3].split()[7] == "100.0%"


def test_memory_energy_and_what_is_not_available(run, mini, monkeypatch):
    def no_meter(device):
        raise NoMeter("it is a test")

    monkeypatch.setattr("deepmerge.measure.bench.measure.find_meter", no_meter)
    out = run("bench", *mini, "--repeat", 2, "--engine", "ort", "--measure", "memory,energy").out
    assert "peak memory" in out and "without the engine" in out
    assert out.splitlines()[-1] == "energy: not available on this machine, because it is a test"


def test_other_forms(run, mini):
    report = json.loads(run("bench", *mini, "--json", *QUICK).out, parse_constant=_refuse)
    assert list(report) == ["version", "machine", "load_after", "settings", "networks", "engines"]
    lines = list(csv.DictReader(io.StringIO(run("bench", *mini, "--csv", *QUICK).out)))
    assert {line["figure"] for line in lines} >= {
        "params",
        "macs",
        "storage_bytes",
        "activation_bytes_caffe",
        "forward",
    }
    macs = next(line for line in lines if line["figure"] == "macs")
    assert int(macs["value"]) == report["networks"][0]["macs"] and macs["network"] == "inception_mini"
    markdown = run("bench", *mini, "--markdown", *QUICK).out
    assert "| time, ms | ort | times as fast |\n| --- | ---: | ---: |\n| inception_mini |" in markdown


def test_against(run, mini, tmp_path):
    """A network against itself is no worse; one against a baseline that was half as large is."""
    words = ("bench", f"a={mini[0]}", mini[1], f"b={mini[0]}", mini[1], *QUICK)
    file = tmp_path / "baseline.json"
    file.write_text(run(*words, "--json").out)
    assert run(*words, "--against", file, "--tolerance", 100).code == 0
    baseline = json.loads(file.read_text())
    baseline["networks"][1]["params"] //= 2
    file.write_text(json.dumps(baseline))
    done = run(*words, "--against", file, "--tolerance", 0.5)
    assert done.code == 1 and f"worse than {file} by more than 50%: b, params: 1.000 times" in done.err
    assert "time, ms" in done.out  # the figures are shown all the same


def test_accuracy(run, mini, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", images=rng.integers(0, 256, (6, 32, 32, 3), np.uint8), labels=np.arange(6) % 3)
    out = run(
        "bench", f"a={mini[0]}", mini[1], f"b={mini[0]}", "--data", f"npz:{tmp_path / 'd.npz'}", "--limit", 4, *QUICK
    ).out
    lines = out[out.index("accuracy") :].splitlines()
    assert lines[0].split() == ["accuracy", "top-1", "top-5", "images"]
    assert lines[2].split()[0] == "a" and lines[2].split()[-1] == "4" and lines[3].split() == ["b", "–", "–", "–"]


def test_unreadable_images_are_shown_once(run, mini, tmp_path):
    from PIL import Image

    photos = tmp_path / "photos/a"
    photos.mkdir(parents=True)
    for name in "xyz":
        Image.new("RGB", (32, 32)).save(photos / f"{name}.png")
    (photos / "y.png").write_bytes(b"no image")
    done = run("bench", f"a={mini[0]}", mini[1], f"b={mini[0]}", mini[1], "--data", f"folder:{photos.parent}", *QUICK)
    assert done.code == 0 and done.err.count("1 of 3 images could not be read, and were left out") == 1, done
    assert "y.png" in done.err


def _refuse(word):
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "--csv"], "exclude each other"),
        (["--memory", "much"], "'much' is neither an amount of memory"),
        (["--memory", "device"], "give --device cuda"),
        (["--limit", "4"], "--limit has no effect without --data"),
        (["--mean", "1,2,3"], "--mean has no effect without --data"),
        (["--measure", "speed"], "'speed' is not one of"),
    ],
)
def test_usage(run, mini, words, message):
    done = run("bench", *mini, *words)
    assert done.code == 2 and message in done.err


@pytest.mark.parametrize(
    ("text", "number"), [("1GB", 10**9), ("2GiB", 2**31), ("1.5k", 1500), ("300 MB", 3 * 10**8), ("7", 7)]
)
def test_amounts_of_memory(text, number):
    from deepmerge.cli.bench import _limit

    assert _limit(text) == number
