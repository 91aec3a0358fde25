"""The command's own part: options, exit codes, what is printed. What it writes: tests/test_convert.py."""

from __future__ import annotations

import json

import numpy as np
import pytest

REPORT = ["version", "network", "source", "before", "after", "steps", "cleanup", "refusals", "warnings", "transform"]


def test_what_is_shown(run, mini, tmp_path):
    out = tmp_path / "out"
    done = run("convert", *mini, "-o", out, "--steps", "conv2,inception_3a", "--no-steps")
    assert done.code == 0 and done.err == ""
    steps, cleanup, costs, *rest = done.out.rstrip("\n").split("\n\n")
    assert [line.split()[1:3] for line in steps.splitlines()[2:]] == [["conv2", "no"], ["inception_3a", "no"]]
    assert cleanup.startswith("exact cleanup: remove_dropout (1)")
    assert "MACs, one image" in costs
    assert rest[-2] == (
        "2 approximate steps, which cost accuracy until the network has recovered (`deepmerge recover`) "
        "or is fine-tuned (`make -f finetune.mk` in the folder)"
    )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert rest[-1] == f"written to {out} ({size / 1e6:.2f} MB)"


def test_refusals_are_counted_and_shown_with_v(run, models, mini, tmp_path):
    words = ["convert", *mini, "--dry-run", "--keep", "LRN"]
    assert "merges left alone (-v shows why; so does `deepmerge plan`)" in run(*words).out
    assert "so does `deepmerge plan --exact`)" in run("convert", *mini, "--dry-run", "--exact").out
    shown = run(*words, "-v").out
    assert "'pool1/norm1' (LRN) is kept, as asked" in shown and "(-v shows why" not in shown


def test_json_is_the_report(run, mini, tmp_path):
    done = run("convert", *mini, "-o", tmp_path / "out", "--json", "--no-steps")
    assert done.code == 0 and done.err == ""
    report = json.loads(done.out)
    assert set(REPORT) == set(report)
    assert report == json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))


def test_a_dry_run_writes_nothing(run, mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("convert", *mini, "--dry-run")
    assert done.code == 0 and done.out.endswith("\nnothing was written (--dry-run)\n")
    assert run("convert", *mini, "--dry-run", "-o", tmp_path / "out").code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, expected",
    [
        ("", "Missing option '-o' / '--out'"),
        ("-o out --recipe r.toml --width 0.5", "--width and --recipe exclude each other; edit the recipe instead"),
        ("-o out --recipe r.toml --steps all", "--steps and --recipe exclude each other"),
        ("-o out --emit caffe,onxx", "'onxx' is not one of caffe, onnx, onnx-int8; did you mean 'onnx'?"),
        ("-o out --emit=", "give one word or more: caffe, onnx, onnx-int8"),
        ("-o out --emit onnx --recover npz:x.npz", "--recover trains the Caffe files: add caffe to --emit"),
        (
            "-o out --emit onnx --data npz:x.npz --speedup 2",
            "--data fits the Caffe files: add caffe to --emit, or give --no-fit",
        ),
        ("-o out --onnx-lrn op", "--onnx-lrn has no effect without onnx in --emit; add it"),
        ("-o out --batch-size 0", "0 is not in the range"),
        ("-o out --solver base_lr", "--solver 'base_lr': give KEY=VALUE"),
        ("-o out --solver base_rl=1", "Caffe's solver has no field 'base_rl'; did you mean 'base_lr'?"),
        ("-o out --solver base_lr=fast", "needs a number"),
        (
            "-o out --calibration folder:photos",
            "--calibration has no effect without --tucker or onnx-int8 in --emit; add one of them",
        ),
        ("-o out --emit onnx-int8", "--emit onnx-int8 needs images to calibrate on: add --calibration SPEC"),
        ("-o out --emit onnx --int8-method entropy", "--int8-method has no effect without onnx-int8 in --emit; add it"),
        ("-o out --int8-keep conv1", "--int8-keep has no effect without onnx-int8 in --emit; add it"),
        ("-o out --tucker --calibration-images 9", "--calibration-images has no effect without --calibration"),
        ("-o out --mean 1,2,3", "--mean has no effect without images: add --data, --recover or --calibration"),
        ("-o out --calibration folder:photos --tucker --calibration-images 0", "0 is not in the range"),
        ("-o out --train-source images", "give lmdb:PATH, list:FILE or hdf5:FILE"),
        ("-o out --test-source zip:images", "give lmdb:PATH, list:FILE or hdf5:FILE"),
    ],
)
def test_usage(run, mini, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = run("convert", *mini, *words.split())
    assert done.code == 2 and done.out == ""
    assert expected in done.err.splitlines()[-1], done.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_out_stays_unless_forced(run, mini, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    done = run("convert", *mini, "-o", out)
    assert (
        done.code == 1
        and done.line == f"deepmerge: {out}: exists already; give another folder, or --force to replace it"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]
    assert run("convert", *mini, "-o", out, "--force", "--no-steps").code == 0
    assert (out / "report.json").exists() and not (out / "mine").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_step_has_all_weights_where_that_is_asked_for(run, mini, tmp_path):
    for words, there in (((), False), (("--step-weights",), True)):
        out = tmp_path / str(there)
        assert run("convert", *mini, "-o", out, "--steps", "conv1,conv2", *words).code == 0
        assert (out / "steps/01-conv1/weights.caffemodel").exists()
        assert (out / "steps/02-conv2/weights.caffemodel").exists() == there


def test_an_out_that_holds_an_input_is_refused(run, mini, pair, tmp_path):
    """--force would delete what is converted."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for words, held in (
        (pair, pair[0]),
        ((mini[0], pair[1]), pair[1]),
        ((*mini, "--train-val", pair[0]), pair[0]),
        ((*mini, "--recover", f"folder:{photos}"), photos),
        ((*mini, "--tucker", "--calibration", f"folder:{photos}"), photos),
        ((*mini, "--data", f"folder:{photos}", "--speedup", 2), photos),
    ):
        done = run("convert", *words, "-o", tmp_path, "--force")
        text = f"deepmerge: {tmp_path}: holds {held}, which --force would delete; give another folder"
        assert (done.code, done.line) == (1, text)
    assert photos.exists() and all(file.exists() for file in pair)
    assert run("convert", *pair, "-o", tmp_path / "out", "--exact").code == 0
    copy = pair[0].rename(tmp_path / "out/mine.prototxt")
    done = run("convert", copy, pair[1], "-o", tmp_path / "out", "--force")
    assert done.code == 1 and f"holds {copy}" in done.err and copy.exists(), "no conversion wrote it"


def test_a_recipe_that_will_not_do(run, mini, tmp_path):
    recipe = tmp_path / "recipe.toml"
    step = '[[step]]\nname = "s"\npasses = ["merge_lrn"]\nlayers = ["conv2/norm2", "{}"]\n'
    for text, expected in [
        ("version = 2", "version 2 is not known"),
        (
            "version = 1\n" + step.format("norm3"),
            "step 's': the network 'InceptionMini' has no layer 'norm3' at this point",
        ),
        (
            "version = 1\n" + step.format("pool1/3x3_s2"),
            "step 's' cannot be done: merge_lrn does not apply to 'pool1/3x3_s2'",
        ),
        (
            'version = 1\nnetwork = "AlexNet"\n' + step.format("x").replace("conv2/norm2", "norm2"),
            "was made for the network 'AlexNet'",
        ),
        (
            'version = 1\nkeep = ["LNR"]',
            "keep: the network 'InceptionMini' has no layer or type 'LNR'; did you mean 'LRN'",
        ),
    ]:
        recipe.write_text(text)
        done = run("convert", *mini, "--recipe", recipe, "-o", tmp_path / "out")
        assert done.code == 1 and done.line.startswith(f"deepmerge: {recipe}: {expected}"), done.line
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_unknown_layers_pass_with_a_warning_unless_strict(run, pair, tmp_path):
    pair[0].write_text(pair[0].read_text().replace('type: "LRN"', 'type: "Strange"', 1))
    done = run("convert", *pair, "-o", tmp_path / "strict", "--strict", "--no-steps")
    assert done.code == 1
    assert done.line.startswith("deepmerge: --strict: ") and "'pool1/norm1' has the unknown type 'Strange'" in done.line
    assert not (tmp_path / "strict").exists() and not list(tmp_path.glob(".*"))
    done = run("convert", *pair, "-o", tmp_path / "out", "--no-steps")
    assert done.code == 0 and done.err.startswith("warning: layer 'pool1/norm1' has the unknown type 'Strange'")
    assert 'type: "Strange"' in (tmp_path / "out/deploy.prototxt").read_text()
    assert run("convert", *pair, "-o", tmp_path / "quiet", "--no-steps", "-q").err == ""


def test_names_beyond_ascii(run, pair, tmp_path):
    pair[0].write_text(
        pair[0].read_text().replace('"relu', '"réluß').replace("inception_3a/output", "größe/層"), encoding="utf-8"
    )
    out = tmp_path / "aus-ü"
    done = run("convert", *pair, "-o", out, "--steps", "inception_3a", "--check")
    assert done.code == 0, done.err
    assert "größe/層" in (out / "recipe.toml").read_text(encoding="utf-8")
    again = run("convert", *pair, "-o", tmp_path / "again", "--recipe", out / "recipe.toml", "--json")
    assert (
        again.code == 0
        and (tmp_path / "again/weights.caffemodel").read_bytes() == (out / "weights.caffemodel").read_bytes()
    )
    assert run("inspect", out / "deploy.prototxt", out / "weights.caffemodel").code == 0


def test_calibration(run, mini, tmp_path):
    np.savez(tmp_path / "photos.npz", images=np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8))
    spec = f"npz:{tmp_path / 'photos.npz'}"
    words = ["convert", *mini, "--tucker", "--rank", "macs:0.5", "--absorb", "", "--calibration", spec]
    done = run(*words, "-o", tmp_path / "out", "--calibration-images", 4, "--scale", "0.5", "--no-steps")
    assert done.code == 0 and done.err == "", done
    assert f"\n\ncalibrated on 4 images of {spec}\n\n" in done.out
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert set(report) == {*REPORT, "calibration"} and report["calibration"]["images"] == 4
    recipe = (tmp_path / "out/recipe.toml").read_text(encoding="utf-8")
    assert (
        f'calibration = "4 images, sha256:{report["calibration"]["sha256"][:16]}"' in recipe
        and "[step.ranks]" in recipe
    )
    done = run("convert", *mini, "--recipe", tmp_path / "out/recipe.toml", "--calibration", spec, "--dry-run")
    assert done.code == 0 and "these are others (5 images, sha256:" in done.err


@pytest.mark.parametrize(
    ("bound", "most", "shown"),
    [
        ("MOST_VALUES", 100, "; covariances too large, taken as channels × taps: conv2/3x3"),
        (
            "MOST_BYTES",
            1,
            "; not calibrated (too large, or not one row for each image), ranks by the weights: conv1/3x3",
        ),
    ],
)
def test_what_is_too_large_is_shown(run, mini, tmp_path, monkeypatch, bound, most, shown):
    from deepmerge.convert.calibrate import collect

    monkeypatch.setattr(collect, bound, most)
    np.savez(tmp_path / "photos.npz", images=np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8))
    done = run(
        "convert", *mini, "--tucker", "--absorb", "", "--calibration", f"npz:{tmp_path / 'photos.npz'}", "--dry-run"
    )
    assert done.code == 0 and done.err == ""
    assert shown in done.out
