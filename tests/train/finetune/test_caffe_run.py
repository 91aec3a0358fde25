"""--engine caffe: real Caffe on the very same files gives the losses and weights that PyTorch gives."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.data import ImageWishes
from deepmerge.errors import EngineError, TrainingError
from deepmerge.formats import schema
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.write.data_layers import Source
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.out.read import read_converted
from deepmerge.train.finetune.caffe_data import CaffeData
from deepmerge.train.finetune.caffe_run import CaffeLearner, Pieces, Setup, open_learner
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job, plan_stages
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.helpers import inputs
from tests.real_images import write_lmdb
from tests.train.finetune.conftest import photos
from tests.train.finetune.small import AUXILIARY, HEADS, HEIGHT, NET, WIDTH, convert_small, pictures


def story(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["finetuning"]


@pytest.fixture
def job(made, tmp_path, torch, caffe_python) -> Job:
    """Unshuffled, so that both take the same images; tests over the whole of theirs."""
    solver = {"display": "1", "test_interval": "5", "test_iter": "2", "test_initialization": "true"}
    return Job(made / "out", tmp_path / "caffe", "", threads=1, engine="caffe", shuffle=False, solver=solver)


@pytest.fixture(scope="module")
def sources(made, tmp_path_factory) -> dict[str, tuple[str, str]]:
    """The same images in each form: for training, for testing."""
    h5py, image = pytest.importorskip("h5py"), pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("forms")
    found = {"lmdb": tuple(f"lmdb:{made / name}_lmdb" for name in ("train", "test"))}
    found["npz"] = tuple(f"npz:{made / name}.npz" for name in ("train", "test"))
    for name, seed in (("train", 3), ("test", 4)):
        pixels, labels = pictures(20, seed)
        lines = []
        for number, (one, label) in enumerate(zip(pixels, labels, strict=True)):
            image.fromarray(one).save(folder / f"{name}{number}.png")
            lines.append(f"{name}{number}.png {label}\n")
        (folder / f"{name}.txt").write_text("".join(lines))
        with h5py.File(folder / f"{name}.h5", "w") as file:
            planes = (
                np.moveaxis(pixels[..., ::-1], 3, 1).astype(np.float32) - np.float32([100, 120, 110])[:, None, None]
            )
            file["data"], file["label"] = planes * np.float32(0.02), labels.astype(np.float32)
    found["list"] = tuple(f"list:{folder / name}.txt" for name in ("train", "test"))
    found["hdf5"] = tuple(f"hdf5:{folder / name}.h5" for name in ("train", "test"))
    return found


@pytest.mark.parametrize("form", ["lmdb", "npz", "list", "hdf5"])
def test_both_engines_tell_the_same(job, sources, tmp_path, form):
    job = replace(job, data=sources[form][0], test_data=sources[form][1])
    finetune(job)
    finetune(replace(job, engine="torch", out=tmp_path / "torch", precision="fp32"))
    real, ours = story(tmp_path / "caffe"), story(tmp_path / "torch")
    assert (real["engine"], ours["engine"]) == ("caffe", "torch")
    assert np.allclose(real["runs"][0]["losses"], ours["runs"][0]["losses"], rtol=1e-5, atol=0)
    first = [next(t for t in one["runs"][0]["tests"] if t["iteration"] == 0) for one in (real, ours)]
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-5) and first[0]["accuracy"] == pytest.approx(
        first[1]["accuracy"]
    )
    models = [
        {m.name: m.blobs for m in read_caffemodel(tmp_path / name / "weights.caffemodel")}
        for name in ("caffe", "torch")
    ]
    assert models[0].keys() == models[1].keys()
    for name, blobs in models[0].items():
        assert all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(blobs, models[1][name], strict=True)), name


SIDE = 7  # of the crop


@pytest.fixture
def square(tmp_path, made) -> Path:
    """`out`, of a network whose input is as high as wide."""
    folder = tmp_path / "square"
    folder.mkdir()
    for name in ("train", "test"):
        write_lmdb(folder / f"{name}_lmdb", *pictures(6), SIDE, SIDE)
    size = inputs((1, 3, HEIGHT, WIDTH)), inputs((1, 3, SIDE, SIDE))
    assert size[0] in NET
    return convert_small(folder, HEADS, NET.replace(*size), max_iter=2)


@pytest.mark.parametrize("mean", [False, True])
def test_both_engines_crop_alike(job, square, tmp_path, mean):
    """From the image in its own size. A smaller one is enlarged, except with a mean image: Caffe wants one size then.

    Caffe gets the enlarged one in whole numbers: less than 1e-3 of the loss.
    """
    text, said = (square / "train_val.prototxt").read_text(), f"crop_size: {SIDE}"
    if mean:
        values = np.random.default_rng(1).uniform(80, 160, 3 * 11 * 9)
        blob = schema.message_class("BlobProto")(num=1, channels=3, height=11, width=9, data=values)
        (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
        text = re.sub(r"(?m)^ *mean_value: .*\n", "", text)
        said += f' mean_file: "{tmp_path}/mean.binaryproto"'
    assert text.count("transform_param {") == 2
    (square / "train_val.prototxt").write_text(text.replace("transform_param {", f"transform_param {{ {said}"))
    data = photos(tmp_path / "photos", [(11, 9) if mean else (5, 6)] + [(11, 9)] * 11)
    job = replace(job, folder=square, data=data, test_data=data)
    finetune(job)
    finetune(replace(job, engine="torch", out=tmp_path / "torch", precision="fp32"))
    real, ours = (story(tmp_path / name)["runs"][0]["tests"][0] for name in ("caffe", "torch"))
    assert (real["iteration"], real["images"]) == (ours["iteration"], ours["images"]) == (0, 12)
    assert real["loss"] == pytest.approx(ours["loss"], rel=1e-5 if mean else 1e-3)


def test_inputs_in_the_place_of_data_layers(job, out, made, tmp_path):
    tree = parse((out / "train_val.prototxt").read_text())
    tree.fields = [one for one in tree if one.name != "layer" or str(one.value.value("type")) != "Data"]
    given = inputs((6, 3, HEIGHT, WIDTH), (6,)).replace("data1", "label").split("\n", 1)[1]
    (out / "train_val.prototxt").write_text(given + format_tree(tree))
    wishes = ImageWishes(mean=(100.0, 120.0, 110.0), scale=0.02)
    job = replace(job, data=f"npz:{made / 'train.npz'}", batch_size=6)
    finetune(replace(job, folder=out, wishes=wishes))
    finetune(replace(job, out=tmp_path / "usual"))
    losses = [story(tmp_path / name)["runs"][0]["losses"] for name in ("caffe", "usual")]
    assert np.allclose(*losses, rtol=1e-5, atol=0)


def test_a_solver_without_tests(job, out, made, tmp_path):
    """Its training network is tested on all images, here in full batches: Caffe fills the last one with the first ones."""
    file = out / "solver.prototxt"
    file.write_text(re.sub(r"(?m)^test_.*\n", "", file.read_text()))
    data, test_data = (f"npz:{made / name}.npz" for name in ("train", "test"))
    job = replace(job, folder=out, data=data, test_data=test_data, batch_size=10, solver={})
    finetune(job)
    finetune(replace(job, engine="torch", out=tmp_path / "torch", precision="fp32"))
    real, ours = (story(tmp_path / name)["accuracy"] for name in ("caffe", "torch"))
    assert real["images"] == ours["images"] == 20 and real["accuracy"] == pytest.approx(ours["accuracy"])
    assert real["loss"] == pytest.approx(ours["loss"], rel=1e-3)


def test_step_by_step(job, sources):
    finetune(replace(job, data=sources["lmdb"][0], steps="all", solver={"snapshot": "5"}))
    assert [run["step"] for run in story(job.out)["runs"]] == ["conv1", "conv2"]
    assert sorted(str(p.relative_to(job.out)) for p in job.out.rglob("*_iter_*")) == [
        f"steps/{step}/snapshot_iter_{n}.caffemodel" for step in ("01-conv1", "02-conv2") for n in (10, 5)
    ]
    assert not checkpoint_folder(job.out).exists()


def test_auxiliary_heads_learn_from_step_to_step(job, made, sources, tmp_path):
    """Caffe refuses a layer that is stored without its weights: our fillers start the head, once."""
    for name in ("train_lmdb", "test_lmdb"):
        shutil.copytree(made / name, tmp_path / name)
    out = convert_small(tmp_path, HEADS + AUXILIARY, max_iter=3)
    finetune(replace(job, folder=out, data=sources["npz"][0], steps="all", solver={}))
    assert story(job.out)["warnings"] == ["no caffemodel has weights for aux; fillers make them"]
    before, after = (
        {m.name: m.blobs for m in read_caffemodel(job.out / "steps" / name / "snapshot_iter_3.caffemodel")}["aux"][0]
        for name in ("01-conv1", "02-conv2")
    )
    assert 0 < np.abs(after - before).max() < 0.1 * np.abs(before).max()  # it went on from where it was


def test_images_go_with_their_stage(job, sources, tmp_path):
    """The weights stay, which are still to be written."""
    (stage,) = plan_stages(read_converted(job.folder), None, {})
    job = replace(job, data=sources["npz"][0], test_data=sources["npz"][1])
    with open_learner(stage, stage.starts_from(None), Setup(job, 1, tmp_path)) as learner:
        assert len(list(tmp_path.rglob("*.png"))) == 40
        learner.load({}, 0)
        learner.trained()
    assert not list(tmp_path.rglob("*.png")) and len(list(tmp_path.rglob("trained.caffemodel"))) == 1


def test_it_goes_on_from_its_checkpoint(job, sources, tmp_path):
    """Adam's state and the iteration are Caffe's .solverstate; the images start again, here with the same batch."""
    fields = {"type": "Adam", "base_lr": "0.01", "display": "1", "snapshot": "4"}
    job = replace(job, data=sources["lmdb"][0], solver=fields, batch_size=20)
    finetune(replace(job, out=tmp_path / "whole"))
    with pytest.raises(Paused):
        finetune(replace(job, stop_after=1e-9))
    shown = []
    finetune(job, shown.append)
    assert shown[0].startswith("resuming from the checkpoint")
    assert np.allclose(story(job.out)["runs"][0]["losses"], story(tmp_path / "whole")["runs"][0]["losses"], rtol=1e-5)


def test_a_loss_that_is_no_number(job, sources):
    with pytest.raises(TrainingError, match=r"^iteration \d+: training diverged \(the loss is nan\)"):
        finetune(replace(job, data=sources["lmdb"][0], solver={"base_lr": "1e30"}))
    assert not job.out.exists()


def test_weights_that_are_no_numbers_are_not_written(job, made, monkeypatch):
    """Those of the last update: no loss shows it."""
    monkeypatch.setattr("deepmerge.train.finetune.loop.RETRIES", 0)
    with pytest.raises(TrainingError, match=r"^iteration 1: the weights \w+/\d are not finite numbers any more"):
        finetune(replace(job, data=f"lmdb:{made / 'train_lmdb'}", solver={"base_lr": "3e38", "max_iter": "1"}))
    assert not job.out.exists() and not checkpoint_folder(job.out).exists()


def test_a_trial_lowers_a_rate_that_caffe_does_not_bear(job, out, sources, tmp_path):
    """The training after the trial is the one at that rate: the trial leaves no trace in the weights."""
    file = out / "solver.prototxt"
    file.write_text(re.sub(r"(?m)^base_lr: .*$", "base_lr: 1000", file.read_text()))
    fields = {"max_iter": "250", "display": "1"}
    job = replace(job, folder=out, data=sources["lmdb"][0], batch_size=20, solver=fields)
    finetune(job)
    tried = re.compile(r"the learning rate is (\S+): a larger one raised the loss in a trial")
    (shown,) = (found[1] for found in map(tried.fullmatch, story(job.out)["warnings"]) if found)
    (rate,) = (rate for rate in (250, 62.5, 15.625) if f"{rate:.3g}" == shown)
    finetune(replace(job, solver=fields | {"base_lr": str(rate)}, out=tmp_path / "straight"))
    losses = [story(folder)["runs"][0]["losses"] for folder in (job.out, tmp_path / "straight")]
    assert np.allclose(*losses, rtol=1e-5, atol=0)


def test_what_caffe_refuses(job, tmp_path):
    (tmp_path / "list.txt").write_text("none.png 1\n")
    with pytest.raises(
        EngineError, match="real Caffe, opening .*solver.prototxt: Check failed: .* Could not load none.png$"
    ):
        finetune(replace(job, data=f"list:{tmp_path / 'list.txt'}"))
    assert not checkpoint_folder(job.out).exists()  # there was nothing to keep yet


class Opened:
    """A solver without Caffe: the loss of each test batch is its number."""

    def __init__(self):
        self.sizes, self.closed, self.losses = [], False, itertools.count()

    def test(self, number, batches):
        self.sizes.append(batches)
        return {"loss": list(itertools.islice(self.losses, batches))}

    def close(self):
        self.closed = True


@pytest.fixture
def learner(tmp_path) -> CaffeLearner:
    """It tests 50 images in batches of 6."""
    net, worker = SimpleNamespace(batch_size=6), SimpleNamespace(open_solver=lambda *words: Opened())
    train, test = (CaffeData(Source("list", "x"), count) for count in (20, 50))
    files = SimpleNamespace(nets=[net, net], train=train, test=test, seed=1)
    return CaffeLearner(worker, files, tmp_path, [tmp_path / "start_0.caffemodel"])


def test_a_test_is_asked_for_in_pieces(learner):
    learner.load({}, 0)
    assert learner.test(whole=True) == [{"loss": 4.0, "images": 54}]  # the mean of 0 to 8
    assert learner.opened.sizes == [1, 8]


def test_one_solver_is_open_at_a_time(learner):
    learner.load({}, 0)
    first = learner.opened
    learner.load({}, 0)
    assert first.closed and not learner.opened.closed


def test_pieces_take_about_a_minute():
    """Of 15 s, 15 s, 1/30 s and 100 s for each one."""
    pieces, sizes = Pieces(iter([0.0, 15.0, 15.0, 75.0, 75.0, 75.1, 76.0, 2076.0]).__next__), []
    for left in (100, 100, 3, 100):
        with pieces.piece(left) as size:
            sizes.append(size)
    assert sizes == [1, 4, 3, 20] and pieces.size == 1


def test_it_needs_no_pytorch(made, tmp_path, caffe_python):
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
sys.modules["torch"] = None
from pathlib import Path
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job
data = {f"lmdb:{made / 'train_lmdb'}"!r}
finetune(Job(Path({str(made / "out")!r}), Path({str(tmp_path / "out2")!r}), data, solver={{"max_iter": "2"}}, threads=1, engine="caffe"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert story(tmp_path / "out2")["iterations"] == 2
