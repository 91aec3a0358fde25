"""The whole of recover: what it writes, that it repeats, that it goes on where it was killed, and what it refuses."""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.errors import EmitError, EngineError, PlanError, ReadError, TrainingError
from deepmerge.out.read import read_converted
from deepmerge.plan.plan import Wishes
from deepmerge.train.recover import run
from deepmerge.train.recover.job import recover
from deepmerge.train.recover.lsq import lsq
from deepmerge.train.recover.spec import Job, Settings
from deepmerge.train.recover.trainer import Trainer
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.helpers import conv, layer
from tests.train.recover.conftest import TEXT, lay_out

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

COUNTS = {"front": 10, "tail": 12, "distill": 8}
STAGES = ("lsq", "front", "tail", "distill")
QUICK = {"stages": STAGES, "counts": COUNTS, "threads": 1, "batch_size": 16, "lr": 0.001}


ALWAYS = Settings(saving_factor=0.0)  # a checkpoint after each iteration, with checkpoint_seconds 0


@pytest.fixture
def job(small, images, tmp_path) -> Job:
    return Job(small, images, tmp_path / "out2", **QUICK)


@pytest.fixture(scope="module")
def recovered(small, tmp_path_factory) -> Path:
    """What an undisturbed run wrote."""
    out = tmp_path_factory.mktemp("recovered") / "out2"
    recover(Job(small, f"npz:{small.parent / 'images.npz'}", out, **QUICK))
    return out


def files(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}


REWRITTEN = ("report.json", "solver.prototxt", "train_val.prototxt")  # rates suit what recovery has made


def same_weights(a: Path, b: Path) -> bool:
    assert files(a) == files(b)
    return all(filecmp.cmp(a / file, b / file, shallow=False) for file in files(a) if file.name not in REWRITTEN)


def untimed(folder: Path) -> dict:
    """The report's recovery but for what a clock says."""
    story = json.loads((folder / "report.json").read_text())["recovery"]
    for stage in story["stages"]:
        for part in (stage, *stage.get("segments", [])):
            part.pop("seconds", None)
            part.pop("share", None)
    return story


# -- what it writes ------------------------------------------------------------------------------


def test_out2_has_outs_form(small, recovered):
    assert files(recovered) == files(small)
    before, after = (json.loads((folder / "report.json").read_text()) for folder in (small, recovered))
    assert {key: value for key, value in after.items() if key != "recovery"} == before
    kept = [file for file in files(small) if file.suffix != ".caffemodel" and file.name not in REWRITTEN]
    assert kept and all(filecmp.cmp(small / file, recovered / file, shallow=False) for file in kept)
    assert not checkpoint_folder(recovered).exists()


def test_the_report_tells_the_story(recovered):
    story = json.loads((recovered / "report.json").read_text())["recovery"]
    first, front, second, tail, distill = story["stages"]
    assert stages_of(story) == ["lsq", "front", "lsq", "tail", "distill"]
    assert sum(stage["share"] for stage in story["stages"]) == pytest.approx(1, abs=1e-3)
    assert [stage.get("iterations") for stage in story["stages"]] == [None, 10, None, 12, 8]
    assert (story["images"], story["held_out"], story["seed"]) == (54, 6, 0)
    assert all(min(stage["loss_before"], stage["loss_after"]) > 0 for stage in story["stages"])
    cut = tail["cut"]
    outputs = [[part["name"] for part in stage["outputs"]] for stage in (front, tail, distill)]
    assert cut in ("norm1", "pool1") and outputs == [[cut], ["fc", "norm2"], ["fc", "norm2"]]
    assert [[part["name"] for part in stage["segments"]] for stage in (first, second)] == [["conv1"], ["conv2"]]
    assert "cut" not in front and "cut" not in distill
    for stage, uses in ((front, 4), (tail, 3), (distill, 4)):
        assert stage["views"] == 16 * math.ceil(stage["iterations"] / uses)


def test_agreement_is_measured_once_all_segments_are_solved(recovered):
    story = json.loads((recovered / "report.json").read_text())["recovery"]
    first, front, *others = story["stages"]
    assert "agreement_after" not in first and "agreement_after" not in front
    for before, after in itertools.pairwise(
        [story["agreement_before"], *(stage["agreement_after"] for stage in others)]
    ):
        assert 0 <= before <= 1 and 0 <= after <= 1
    assert [stage["agreement_before"] for stage in others[1:]] == [stage["agreement_after"] for stage in others[:-1]]


def test_front_is_judged_by_its_loss_while_segments_are_to_be_solved(job):
    recover(replace(job, stages=("lsq", "front"), counts={"front": 4}, lr=1000.0))
    first, front, second = json.loads((job.out / "report.json").read_text())["recovery"]["stages"]
    assert front["undone"] and front["loss_after"] > front["loss_before"] and "undone" not in second
    recover(replace(job, stages=("lsq",), out=job.out.with_name("lsq")))
    assert same_weights(job.out, job.out.with_name("lsq"))


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_alone_lowers_its_loss(job, name):
    counts = {name: 100} if name != "lsq" else {}
    (stage,) = recover(replace(job, stages=(name,), counts=counts, lr=0.03))["recovery"]["stages"]
    assert stage["loss_after"] < 0.5 * stage["loss_before"]
    assert all(part["loss_after"] < part["loss_before"] for part in stage.get("segments", stage.get("outputs")))


def stages_of(story: dict) -> list[str]:
    return [stage["name"] for stage in story["stages"]]


def test_stages_are_chosen_and_lsq_runs_once(job):
    """The network is small, so all its layers learn."""
    story, folder = None, job.folder
    for number, stages in enumerate((["lsq", "distill"], ["distill"], ["distill"])):
        out = job.out.with_name(f"run{number}")
        again = recover(replace(job, folder=folder, out=out, stages=None, counts={"distill": 4}))["recovery"]
        assert stages_of(again) == stages and again.get("previous") == story
        story, folder = again, out


def test_lsq_runs_for_steps_that_it_has_not_solved(job):
    recover(replace(job, stages=("lsq",), steps="conv1"))
    more = replace(job, folder=job.out, out=job.out.with_name("more"), stages=None, counts={"distill": 4})
    assert stages_of(recover(replace(more, steps="conv1", out=job.out.with_name("one")))["recovery"]) == ["distill"]
    assert stages_of(recover(more)["recovery"]) == ["lsq", "distill"]


def test_refit_solves_what_lies_after_the_segments(job):
    """Here fc; the steps' folders have the segments' weights alone."""
    recover(replace(job, stages=("lsq",), out=job.out.with_name("lsq")))
    story = recover(replace(job, stages=("lsq", "refit")))["recovery"]
    refit = story["stages"][1]
    assert [part["name"] for part in refit["segments"]] == ["fc"] and refit["images"] == 54
    assert refit["loss_after"] < refit["loss_before"] and "undone" not in refit
    assert not same_weights(job.out, job.out.with_name("lsq"))
    shutil.copy(job.out / "weights.caffemodel", job.out.with_name("lsq"))
    assert same_weights(job.out, job.out.with_name("lsq"))


def test_harm_after_refit_goes_back_to_refit(job):
    """Killed or not: the weights rolled back to are not those of the steps' folders."""
    recover(replace(job, stages=("lsq", "refit"), out=job.out.with_name("refit")))
    harmful = replace(job, stages=("lsq", "refit", "distill"), lr=1.0)
    killed_in("distill", harmful)
    assert recover(harmful)["recovery"]["stages"][2]["undone"]
    assert same_weights(job.out, job.out.with_name("refit"))


def test_a_stage_that_does_harm_is_undone(job):
    report = recover(replace(job, stages=("lsq",), out=job.out.with_name("lsq")))
    assert "undone" not in report["recovery"]["stages"][0]
    story = recover(replace(job, stages=("lsq", "distill"), lr=1.0))["recovery"]
    assert (
        story["stages"][1]["undone"] and story["stages"][1]["agreement_after"] < story["stages"][1]["agreement_before"]
    )
    assert story["agreement_after"] == story["stages"][0]["agreement_after"]
    assert same_weights(job.out, job.out.with_name("lsq"))


def test_without_classes_a_stage_that_raises_its_loss_is_undone(tmp_path):
    text = TEXT.replace("num_output: 5", "num_output: 1").replace("Softmax", "Sigmoid")
    folder, images = lay_out(tmp_path / "one", text), f"npz:{tmp_path / 'one/images.npz'}"
    job = Job(folder, images, tmp_path / "out2", **QUICK | {"stages": ("distill",), "lr": 1.0})
    stage = recover(job)["recovery"]["stages"][0]
    assert stage["loss_after"] > stage["loss_before"] and stage["undone"] and "agreement_after" not in stage
    assert same_weights(folder, job.out)


def test_a_network_that_ends_in_argmax_is_trained_by_what_comes_before_it(tmp_path):
    folder = lay_out(tmp_path / "best", TEXT + layer("best", "ArgMax", "prob", "top_k: 1"))
    job = Job(folder, f"npz:{tmp_path / 'best/images.npz'}", tmp_path / "out2", **QUICK)
    stages = recover(replace(job, stages=("front", "distill")))["recovery"]["stages"]
    assert [part["name"] for part in stages[1]["outputs"]] == ["fc", "norm2"]
    fc = [read_converted(one).final.read().layer("fc").weights[0] for one in (folder, job.out)]
    assert not np.array_equal(*fc)


def test_a_last_map_that_no_layer_after_the_cut_learns_is_not_compared(tmp_path):
    text = TEXT[: TEXT.index(conv("conv2", "pool1", 6, "kernel_size: 3 pad: 1"))]
    text += layer("fc1", "InnerProduct", "pool1", "num_output: 40")
    text += layer("fc", "InnerProduct", "fc1", "num_output: 5") + layer("prob", "Softmax", "fc")
    folder = lay_out(tmp_path / "flat", text)
    job = Job(folder, f"npz:{tmp_path / 'flat/images.npz'}", tmp_path / "out2", **QUICK | {"stages": ("tail",)})
    stage = recover(job)["recovery"]["stages"][0]
    assert (stage["cut"], [part["name"] for part in stage["outputs"]]) == ("norm1", ["fc"])


def test_agreement_is_measured_although_there_was_no_time_for_the_second_lsq(job, monkeypatch):
    solve, turns = run.Run._solve, []

    def once(self, turn):
        turns.append(turn)
        return solve(self, turn) if len(turns) == 1 else None

    monkeypatch.setattr(run.Run, "_solve", once)
    story = recover(replace(job, stages=("lsq", "front")))["recovery"]
    assert len(turns) == 2 and stages_of(story) == ["lsq", "front"]
    assert story["stages"][1]["agreement_after"] == story["agreement_after"]
    assert story["warnings"] == ["--minutes left no time for the stage lsq"]


def test_where_lsq_does_harm_its_second_turn_is_left_out(job, monkeypatch):
    """Killed or not. The stages after it begin with the weights before it."""
    monkeypatch.setattr("deepmerge.train.recover.run.WORKING", 0.0)
    monkeypatch.setattr("deepmerge.train.recover.run.did_harm", lambda entry, before, images: entry["name"] == "lsq")
    harmful = replace(job, stages=("lsq", "front", "tail"), counts={"front": 8, "tail": 8})
    killed_in("front", harmful)
    stages = recover(harmful)["recovery"]["stages"]
    assert [stage["name"] for stage in stages] == ["lsq", "front", "tail"] and stages[0]["undone"]
    trained = replace(job, stages=("front", "tail"), counts=harmful.counts, out=job.out.with_name("trained"))
    assert stages[1]["loss_before"] == recover(trained)["recovery"]["stages"][0]["loss_before"]
    again = recover(replace(job, folder=job.out, out=job.out.with_name("again"), stages=None, counts={"distill": 4}))
    assert "lsq" not in stages_of(again["recovery"])


def test_harm_is_undone_in_a_run_that_was_killed_too(job):
    recover(replace(job, stages=("lsq",), out=job.out.with_name("lsq")))
    harmful = replace(job, stages=("lsq", "distill"), lr=1.0)
    killed_in("distill", harmful)
    assert recover(harmful)["recovery"]["stages"][1]["undone"]
    assert same_weights(job.out, job.out.with_name("lsq"))


def test_the_last_step_has_the_weights_of_before_the_distillation(small, recovered):
    final, steps = (
        read_converted(recovered).final.read(),
        [step.pair.read() for step in read_converted(recovered).steps],
    )
    old = [step.pair.read() for step in read_converted(small).steps]
    assert np.array_equal(steps[1].layer("fc").weights[0], old[1].layer("fc").weights[0])
    assert not np.array_equal(steps[1].layer("conv2").weights[0], final.layer("conv2").weights[0])
    assert not np.array_equal(steps[1].layer("conv2").weights[0], old[1].layer("conv2").weights[0])
    # The first step has its own alone, and the later steps have the same.
    assert np.array_equal(steps[0].layer("conv2").weights[0], old[0].layer("conv2").weights[0])
    assert np.array_equal(steps[0].layer("conv1").weights[0], steps[1].layer("conv1").weights[0])


def test_a_steps_network_has_what_lsq_found_not_what_front_made_of_it(job, recovered):
    recover(replace(job, stages=("lsq",)))
    ends = [read_converted(folder) for folder in (job.out, recovered)]
    first, second = [end.steps[0].pair.read().layer("conv1").weights for end in ends]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(ends[1].final.read().layer("conv1").weights[0], first[0])


def test_a_steps_network_has_nothing_of_front_where_the_first_lsq_had_no_time(small, job, monkeypatch):
    solve, turns = run.Run._solve, []

    def second(self, turn):
        turns.append(turn)
        return None if len(turns) == 1 else solve(self, turn)

    monkeypatch.setattr(run.Run, "_solve", second)
    recover(replace(job, stages=("lsq", "front")))
    ends = [read_converted(folder) for folder in (small, job.out)]
    for name, same in (("conv1", True), ("conv2", False)):
        before, after = [end.steps[1].pair.read().layer(name).weights[0] for end in ends]
        assert np.array_equal(before, after) is same
    assert not np.array_equal(*[end.final.read().layer("conv1").weights[0] for end in ends])


def test_new_layers_go_with_the_steps(recovered):
    from deepmerge.formats.read.caffemodel import read_caffemodel

    for step in read_converted(recovered).steps:
        graph = step.pair.read()
        stored = read_caffemodel(step.new_layers)
        assert [layer.name for layer in stored] == [step.name]
        assert all(
            np.array_equal(b, w)
            for layer in stored
            for b, w in zip(layer.blobs, graph.layer(layer.name).weights, strict=True)
        )


def test_a_second_recovery_keeps_the_first_ones_story(recovered, job):
    report = recover(replace(job, folder=recovered, stages=("lsq",)))
    assert [stage["name"] for stage in report["recovery"]["stages"]] == ["lsq"]
    assert len(report["recovery"]["previous"]["stages"]) == len(STAGES) + 1


# -- that it repeats -----------------------------------------------------------------------------


def test_the_same_command_gives_the_same_bytes(job, recovered):
    recover(job)
    assert same_weights(job.out, recovered) and untimed(job.out) == untimed(recovered)


def test_another_seed_gives_others(job, recovered):
    recover(replace(job, seed=1))
    assert not same_weights(job.out, recovered)


def test_killed_and_started_again_it_ends_with_the_same_bytes(job, recovered):
    """SIGKILL in the middle of each stage that trains."""
    for at in COUNTS:
        child = os.fork()
        if child == 0:
            signal.alarm(300)
            with contextlib.suppress(BaseException):
                die_in(at, job)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert checkpoint_folder(job.out).exists() and not job.out.exists()
    recover(job)
    assert same_weights(job.out, recovered) and untimed(job.out) == untimed(recovered)


def die_in(stage: str, job: Job) -> None:
    """Run, and be killed in a stage after iteration 4; the checkpoint is of iteration 3."""
    now, step = [0.0], Trainer.step

    def stepping(trainer, images):
        if trainer.plan.name == stage and trainer.iteration == 2:
            now[0] += job.checkpoint_seconds
        if trainer.plan.name == stage and trainer.iteration == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, images)

    Trainer.step = stepping
    recover(job, settings=Settings(clock=lambda: now[0]))


def killed_in(stage, job):
    """Run the job in a process that dies in this stage, and leaves its checkpoint."""
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        with contextlib.suppress(BaseException):
            die_in(stage, job)
        os._exit(0)
    os.waitpid(child, 0)
    assert checkpoint_folder(job.out).exists()


def test_in_pieces(job, recovered):
    """A run without time pauses where it can: after each iteration but a stage's last, and after all stages but one."""
    pieces = 0
    while not job.out.exists():
        try:
            recover(replace(job, stop_after=1e-9))
        except Paused:
            pieces += 1
        assert pieces < 100
    inside_stages, between_stages = sum(count - 1 for count in COUNTS.values()), len(job.stages)  # lsq has two turns
    assert pieces == inside_stages + between_stages
    assert same_weights(job.out, recovered)


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(job, monkeypatch, recovered):
    step = Trainer.step

    def spoilt(trainer, images):
        made = step(trainer, images)
        if trainer.plan.name == "distill" and trainer.iteration == 4:
            made = made * float("nan")
        return made

    monkeypatch.setattr(Trainer, "step", spoilt)
    with pytest.raises(
        TrainingError,
        match=r"stage distill, iteration 5 of 8: training diverged \(the loss is nan\); resume with a smaller --lr",
    ):
        recover(replace(job, checkpoint_seconds=0.0), settings=ALWAYS)
    monkeypatch.undo()
    assert not job.out.exists() and checkpoint_folder(job.out).exists()
    recover(job)
    assert same_weights(job.out, recovered)


def test_a_smaller_lr_goes_on_from_the_checkpoint(job):
    with pytest.raises(Paused):
        recover(replace(job, stop_after=1e-9))
    recover(replace(job, lr=0.0005))
    assert job.out.exists()


def test_a_full_disk_keeps_the_last_checkpoint(job, monkeypatch, recovered):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 16:
            raise OSError(28, "No space left on device")
        return real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        TrainingError,
        match="the disk is full; free some space; the checkpoint of .*stage .* is kept in .*out2.checkpoint",
    ):
        recover(replace(job, checkpoint_seconds=0.0), settings=ALWAYS)
    monkeypatch.undo()
    recover(job)
    assert same_weights(job.out, recovered)


def test_images_that_vanish(small, tmp_path, monkeypatch):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(np.load(small.parent / "images.npz")["images"]):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    step = Trainer.step

    def vanishing(trainer, images):
        if trainer.iteration == 1 and folder.exists():
            shutil.rmtree(folder)
        return step(trainer, images)

    monkeypatch.setattr(Trainer, "step", vanishing)
    with pytest.raises(ReadError, match="photos.*no longer there"):
        recover(
            Job(
                small,
                f"folder:{folder}",
                tmp_path / "out2",
                stages=("distill",),
                counts={"distill": 30},
                threads=1,
                batch_size=16,
                cache_bytes=0,
            )
        )
    assert not (tmp_path / "out2").exists()


def test_anothers_checkpoint_is_refused(job):
    with pytest.raises(Paused):
        recover(replace(job, stop_after=1e-9))
    with pytest.raises(
        TrainingError, match="another run: --seed was 0, and is 3 now; delete .*out2.checkpoint to start again"
    ):
        recover(replace(job, seed=3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda(job):
    with pytest.raises(EngineError, match="finds no CUDA device"):
        recover(replace(job, device="cuda"))


def test_out2_that_exists(job):
    job.out.mkdir()
    with pytest.raises(EmitError, match="exists already"):
        recover(job)


def test_several_inputs(tmp_path):
    text = TEXT.replace('top: "data"', 'top: "data" top: "more"', 1).replace(
        "dim: 15 }", "dim: 15 } shape { dim: 1 dim: 1 }", 1
    )
    out = lay_out(tmp_path / "two", text)
    with pytest.raises(ReadError, match=r"network 'net' has 2 \(data, more\)"):
        recover(Job(out, f"npz:{out.parent / 'images.npz'}", tmp_path / "out2"))


# -- some of it ----------------------------------------------------------------------------------


def test_some_steps(small, job):
    report = recover(replace(job, steps="conv2", stages=("lsq",)))
    assert [part["name"] for part in report["recovery"]["stages"][0]["segments"]] == ["conv2"]
    before, after = (read_converted(folder).final.read() for folder in (small, job.out))
    changed = [
        a.name
        for a, b in zip(before.layers, after.layers, strict=True)
        if a.weights and not np.array_equal(a.weights[0], b.weights[0])
    ]
    assert changed == ["conv2"]


def test_a_step_that_is_none(job):
    with pytest.raises(PlanError, match="no step 'conv3'; did you mean"):
        recover(replace(job, steps="conv3"))
    with pytest.raises(PlanError, match="--steps ',' names no step; leave it out to recover all of them"):
        recover(replace(job, steps=","))


def test_nothing_to_recover(tmp_path):
    out = lay_out(tmp_path / "exact", exact=True)
    report = recover(Job(out, "npz:none.npz", tmp_path / "out2"))
    assert report["recovery"]["note"] == "nothing to recover: every step is exact"
    assert files(out) == files(tmp_path / "out2")
    assert filecmp.cmp(out / "weights.caffemodel", tmp_path / "out2" / "weights.caffemodel", shallow=False)


def test_least_squares_needs_no_torch(small, images, tmp_path):
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
sys.modules["torch"] = None
from pathlib import Path
from deepmerge.train.recover.job import recover
from deepmerge.train.recover.spec import Job
report = recover(Job(Path({str(small)!r}), {images!r}, Path({str(tmp_path / "out2")!r}), stages=("lsq",)))
assert report["recovery"]["stages"][0]["loss_after"] < report["recovery"]["stages"][0]["loss_before"]
try:
    recover(Job(Path({str(small)!r}), {images!r}, Path({str(tmp_path / "out3")!r})))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EngineError") and "pip install 'deepmerge-caffe[torch]'" in done.stdout


def ticking(seconds: float = 0.01) -> Settings:
    """Settings with a clock that is some time on at each look."""
    return Settings(clock=itertools.count(0.0, seconds).__next__, measured_seconds=0.0)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that only iterations move: 0.1 seconds each; `changed` times as much after the first 50."""
    from deepmerge.train.recover import trainer

    found = SimpleNamespace(now=0.0, done=0, changed=1)
    backward = trainer.backward

    def timed(*arguments):
        found.done += 1
        found.now += 0.1 * (found.changed if found.done > 50 else 1)
        return backward(*arguments)

    monkeypatch.setattr(trainer, "backward", timed)
    found.settings = Settings(clock=lambda: found.now, measured_seconds=0.0)
    return found


@pytest.mark.parametrize("changed", [0.4, 1, 5])
def test_minutes_are_used_however_fast_iterations_become(job, clock, changed):
    clock.changed = changed
    report = recover(replace(job, minutes=1.0, counts={}), settings=clock.settings)
    counts = [stage["iterations"] for stage in report["recovery"]["stages"] if "iterations" in stage]
    assert min(counts) >= 10 and report["recovery"]["warnings"] == []
    assert 59 < clock.now <= 61


def test_only_the_second_turn_of_lsq_may_take_all_the_time(job, clock, monkeypatch):
    """What front has left to it would else keep the weights of convert."""
    seen = []

    def spied(*arguments):
        seen.append(arguments[4].over(30.0))
        return lsq(*arguments)

    monkeypatch.setattr(run, "lsq", spied)
    recover(replace(job, stages=("lsq", "front", "tail"), minutes=1.0), settings=clock.settings)
    assert seen == [True, False]


def test_a_stage_that_was_paused_keeps_to_its_share_of_the_minutes(job, clock):
    half = replace(job, stages=("tail", "distill"), minutes=1.0, counts={})
    for _ in range(4):
        with pytest.raises(Paused):
            recover(replace(half, stop_after=0.1), settings=clock.settings)
    story = recover(half, settings=clock.settings)["recovery"]
    first, second = (stage["seconds"] for stage in story["stages"])
    assert abs(first - second) < 4 and 58 < clock.now <= 63 and story["warnings"] == []


def test_a_stage_with_fixed_iterations_ends_in_time(job, clock):
    few = replace(job, stages=("distill",), minutes=1.0, counts={"distill": 10_000})
    story = recover(few, settings=clock.settings)["recovery"]
    assert 59 < clock.now <= 61 and 100 < story["stages"][0]["iterations"] < 10_000
    (warning,) = story["warnings"]
    assert re.fullmatch(r"the time for distill \(--minutes\) was up at iteration \d+ of \d+", warning)


def test_stages_without_time_are_skipped(job, clock):
    few = replace(job, stages=("lsq", "tail", "distill"), minutes=0.06, counts={})
    story = recover(few, settings=clock.settings)["recovery"]
    assert [stage["name"] for stage in story["stages"]] == ["lsq", "distill"] and clock.now < 60 * 0.06 + 0.1
    assert story["warnings"] == ["--minutes left no time for the stage tail"]


def test_a_stage_has_the_time_of_a_later_one_that_is_skipped(job, clock, monkeypatch):
    """Tail has about 12 seconds."""
    monkeypatch.setattr(run, "divided", lambda seconds, fits: {"tail": 80} if "tail" in fits else {})
    few = replace(job, stages=("tail", "distill"), minutes=0.2, counts={})
    story = recover(few, settings=clock.settings)["recovery"]
    assert [stage["name"] for stage in story["stages"]] == ["tail"] and 100 < story["stages"][0]["iterations"] <= 120
    assert story["warnings"] == ["--minutes left no time for the stage distill"]


def test_stages_without_a_cut_get_no_iterations(job, monkeypatch):
    """Those of distill are not halved because of a tail that cannot be."""
    asked = []
    monkeypatch.setattr("deepmerge.train.recover.job.find_cut", lambda merged, anchors: None)
    monkeypatch.setattr(run, "default_iterations", lambda stages, *rest: asked.append(stages) or {})
    recover(replace(job, stages=("tail", "distill"), counts={"distill": 4}))
    assert asked == [["distill"]]


def test_without_any_time_nothing_is_trained(job, clock):
    story = recover(replace(job, stages=("tail", "distill"), minutes=0.01, counts={}), settings=clock.settings)
    assert story["recovery"]["stages"] == [] and len(story["recovery"]["warnings"]) == 2
    assert same_weights(job.folder, job.out)


@pytest.mark.parametrize(("rounding", "precision"), [(1e9, "bf16"), (0.0, "fp32")])
@pytest.mark.parametrize("minutes", [None, 0.02])
def test_distill_rounds_where_that_costs_little(job, monkeypatch, rounding, precision, minutes):
    from deepmerge.train.recover import stage

    monkeypatch.setattr(stage, "has_fast_bf16", lambda device: True)
    settings = replace(ticking(), bf16_loss=rounding)
    report = recover(replace(job, stages=("distill",), minutes=minutes), settings=settings)
    assert report["recovery"]["stages"][0]["precision"] == precision


def test_few_images(job, tmp_path, small):
    report = recover(replace(job, limit=5, stages=("distill",), counts={"distill": 3}))
    assert (report["recovery"]["images"], report["recovery"]["held_out"]) == (5, 0)


def test_int8_is_made_again_of_the_new_weights(tmp_path, images):
    from deepmerge.convert.calibrate import CalibrationImages
    from deepmerge.formats import INT8, INT8_FILE
    from deepmerge.out.write import Settings
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    home = lay_out(tmp_path / "home").parent
    pair, settings = (home / "net.prototxt", home / "net.caffemodel"), Settings(("caffe", INT8), steps=False)
    calibration = CalibrationImages(images, pair[0], count=8)
    before = convert(ConvertJob(*pair, home / "plain", Wishes(), settings=settings, calibration=calibration))
    recover(Job(home / "plain", images, tmp_path / "out2", stages=("lsq",), threads=1))
    after = read_converted(tmp_path / "out2").report
    old, new = before["onnx"]["int8"], after["onnx"]["int8"]
    assert new["outputs"] != old["outputs"] and {**new, "outputs": None} == {**old, "outputs": None}
    again = convert(
        ConvertJob(
            *read_converted(tmp_path / "out2").final,
            tmp_path / "again",
            Wishes(exact=True),
            settings=settings,
            calibration=CalibrationImages(images, pair[0], count=8),
        )
    )
    assert (tmp_path / "again" / INT8_FILE).read_bytes() == (tmp_path / "out2" / INT8_FILE).read_bytes()
    assert again["onnx"]["int8"] == new


def test_int8_is_left_out_with_a_warning_where_the_images_have_gone(tmp_path, images):
    from deepmerge.convert.calibrate import CalibrationImages
    from deepmerge.formats import INT8, INT8_FILE
    from deepmerge.out.write import Settings
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    home, gone = lay_out(tmp_path / "home").parent, tmp_path / "gone.npz"
    gone.write_bytes(Path(images.removeprefix("npz:")).read_bytes())
    pair, settings = (home / "net.prototxt", home / "net.caffemodel"), Settings(("caffe", INT8), steps=False)
    calibration = CalibrationImages(f"npz:{gone}", pair[0], count=8)
    convert(ConvertJob(*pair, home / "plain", Wishes(), settings=settings, calibration=calibration))
    gone.unlink()
    report = recover(Job(home / "plain", images, tmp_path / "out2", stages=("lsq",), threads=1))
    assert not (tmp_path / "out2" / INT8_FILE).exists() and "int8" not in report["onnx"]
    assert any("model-int8.onnx is left out" in line and "gone.npz" in line for line in report["warnings"])
    assert read_converted(tmp_path / "out2").report == report


def test_no_step_folders(tmp_path, images):
    from deepmerge.out.write import Settings
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    home = lay_out(tmp_path / "home").parent
    settings = Settings(("caffe", "onnx"), steps=False)
    convert(ConvertJob(home / "net.prototxt", home / "net.caffemodel", home / "plain", Wishes(), settings=settings))
    recover(Job(home / "plain", images, tmp_path / "out2", stages=("lsq",), threads=1))
    from deepmerge.engines import engine

    graph = read_converted(tmp_path / "out2").final.read()
    data = np.random.default_rng(0).uniform(-100, 100, (1, 3, 17, 15)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "out2" / "model.onnx"))
    with engine("ort").load(graph) as own:
        assert np.allclose(session.run(None, {"data": data})[0], own.forward({"data": data})["prob"], atol=1e-5)


def test_out2_is_not_inside_out(job):
    with pytest.raises(EmitError, match="lies in"):
        recover(replace(job, out=job.folder / "recovered"))


@pytest.mark.parametrize("what", ["out/report.json", "net.caffemodel", "images.npz"])
def test_an_out2_that_holds_what_is_read_is_refused(job, small, tmp_path, what):
    """--force would delete it: the conversion, its original, or the images."""
    runs = tmp_path / "runs"
    shutil.copytree(small, runs / "out")
    for name in ("net.caffemodel", "images.npz"):
        shutil.copy(small.parent / name, runs)
    original = small.parent / "net.prototxt", small.parent / "net.caffemodel"
    given = {
        "out/report.json": {"folder": runs / "out"},
        "net.caffemodel": {"original": (original[0], runs / "net.caffemodel")},
        "images.npz": {"data": f"npz:{runs / 'images.npz'}"},
    }
    with pytest.raises(EmitError, match=f"runs: holds .*{what}, which --force would delete"):
        recover(replace(job, **{"original": original, **given[what]}, out=runs, force=True))
    assert (runs / what).exists()
