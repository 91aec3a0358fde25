"""deepmerge finetune: what it prints, and the options that go together."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import with_lost_int8
from tests.train.finetune.small import convert_small, write_images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'deepmerge-caffe[torch]'")
    pytest.importorskip("lmdb")
    folder = tmp_path_factory.mktemp("made")
    write_images(folder)
    convert_small(folder, max_iter=4, display=2)
    return folder


@pytest.fixture
def words(made, tmp_path):
    return ["finetune", made / "out", "--data", f"npz:{made / 'train.npz'}", "-o", tmp_path / "out2", "--threads", "1"]


def test_shown(run, words, made, tmp_path):
    done = run(*words, "--test-data", f"npz:{made / 'test.npz'}")
    assert done.code == 0, done.err
    head, _, row, _, end = done.out.splitlines()
    assert head.split() == ["step", "iterations", "loss", "before", "after", "top-1", "before", "after", "time"]
    assert row.split()[:2] == ["all", "4"] and row.endswith("s") and end.startswith(f"written to {tmp_path / 'out2'} (")
    lines = done.err.splitlines()
    assert lines[0].startswith("iteration 0 of 4: loss ") and lines[2].startswith(
        "iteration 4, test on 20 images: loss "
    )


def test_json_and_quiet(run, words, tmp_path):
    done = run(*words, "--json", "-q", "--steps", "conv2", "--max-iter", "2", "--solver", "type=Adam", "--seed", "5")
    assert (done.code, done.err) == (0, "")
    shown = json.loads(done.out)
    assert shown == {"version": 1} | json.loads((tmp_path / "out2" / "report.json").read_text())["finetuning"]
    assert shown["iterations"] == 2 and shown["seed"] == 5
    assert [(one["step"], one["solver"]["type"]) for one in shown["runs"]] == [("conv2", "Adam")]


def test_an_int8_network_that_is_left_out_is_shown(run, words, made, tmp_path):
    done = run("finetune", with_lost_int8(made / "out", tmp_path / "old"), *words[2:], "--max-iter", "1")
    assert done.code == 0 and "warning: model-int8.onnx is left out" in done.err and "gone.npz" in done.err
    assert "said when it was converted" not in done.err, "only what is new is shown"
    first, second = json.loads((tmp_path / "out2" / "report.json").read_text())["warnings"]
    assert first == "said when it was converted" and second.startswith("model-int8.onnx is left out")


@pytest.mark.parametrize(
    "words_, steps", [(["--steps"], ["conv1", "conv2"]), (["--steps", "conv1-conv2"], ["conv1", "conv2"]), ([], [None])]
)
def test_steps_may_have_a_list(run, words, words_, steps):
    done = run(*words, *words_, "--max-iter", "1", "--json", "-q")
    assert [one["step"] for one in json.loads(done.out)["runs"]] == steps


def test_distill_may_have_a_kind(run, words):
    for given, kind in ((["--distill"], "kl"), (["--distill", "mse"], "mse")):
        done = run(*words, *given, "--max-iter", "1", "--json", "-q", "--force")
        assert json.loads(done.out)["distill"]["kind"] == kind


def test_paused(run, words, tmp_path):
    done = run(*words, "--stop-after", "1e-9")
    assert (done.code, done.out) == (
        0,
        "paused after 1e-09 minutes (--stop-after); run the same command again to resume\n",
    )
    assert (tmp_path / "out2.checkpoint" / "state.npz").exists()
    done = run(*words, "--stop-after", "1e-9", "--json", "-q")
    assert json.loads(done.out) == {"version": 1, "paused": True, "checkpoint": str(tmp_path / "out2.checkpoint")}
    assert run(*words, "-q").code == 0 and not (tmp_path / "out2.checkpoint").exists()


def test_the_time_was_up(run, words):
    done = run(*words, "--minutes", "1e-9", "-q")
    assert (
        done.code == 0
        and run(*words, "--minutes", "1e-9", "--force").out.splitlines()[-3]
        == "training: the time was up at iteration 1 of 4"
    )


USAGE = {
    "--steps ,": "Invalid value for '--steps': give one word or more",
    "--solver lr=1": "Caffe's solver has no field 'lr'",
    "--solver base_lr=high": "needs a number",
    "--max-iter 3 --solver max_iter=4": "--max-iter and --solver max_iter exclude each other",
    "--distill-weight 2": "--distill-weight has no effect without --distill",
    "--temperature 2": "--temperature has no effect without --distill",
    "--distill warm": "'warm' is not one of",
    "--engine caffe --distill": "--distill is for --engine torch",
    "--engine caffe --images 5": "--images is for --engine torch",
    "--engine caffe --vary": "--vary is for --engine torch",
    "--engine caffe --device cuda": "--device is for --engine torch",
    "--engine caffe --channel-order rgb": "--channel-order rgb is for --engine torch",
    "--minutes 0": "not in the range",
}


@pytest.mark.parametrize("more", USAGE)
def test_usage(run, more):
    done = run("finetune", "out", "--data", "npz:a.npz", "-o", "out2", *more.split())
    assert done.code == 2 and USAGE[more] in done.err


def test_one_line(run, words):
    assert run(*words, "--solver", "lr_policy=none").line.endswith(
        "is not a policy of Caffe's; give one of fixed, step, exp, inv, multistep, poly, sigmoid"
    )
    assert run(*words, "--device", "cuda:99").line.startswith("deepmerge: device 'cuda:99'")
