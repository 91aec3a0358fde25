"""The small network of small.py, converted once, and its images; a run on them, and what it wrote; smaller ones."""

from __future__ import annotations

import filecmp
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.training import TrainingNet, read_training
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job
from tests.helpers import layer
from tests.train.finetune.small import CLASSES, convert_small, write_images

DATA = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 4 } }\n'
FC = layer("fc", "InnerProduct", "data", "num_output: 5")


@pytest.fixture(scope="session")
def torch():
    found = pytest.importorskip("torch", reason="needs PyTorch: pip install 'deepmerge-caffe[torch]'")
    found.set_num_threads(1)
    return found


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A folder with train_lmdb, test_lmdb, train.npz and test.npz."""
    pytest.importorskip("lmdb")
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.fixture(scope="session")
def made(images) -> Path:
    """`out`, with its original and train_val, beside the images. Not to be changed."""
    convert_small(images, max_iter=10, display=2)
    return images


@pytest.fixture
def out(made, tmp_path) -> Path:
    """A copy of `out`, to be changed."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


@pytest.fixture
def job(made, tmp_path, torch) -> Job:
    return Job(made / "out", tmp_path / "out2", f"npz:{made / 'train.npz'}", f"npz:{made / 'test.npz'}", threads=1)


@pytest.fixture(scope="session")
def tuned(made, tmp_path_factory, torch) -> Path:
    """What an undisturbed run of `job` writes. Not to be changed."""
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


def story(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["finetuning"]


def ticking() -> Callable[[], float]:
    """Return a clock that is one second on at each look; an iteration looks about three times."""
    return itertools.count(0.0).__next__


def with_heads(made: Path, folder: Path, heads: str) -> Path:
    """`out` of the small network with other heads, in a folder of its own."""
    for name in ("train_lmdb", "test_lmdb"):
        shutil.copytree(made / name, folder / name)
    return convert_small(folder, heads, max_iter=3)


def photos(folder: Path, sizes: list[tuple[int, int]]) -> str:
    """Images of noise in sub-folders for the classes; their spec. sizes: height and width of each."""
    image = pytest.importorskip("PIL.Image")
    for number, size in enumerate(sizes):
        place = folder / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        image.fromarray(pixels).save(place / f"{number}.png")
    return f"folder:{folder}"


def nets(folder: Path, text: str, shape: tuple[int, ...]) -> list[TrainingNet]:
    """The networks of both phases."""
    path = folder / "train_val.prototxt"
    path.write_text(DATA + FC + text + layer("loss", "SoftmaxWithLoss", "fc label"))
    return [read_training(path, phase, shape) for phase in ("TRAIN", "TEST")]
