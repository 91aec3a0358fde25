"""Recovery and fine-tuning, and the measurements after them, give what the commands give."""

from __future__ import annotations

import json

import pytest

import deepmerge
from tests.api.commands import PAIR, command


def test_recover_and_evaluate(network, images, tmp_path, capsys):
    network.convert(network.plan(steps="conv1"), tmp_path / "out")
    report = deepmerge.recover(tmp_path / "out", f"npz:{images}", tmp_path / "out2", stages=["lsq"])
    assert [stage["name"] for stage in report["recovery"]["stages"]] == ["lsq"]
    found = deepmerge.evaluate(tmp_path / "out2", f"npz:{images}", top=(1,))
    printed = command(capsys, "eval", tmp_path / "out2", "--data", f"npz:{images}", "--top", "1")
    assert json.loads(json.dumps(found["networks"])) == printed["networks"]
    agreed = deepmerge.evaluate(deepmerge.load(*PAIR), f"npz:{images}", against=PAIR)
    assert agreed["networks"][0]["agreement"]["top1"] == 1


def test_finetune_and_tabulate_do_what_the_commands_do(network, images, tmp_path, capsys):
    network.convert(network.plan(steps="conv1"), tmp_path / "out")
    data, folder = f"npz:{images}", tmp_path / "out"
    options = {"solver": {"max_iter": "2", "base_lr": "0.001"}, "threads": 1, "batch_size": 4}
    done = deepmerge.finetune(folder, data, tmp_path / "tuned", **options)
    words = ["--max-iter", "2", "--solver", "base_lr=0.001", "--threads", "1", "--batch-size", "4"]
    printed = command(capsys, "finetune", folder, "--data", data, "-o", tmp_path / "tuned2", *words)
    assert done["finetuning"]["runs"][0]["loss_after"] == printed["runs"][0]["loss_after"] is not None
    weights = [tmp_path / name / "weights.caffemodel" for name in ("out", "tuned", "tuned2")]
    assert weights[0].read_bytes() != weights[1].read_bytes() == weights[2].read_bytes()
    table = deepmerge.tabulate([folder, tmp_path / "tuned"], data=data, top=(1,), seconds=0)
    words = ["--data", data, "--top", "1", "--seconds", "0"]
    assert json.loads(json.dumps(table["rows"])) == command(capsys, "table", folder, tmp_path / "tuned", *words)["rows"]


@pytest.mark.parametrize("call, match", [
    (lambda: deepmerge.recover("out", "npz:a.npz", "new", stages=["distil"]), "no stage 'distil'; did you mean 'distill'"),
    (lambda: deepmerge.finetune("out", "npz:a.npz", "new", solver={"base_rl": "1"}), "no field 'base_rl'"),
])  # fmt: skip
def test_mistakes_in_training_are_errors(call, match):
    with pytest.raises(deepmerge.DeepmergeError, match=match):
        call()
