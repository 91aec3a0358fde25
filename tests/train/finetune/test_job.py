"""The whole of finetune: what it writes, that it repeats, and what stops it."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmerge.data import ImageWishes
from deepmerge.errors import EmitError, EngineError, PlanError, ReadError, SourceError, TrainingError
from deepmerge.out.read import Pair, read_converted
from deepmerge.train.finetune.job import finetune
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.train.finetune.conftest import same, story, ticking, weights, with_heads
from tests.train.finetune.small import HEADS, HEIGHT, WIDTH, pictures


def test_shifted_images_teach_something_else_and_the_same_each_time(job, tuned):
    varied = [replace(job, vary=True, out=job.out.with_name(name)) for name in ("a", "b")]
    for one in varied:
        finetune(one)
    assert same(varied[0].out, varied[1].out) and story(varied[0].out)["vary"]
    assert not any(
        np.array_equal(blobs[0], weights(tuned / "weights.caffemodel")[name][0])
        for name, blobs in weights(varied[0].out / "weights.caffemodel").items()
    )


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


# -- that it repeats -------------------------------------------------------------------------------


def test_the_same_command_gives_the_same_bytes(job, tuned):
    finetune(job)
    assert same(job.out, tuned)


def test_another_seed_gives_others(job, tuned):
    finetune(replace(job, seed=7))
    assert not same(job.out, tuned)


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
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    wishes = Wishes(False, "all", False, Options(init="xavier"))
    convert(
        ConvertJob(
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
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    exact = ConvertJob(
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
