"""The whole of finetune: what it writes, that it repeats, that it goes on where it was killed, and what stops it."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmerge.data import ImageWishes
from deepmerge.errors import EmitError, EngineError, PlanError, ReadError, SourceError, TrainingError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.out.read import Pair, read_converted
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.train.finetune.small import AUXILIARY, HEADS, HEIGHT, WIDTH, convert_small, pictures


@pytest.fixture
def job(made, tmp_path, torch) -> Job:
    return Job(made / "out", tmp_path / "out2", f"npz:{made / 'train.npz'}", f"npz:{made / 'test.npz'}", threads=1)


@pytest.fixture(scope="module")
def tuned(made, tmp_path_factory, torch) -> Path:
    """What an undisturbed run of `job` writes."""
    out = tmp_path_factory.mktemp("tuned") / "out2"
    finetune(Job(made / "out", out, f"npz:{made / 'train.npz'}", f"npz:{made / 'test.npz'}", threads=1))
    return out


def files(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}


def same(a: Path, b: Path) -> bool:
    assert files(a) == files(b)
    return all(filecmp.cmp(a / file, b / file, shallow=False) for file in files(a) if file.name != "report.json")


def weights(path: Path) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.blobs for layer in read_caffemodel(path) if layer.blobs}


def step_weights(out: Path, number: int) -> dict[str, list[np.ndarray]]:
    """Those of a step, wherever its files are."""
    graph = read_converted(out).steps[number - 1].pair.read()
    return {layer.name: layer.weights for layer in graph.layers if layer.weights}


def story(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["finetuning"]


# -- what it writes --------------------------------------------------------------------------------


def test_out2_has_outs_form_and_other_weights(made, tuned):
    assert files(tuned) == files(made / "out") | {Path("snapshot_iter_10.caffemodel")}
    before, after = (weights(folder / "weights.caffemodel") for folder in (made / "out", tuned))
    assert before.keys() == after.keys() and not any(np.array_equal(before[name][0], after[name][0]) for name in after)
    report = json.loads((tuned / "report.json").read_text())
    assert {key: value for key, value in report.items() if key != "finetuning"} == json.loads(
        (made / "out" / "report.json").read_text()
    )
    assert not checkpoint_folder(tuned).exists()


def test_the_snapshot_is_the_trained_network(tuned):
    final, snapshot = weights(tuned / "weights.caffemodel"), weights(tuned / "snapshot_iter_10.caffemodel")
    assert all(np.array_equal(a, b) for name in final for a, b in zip(final[name], snapshot[name], strict=True))


def test_the_report_tells_the_story(tuned):
    shown = story(tuned)
    assert (shown["engine"], shown["device"], shown["processes"], shown["iterations"], shown["seed"]) == (
        "torch",
        "cpu",
        1,
        10,
        0,
    )
    (run,) = shown["runs"]
    assert [iteration for iteration, _ in run["losses"]] == [0, 2, 4, 6, 8] and run["step"] is None
    assert run["loss_before"] == run["losses"][0][1] and run["loss_after"] < run["loss_before"]
    assert shown["accuracy"]["images"] == 20 and shown["accuracy"]["top1"] == pytest.approx(
        shown["accuracy"]["accuracy"], abs=1e-6
    )
    assert shown["seconds"] >= run["seconds"] > 0


def test_shifted_images_teach_something_else_and_the_same_each_time(job, tuned):
    varied = [replace(job, vary=True, out=job.out.with_name(name)) for name in ("a", "b")]
    for one in varied:
        finetune(one)
    assert same(varied[0].out, varied[1].out) and story(varied[0].out)["vary"]
    assert not any(
        np.array_equal(blobs[0], weights(tuned / "weights.caffemodel")[name][0])
        for name, blobs in weights(varied[0].out / "weights.caffemodel").items()
    )


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


def with_heads(made: Path, folder: Path, heads: str) -> Path:
    """`out` of the small network with other heads, in a folder of its own."""
    for name in ("train_lmdb", "test_lmdb"):
        shutil.copytree(made / name, folder / name)
    return convert_small(folder, heads, max_iter=3)


def test_auxiliary_heads_learn_from_step_to_step(made, tmp_path, job):
    """They are in no network that is used, so no caffemodel has weights for them: their fillers start them, once."""
    out = with_heads(made, tmp_path, HEADS + AUXILIARY)
    shown = finetune(replace(job, folder=out, steps="all"))["finetuning"]
    assert shown["warnings"] == ["no caffemodel has weights for aux; fillers make them"]
    snapshots = [weights(job.out / "steps" / name / "snapshot_iter_3.caffemodel") for name in ("01-conv1", "02-conv2")]
    assert all(set(one) == {"conv1", "conv2", "fc", "aux"} for one in snapshots)
    moved = np.abs(snapshots[1]["aux"][0] - snapshots[0]["aux"][0]).max()
    assert 0 < moved < 0.1 * np.abs(snapshots[0]["aux"][0]).max()  # it went on from where it was
    assert "aux" not in weights(job.out / "weights.caffemodel")


def test_a_second_run_keeps_the_first_ones_story(tuned, job):
    finetune(replace(job, folder=tuned, solver={"max_iter": "2"}))
    assert story(job.out)["iterations"] == 2 and story(job.out)["previous"]["iterations"] == 10


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_the_original_teaches(made, job, tuned, kind):
    finetune(replace(job, distill=kind))
    assert story(job.out)["distill"]["kind"] == kind
    assert story(job.out)["loss_before"] > story(tuned)["loss_before"]  # there is more to it
    finetune(replace(job, distill=kind, distill_weight=0.0, force=True))
    assert same(job.out, tuned)


def test_snapshots_and_tests_as_the_solver_says(job):
    fields = {
        "snapshot": "4",
        "snapshot_prefix": "models/mine",
        "test_interval": "5",
        "test_iter": "2",
        "test_initialization": "true",
    }
    finetune(replace(job, solver=fields))
    assert sorted(path.name for path in job.out.glob("*_iter_*")) == [f"mine_iter_{n}.caffemodel" for n in (10, 4, 8)]
    tests = [(test["iteration"], test["images"], test["all"]) for test in story(job.out)["runs"][0]["tests"]]
    assert tests == [(0, 12, False), (5, 12, False), (10, 20, True)]


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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"precision": "b16"}, "precision 'b16' is not one of auto, fp32, bf16"),
        ({"precision": "bf16", "engine": "caffe"}, "real Caffe computes in float32; leave out the precision"),
    ],
)
def test_a_precision_that_there_is_not(job, more, said):
    with pytest.raises(EngineError, match=said):
        finetune(replace(job, **more))
    assert not job.out.exists()


# -- that it repeats -------------------------------------------------------------------------------


def test_the_same_command_gives_the_same_bytes(job, tuned):
    finetune(job)
    assert same(job.out, tuned)


def test_another_seed_gives_others(job, tuned):
    finetune(replace(job, seed=7))
    assert not same(job.out, tuned)


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


def ticking() -> Callable[[], float]:
    """Return a clock that is one second on at each look; an iteration looks about three times."""
    return itertools.count(0.0).__next__


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


# -- what stops it ---------------------------------------------------------------------------------


def test_a_loss_that_is_no_number(job):
    """The rate grows beyond all bounds at iteration 5; what was kept before that stays."""
    wanted = r"^iteration \d+: training diverged \(the loss is nan\); .*--solver base_lr=.*; the checkpoint of iteration 4 is kept in .*checkpoint$"
    with pytest.raises(TrainingError, match=wanted):
        finetune(replace(job, solver={"lr_policy": "step", "gamma": "1e30", "stepsize": "5", "snapshot": "4"}))
    assert not job.out.exists() and (checkpoint_folder(job.out) / "state.npz").exists()


def test_weights_that_are_no_numbers_are_not_kept(job, monkeypatch):
    monkeypatch.setattr("deepmerge.train.finetune.loop.RETRIES", 0)
    with pytest.raises(TrainingError, match=r"iteration 1: the weights conv\d/\d are not finite"):
        finetune(replace(job, solver={"base_lr": "1e38", "snapshot": "1"}))
    assert not job.out.exists() and not checkpoint_folder(job.out).exists()


def test_a_full_disk(job, monkeypatch):
    """The second checkpoint does not fit; the first is kept, and there is no OUT2."""
    real, calls = np.savez, []

    def savez(file, **arrays):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(
        TrainingError,
        match=r"out2.checkpoint: cannot be written: the disk is full; free some space; the checkpoint of iteration 2 is kept",
    ):
        finetune(replace(job, solver={"snapshot": "2"}))
    monkeypatch.undo()
    assert not job.out.exists() and [file.name for file in checkpoint_folder(job.out).glob("state*")] == ["state.npz"]
    finetune(replace(job, solver={"snapshot": "2"}))


def test_images_that_vanish(job, made, tmp_path):
    """A folder that goes while training runs."""
    from PIL import Image

    folder = tmp_path / "photos"
    for number, (pixels, label) in enumerate(zip(*pictures(12), strict=True)):
        place = folder / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    shown = []

    def say(line):
        shown.append(line)
        if len(shown) == 2:
            shutil.rmtree(folder)

    job = replace(
        job, data=f"folder:{folder}", solver={"snapshot": "1", "display": "1", "max_iter": "500"}, test_data=None
    )
    with pytest.raises(ReadError, match="the checkpoint of iteration .* is kept in") as caught:
        finetune(replace(job, cache_bytes=0), say)
    assert (
        "photos" in str(caught.value) and not job.out.exists() and (checkpoint_folder(job.out) / "state.npz").exists()
    )


def test_an_existing_out2_wants_force(job):
    job.out.mkdir()
    with pytest.raises(EmitError, match="exists already"):
        finetune(job)


def test_another_jobs_checkpoint_is_refused(job):
    with pytest.raises(Paused):
        finetune(replace(job, stop_after=6 / 60), clock=ticking())
    with pytest.raises(TrainingError, match="is the checkpoint of another run: --seed was null, and is 3 now; delete"):
        finetune(replace(job, seed=3))


def test_what_does_not_fit_is_said_before_anything_is_done(job, made, tmp_path):
    cases = {
        "no such folder": (ReadError, {"folder": tmp_path / "none"}),
        "there is no step 'conv9'": (PlanError, {"steps": "conv9"}),
        "no such file": (ReadError, {"data": "npz:none.npz"}),
        "lr_policy 'stepp' is not a policy of Caffe's; did you mean 'step'": (
            ReadError,
            {"solver": {"lr_policy": "stepp"}},
        ),
        "device 'tpu' is not one of": (EngineError, {"device": "tpu"}),
    }
    for text, (kind, change) in cases.items():
        with pytest.raises(kind, match=text):
            finetune(replace(job, **change))
    np.savez(tmp_path / "odd.npz", images=np.zeros((8, 9, 7, 3), np.uint8), labels=np.arange(8))
    with pytest.raises(SourceError, match="label . is out of range: the network has 5 classes"):
        finetune(replace(job, data=f"npz:{tmp_path / 'odd.npz'}"))
    np.savez(tmp_path / "bare.npz", images=np.zeros((8, 9, 7, 3), np.uint8))
    with pytest.raises(SourceError, match="has no label, and labels are needed"):
        finetune(replace(job, data=f"npz:{tmp_path / 'bare.npz'}"))
    assert not job.out.exists() and not checkpoint_folder(job.out).exists()


@pytest.fixture
def nine_of_ten(tmp_path) -> str:
    """A list of ten images, of which the first one is missing."""
    from PIL import Image

    pixels, labels = pictures(9)
    lines = ["none.png 1"]
    for number, (one, label) in enumerate(zip(pixels, labels, strict=True)):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png {label}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return f"list:{tmp_path / 'list.txt'}"


def test_images_that_cannot_be_read_are_left_out_and_told(job, nine_of_ten):
    job = replace(job, data=nine_of_ten)
    shown = finetune(job)["finetuning"]
    assert shown["warnings"] == ["1 of 10 images could not be read; the first: none.png: no such file"]
    assert shown["runs"][0]["images"] == {"count": 10, "skipped": ["none.png: no such file"]}
    with pytest.raises(ReadError, match="--strict: none.png: no such file"):
        finetune(replace(job, strict=True, force=True))


def test_test_images_that_cannot_be_read_are_left_out_and_told(job, nine_of_ten):
    """A test on all others is one on all images."""
    shown = finetune(replace(job, test_data=nine_of_ten))["finetuning"]
    assert shown["warnings"] == ["1 of 10 test images could not be read; the first: none.png: no such file"]
    assert shown["accuracy"]["images"] == 9 and shown["runs"][0]["tests"][-1]["all"]


def test_labels_that_losses_and_accuracies_ignore(job, made, tmp_path):
    """In one batch top1 is what Accuracy says. What an Accuracy would count is refused."""
    pixels, labels = pictures(20, 4)
    labels[::3] = 255
    np.savez(tmp_path / "some.npz", images=pixels, labels=labels)
    ignoring = HEADS.replace('top: "loss"', 'top: "loss" loss_param { ignore_label: 255 }')
    both = ignoring.replace('top: "accuracy"', 'top: "accuracy" accuracy_param { ignore_label: 255 }')
    assert HEADS != ignoring != both
    job = replace(job, data=f"npz:{tmp_path / 'some.npz'}", batch_size=20)
    taught = replace(job, test_data=job.data, folder=with_heads(made, tmp_path / "both", both))
    shown = finetune(taught)["finetuning"]["accuracy"]
    assert shown["images"] == 20 and shown["top1"] == pytest.approx(shown["accuracy"], abs=1e-6)
    for wrong in (job, replace(taught, folder=with_heads(made, tmp_path / "loss", ignoring))):
        with pytest.raises(SourceError, match="label 255 is out of range: the network has 5 classes"):
            finetune(replace(wrong, out=tmp_path / "wrong"))


def test_a_network_of_random_layers_learns_too(made, tmp_path, job):
    """convert --init xavier: the paper's way."""
    from deepmerge.passes.support.base import Options
    from deepmerge.plan import Wishes
    from tests.conversion import Job as Conversion
    from tests.conversion import convert

    wishes = Wishes(False, "all", False, Options(init="xavier"))
    convert(
        Conversion(
            made / "net.prototxt",
            made / "net.caffemodel",
            tmp_path / "random",
            wishes,
            train_val=made / "train_val.prototxt",
        )
    )
    shown = finetune(replace(job, folder=tmp_path / "random", solver={"max_iter": "40", "base_lr": "0.01"}))[
        "finetuning"
    ]
    assert shown["loss_after"] < 0.9 * shown["loss_before"]


def test_an_exact_conversion_has_no_steps(job, made, tmp_path):
    from deepmerge.passes.support.base import Options
    from deepmerge.plan import Wishes
    from tests.conversion import Job as Conversion
    from tests.conversion import convert

    exact = Conversion(
        made / "net.prototxt",
        made / "net.caffemodel",
        tmp_path / "exact",
        Wishes(True, "all", False, Options()),
        train_val=made / "train_val.prototxt",
    )
    convert(exact)
    with pytest.raises(PlanError, match="exact has no approximate step to fine-tune; leave --steps out"):
        finetune(replace(job, folder=tmp_path / "exact", steps="all"))
    finetune(replace(job, folder=tmp_path / "exact", solver={"max_iter": "2"}))


def test_steps_want_their_folders(job, out):
    shutil.rmtree(out / "steps")
    with pytest.raises(ReadError, match="convert again without --no-steps"):
        finetune(replace(job, folder=out, steps="all"))
    assert read_converted(out).steps == []


def test_out2_is_not_inside_out(job):
    with pytest.raises(EmitError, match="lies in"):
        finetune(replace(job, out=job.folder / "tuned"))
    assert not (job.folder / "tuned").exists()


def test_an_out2_that_holds_what_is_read_is_refused(job, made, out, tmp_path):
    """--force would delete it: the conversion, the images, or the teacher."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for name in ("train.npz", "test.npz", "net.caffemodel"):
        shutil.copy(made / name, runs)
    teacher = Pair(made / "net.prototxt", runs / "net.caffemodel")
    for held, change in (
        ("report.json", {"folder": Path(shutil.move(out, runs))}),
        ("train.npz", {"data": f"npz:{runs / 'train.npz'}"}),
        ("test.npz", {"test_data": f"npz:{runs / 'test.npz'}"}),
        ("net.caffemodel", {"distill": "kl", "original": teacher}),
    ):
        with pytest.raises(EmitError, match=f"runs: holds .*{held}, which --force would delete"):
            finetune(replace(job, out=runs, force=True, **change))
    assert len(list(runs.iterdir())) == 4


@pytest.mark.parametrize(
    "more", [{"distill": "kl"}, {"limit": 8}, {"vary": True}, {"strict": True}, {"device": "cuda"}]
)
def test_what_real_caffe_does_not_do_is_refused(job, more):
    with pytest.raises(EngineError, match=f"real Caffe has no {next(iter(more))}"):
        finetune(replace(job, engine="caffe", **more))


def test_real_caffe_resizes_no_lmdb(job, made):
    job = replace(
        job, engine="caffe", test_data=f"lmdb:{made / 'test_lmdb'}", wishes=ImageWishes(resize=(WIDTH, HEIGHT))
    )
    wanted = "real Caffe does not resize the images of lmdb:.*test_lmdb; leave out the resize, or use the engine torch"
    with pytest.raises(EngineError, match=wanted):
        finetune(job)


def test_a_solver_that_names_weights_is_refused(job):
    with pytest.raises(ReadError, match="`weights` has no effect"):
        finetune(replace(job, solver={"weights": "other.caffemodel"}))


def test_without_iterations_there_is_no_loss(job):
    (entry,) = finetune(replace(job, solver={"max_iter": "0"}))["finetuning"]["runs"]
    assert entry["iterations"] == 0 and entry["loss_before"] is None and entry["loss_after"] is None


def test_a_run_goes_on_with_the_teacher_that_it_began_with(job, made, tmp_path):
    taught = replace(job, distill="kl", original=Pair(made / "net.prototxt", made / "net.caffemodel"))
    with pytest.raises(Paused):
        finetune(replace(taught, stop_after=12 / 60), clock=ticking())
    other = Path(shutil.copy(made / "net.caffemodel", tmp_path / "other.caffemodel"))
    with open(other, "ab") as file:
        file.write(b"\x0a\x00")  # a field that says the same
    with pytest.raises(TrainingError, match="the original was"):
        finetune(replace(taught, original=Pair(made / "net.prototxt", other)))
