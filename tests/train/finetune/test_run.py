"""A run: from step to step within the time, in its precision, and on from where it was paused or killed."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmerge.out.read import read_converted
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.train.finetune.conftest import same, story, ticking, weights


def step_weights(out: Path, number: int) -> dict[str, list[np.ndarray]]:
    """Those of a step, wherever its files are."""
    graph = read_converted(out).steps[number - 1].pair.read()
    return {layer.name: layer.weights for layer in graph.layers if layer.weights}


def test_steps_go_on_from_one_another(made, job):
    finetune(replace(job, steps="all"))
    first, second = (job.out / "steps" / name for name in ("01-conv1", "02-conv2"))
    one, two, final = (weights(folder / "weights.caffemodel") for folder in (first, second, job.out))
    old = step_weights(made / "out", 2)
    assert all(np.array_equal(a, b) for name in final for a, b in zip(final[name], two[name], strict=True))
    assert not np.array_equal(one["fc"][0], two["fc"][0]) and not np.array_equal(old["conv1"][0], two["conv1"][0])
    assert list(weights(second / "new_layers.caffemodel")) == ["conv2"]
    assert np.array_equal(weights(second / "new_layers.caffemodel")["conv2"][0], two["conv2"][0])
    assert [run["step"] for run in story(job.out)["runs"]] == ["conv1", "conv2"]
    assert {path.parent.name for path in job.out.rglob("snapshot_iter_10.caffemodel")} == {"01-conv1", "02-conv2"}


def test_one_step_alone_hands_its_weights_on(made, job):
    finetune(replace(job, steps="conv1"))
    one, two = step_weights(job.out, 1), step_weights(job.out, 2)
    final, old = weights(job.out / "weights.caffemodel"), step_weights(made / "out", 2)
    assert not (job.out / "steps/02-conv2/weights.caffemodel").exists(), "conv1's, and its own new layers"
    for after in (two, final):
        assert np.array_equal(after["conv1"][0], one["conv1"][0]) and np.array_equal(after["fc"][0], one["fc"][0])
        assert np.array_equal(after["conv2"][0], old["conv2"][0])
    assert [run["step"] for run in story(job.out)["runs"]] == ["conv1"]


# -- the time --------------------------------------------------------------------------------------


def test_the_time_can_be_up(job):
    finetune(replace(job, minutes=1e-9))
    assert "the time was up at iteration 1 of 10" in story(job.out)["runs"][0]["stopped"]


def test_steps_that_have_no_time_are_passed_on(job):
    finetune(replace(job, steps="all", minutes=1e-9))
    shown = story(job.out)
    assert [run["step"] for run in shown["runs"]] == ["conv1"] and shown["iterations"] == 1
    assert "--minutes left no time for the step conv2" in shown["warnings"]


def test_steps_have_equal_parts_of_the_time(job):
    """A look at the clock is a second."""
    finetune(replace(job, steps="all", minutes=1.5, test_data=None), clock=ticking())
    first, second = (run["iterations"] for run in story(job.out)["runs"])
    assert 3 <= first < 10 and abs(first - second) <= 2


def test_the_learning_rate_falls_within_the_time(job):
    """Ten iterations have no time here: the rate of the last is that of the tenth, not that of the fourth."""
    lines: list[str] = []
    fields = {"lr_policy": "poly", "power": "1", "base_lr": "1", "display": "1"}
    finetune(replace(job, solver=fields, minutes=1.0, test_data=None), lines.append, clock=ticking())
    rates = [float(line.rpartition(" ")[2]) for line in lines if "learning rate" in line]
    assert 3 <= len(rates) < 10 and rates[0] == 1.0 and rates[-1] <= 0.3
    assert rates == sorted(rates, reverse=True)
    finetune(replace(job, solver=fields, minutes=60.0, test_data=None, force=True), lines.append, clock=ticking())
    rates = [float(line.rpartition(" ")[2]) for line in lines if "learning rate" in line][len(rates) :]
    assert rates == pytest.approx([1 - i / 10 for i in range(10)])  # there is time for all: as Caffe does


def test_the_last_test_is_within_the_time(job):
    """Its time is put aside before training: with tests there are fewer iterations."""
    for name, data in (("tested", job.test_data), ("plain", None)):
        finetune(replace(job, out=job.out.with_name(name), test_data=data, minutes=0.4), clock=ticking())
    tested, plain = (story(job.out.with_name(name))["iterations"] for name in ("tested", "plain"))
    assert 1 <= tested < plain < 10


def test_the_last_test_takes_as_many_images_as_there_is_time_for(job):
    finetune(replace(job, minutes=0.1), clock=ticking())
    shown = story(job.out)
    assert shown["accuracy"]["images"] == 6 and not shown["runs"][0]["tests"][-1]["all"]
    assert shown["runs"][0]["tests"][-1]["iteration"] == shown["iterations"]


# -- precision -------------------------------------------------------------------------------------


def precisions(job: Job, name: str) -> list[str]:
    finetune(replace(job, out=job.out.with_name(name)))
    return [run["precision"] for run in story(job.out.with_name(name))["runs"]]


def test_bfloat16_is_taken_where_it_is_fast_and_accurate(job, monkeypatch):
    for fast, most, wanted in ((True, 1.1, "bf16"), (False, 1.1, "fp32"), (True, 0.0, "fp32")):
        monkeypatch.setattr("deepmerge.train.finetune.torch_run.has_fast_bf16", lambda device, fast=fast: fast)
        monkeypatch.setattr("deepmerge.train.finetune.torch_run.BF16_LOSS", most)
        assert precisions(job, f"{fast}{most}") == [wanted]
    assert same(job.out.with_name("False1.1"), job.out.with_name("True0.0"))  # measuring it changes nothing
    assert precisions(replace(job, precision="bf16"), "asked") == ["bf16"]
    assert same(job.out.with_name("True1.1"), job.out.with_name("asked"))
    rounded, exact = (weights(job.out.with_name(name) / "weights.caffemodel") for name in ("asked", "False1.1"))
    for name in exact:
        apart = np.abs(rounded[name][0] - exact[name][0]).max()
        assert 0 < apart < 0.05 * np.abs(exact[name][0]).max(), name


def test_measuring_the_precision_leaves_statistics_alone(job, out, tmp_path, monkeypatch):
    file = out / "train_val.prototxt"
    head = 'layer { name: "bn" type: "BatchNorm" bottom: "fc" top: "bn" batch_norm_param { moving_average_fraction: 0.5 } }'
    loss = 'layer {\n  name: "loss"\n  type: "SoftmaxWithLoss"\n  bottom: "fc"'
    text = file.read_text()
    assert text.count(loss) == 1
    file.write_text(text.replace(loss, f"{head}\n{loss.replace('fc', 'bn')}"))
    for fast in (True, False):
        monkeypatch.setattr("deepmerge.train.finetune.torch_run.has_fast_bf16", lambda device, fast=fast: fast)
        monkeypatch.setattr("deepmerge.train.finetune.torch_run.BF16_LOSS", 0.0)
        finetune(replace(job, folder=out, out=tmp_path / str(fast), test_data=None))
    assert same(tmp_path / "True", tmp_path / "False")


def test_the_precision_stays_as_it_was_when_training_resumes(job, monkeypatch):
    """On another processor, say."""
    fast = iter([True])
    monkeypatch.setattr("deepmerge.train.finetune.torch_run.has_fast_bf16", lambda device: next(fast))
    with pytest.raises(Paused):
        finetune(replace(job, stop_after=12 / 60), clock=ticking())
    finetune(job)
    assert [run["precision"] for run in story(job.out)["runs"]] == ["bf16"]


# -- that it goes on -------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, "all"])
def test_paused_again_and_again_it_ends_with_the_same_bytes(job, tmp_path, steps):
    job = replace(job, steps=steps, solver={"average_loss": "3", "type": "Adam", "base_lr": "0.01"})
    whole = replace(job, out=tmp_path / "whole")
    finetune(whole)
    pauses = 0
    while not job.out.exists():
        try:
            finetune(replace(job, stop_after=12 / 60), clock=ticking())
        except Paused:
            pauses += 1
        assert pauses < 10
    assert pauses > 1 and same(job.out, whole.out)
    assert story(job.out)["runs"][-1]["losses"] == story(whole.out)["runs"][-1]["losses"]


@pytest.mark.parametrize("written", [0, 100])
def test_killed_in_a_snapshot_it_is_written_whole(tmp_path, job, monkeypatch, written):
    """The checkpoint is there, and its snapshot is not, or in part."""
    from deepmerge.train.finetune.torch_run import TorchLearner

    job = replace(job, solver={"max_iter": "40", "snapshot": "20", "display": "0"}, test_data=None)
    whole = replace(job, out=tmp_path / "whole")
    finetune(whole)

    def killed(learner, path):
        if written:
            path.write_bytes(bytes(written))
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(TorchLearner, "save", killed)
        finetune(job)
    finetune(job)
    assert same(job.out, whole.out)


def test_killed_it_goes_on_and_ends_with_the_same_bytes(tmp_path, job):
    """SIGKILL between two snapshots, then the same command."""
    job = replace(job, solver={"max_iter": "100", "snapshot": "20", "display": "0"}, test_data=None)
    whole = replace(job, out=tmp_path / "whole")
    finetune(whole)
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        with contextlib.suppress(BaseException):
            die_at(65, job)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert (checkpoint_folder(job.out) / "snapshots-01" / "snapshot_iter_60.caffemodel").exists()
    assert not job.out.exists()
    finetune(job)
    assert same(job.out, whole.out) and not checkpoint_folder(job.out).exists()


def die_at(iteration: int, job: Job) -> None:
    """Run, and be killed in an iteration."""
    from deepmerge.train.finetune.solver import Updates

    apply = Updates.apply

    def applying(updates, gradients, rate, number):
        if number == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(updates, gradients, rate, number)

    Updates.apply = applying
    finetune(job)
