"""--engine caffe: real Caffe on the very same files gives the losses and weights that PyTorch gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepmerge.errors import EngineError, ReadError, TrainingError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.train.finetune.caffe_run import caffe_data
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job
from deepmerge.train.shared.checkpoint import Paused, checkpoint_folder
from tests.train.finetune.small import CLASSES, HEIGHT, WIDTH, pictures


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


def test_step_by_step(job, sources):
    finetune(replace(job, data=sources["lmdb"][0], steps="all", solver={"snapshot": "5"}))
    assert [run["step"] for run in story(job.out)["runs"]] == ["conv1", "conv2"]
    assert sorted(str(p.relative_to(job.out)) for p in job.out.rglob("*_iter_*")) == [
        f"steps/{step}/snapshot_iter_{n}.caffemodel" for step in ("01-conv1", "02-conv2") for n in (10, 5)
    ]
    assert not checkpoint_folder(job.out).exists()


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


def test_images_as_files(tmp_path):
    pixels, labels = pictures(6)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    straight = caffe_data(f"npz:{tmp_path / 'a.npz'}", tmp_path / "straight", 1, shuffle=False)
    mixed = caffe_data(f"npz:{tmp_path / 'a.npz'}", tmp_path / "mixed", 1, shuffle=True)
    lines = [Path(data.source.path).read_text().splitlines() for data in (straight, mixed)]
    assert [line.split()[1] for line in lines[0]] == [str(label) for label in labels]
    assert lines[0] != lines[1] and sorted(lines[0]) == sorted(lines[1]) and straight.count == 6
    np.savez(tmp_path / "b.npz", images=pixels)
    with pytest.raises(ReadError, match="has no label, and labels are needed"):
        caffe_data(f"npz:{tmp_path / 'b.npz'}", tmp_path / "none", 1, shuffle=False)
    assert (CLASSES, HEIGHT, WIDTH) == (5, 9, 7)


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
