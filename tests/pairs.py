"""What `convert` emits, judged by real Caffe: deploy pairs, train_val and solver pairs, and the steps between."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from deepmerge.engines.ort import OrtEngine
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write.data_layers import Source
from deepmerge.formats.write.train_val import TrainData
from deepmerge.out.write import Settings
from tests.helpers import apart
from tests.real_images import prepared, read_npz, write_lmdb


def pictures(count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Photographs if there are any, else noise: uint8 RGB (count, 32, 32, 3), and labels from 0 to 9."""
    path = Path(os.environ.get("DEEPMERGE_SHARED") or Path(__file__).parents[2] / "shared", "data/cifar10_test.npz")
    if path.exists():
        return read_npz(path, count)
    return np.random.default_rng(4).integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10


def feeds(size: int, count: int = 2) -> dict[str, np.ndarray]:
    return {"data": prepared(pictures(count)[0], size, size)}


def lmdb_settings(folder: Path, size: int, **settings) -> Settings:
    """Settings with an LMDB of square images for each phase, made in `folder` unless they are there."""
    images, labels = pictures(12)
    sources = []
    for phase, part in (("train", slice(0, 6)), ("test", slice(6, 12))):
        path = folder / f"{phase}{size}"
        if not path.exists():
            write_lmdb(path, images[part], labels[part], size, size)
        sources.append(Source.parse(f"lmdb:{path}"))
    return Settings(data=TrainData(*sources, batch_size=2), step_weights=True, **settings)


def folders(out: Path) -> list[Path]:
    """The step folders, in order, and OUT itself."""
    return [*sorted(out.glob("steps/*")), out]


def check_deploy(worker, folder: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pair runs in real Caffe, with all the weights that were written, and as our own engine runs it."""
    deploy, weights = folder / "deploy.prototxt", folder / "weights.caffemodel"
    graph = read_network(deploy, weights)
    with worker.load(deploy, weights) as session, OrtEngine().load(graph) as ours:
        same_weights(session.params(), {layer.name: layer.weights for layer in graph.layers if layer.weights})
        outputs = session.forward(feeds)
        assert apart(outputs, ours.forward(feeds)) <= 1e-5, folder
    return outputs


def same_weights(found: dict[str, list[np.ndarray]], wanted: dict[str, list[np.ndarray]]) -> None:
    """Caffe ignores stored layers that it does not know, and leaves the others as their fillers made them."""
    assert found.keys() == wanted.keys()
    for name, arrays in wanted.items():
        for one, other in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def check_training(worker, folder: Path, steps: int = 3) -> dict[str, list[float]]:
    """The train_val net takes the same weights, the solver takes its steps, and the TEST net runs; its outputs."""
    solver, weights = folder / "solver.prototxt", folder / "weights.caffemodel"
    with tempfile.TemporaryDirectory() as scratch:
        worker.solve(solver, [weights], steps=0, save=Path(scratch, "as_read.caffemodel"))
        taken = stored(Path(scratch, "as_read.caffemodel"))
        wanted = stored(weights)
        same_weights({name: arrays for name, arrays in taken.items() if name in wanted}, wanted)
    solved = worker.solve(solver, [weights], steps=steps, test=True)
    assert solved.iteration == steps == len(solved.losses)
    assert all(map(math.isfinite, solved.losses)), solved.losses
    (outputs,) = solved.tests
    assert outputs and all(math.isfinite(value) for values in outputs.values() for value in values), outputs
    return outputs


def stored(caffemodel: Path) -> dict[str, list[np.ndarray]]:
    return {
        layer.name: [np.array(blob) for blob in layer.blobs] for layer in read_caffemodel(caffemodel) if layer.blobs
    }


def check_new_layers(worker, out: Path) -> None:
    """Each step's weights are the last step's with new_layers.caffemodel on top: what finetune.mk relies on."""
    steps = folders(out)[:-1]
    assert [(step / "weights.caffemodel").exists() for step in steps] == [True] * len(steps), (
        "convert with step_weights"
    )
    for before, here in zip(steps, steps[1:], strict=False):
        with worker.load(here / "deploy.prototxt", here / "weights.caffemodel") as whole:
            wanted = whole.params()
        both = [before / "weights.caffemodel", here / "new_layers.caffemodel"]
        with worker.load(here / "deploy.prototxt", both) as joined:
            same_weights(joined.params(), wanted)
