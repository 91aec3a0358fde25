"""A small conversion with three approximate steps, and images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.write import write_caffemodel
from tests.conversion import Job, convert
from tests.helpers import conv, inputs, layer, network, relu

TEXT = (
    inputs((1, 3, 17, 15))
    + conv("conv1", "data", 8, "kernel_h: 3 kernel_w: 5 pad_h: 1")
    + relu("conv1")
    + layer("norm1", "LRN", "conv1", "local_size: 3 alpha: 0.5")
    + layer("pool1", "Pooling", "norm1", "pool: MAX kernel_size: 3 stride: 2")
    + conv("conv2", "pool1", 6, "kernel_size: 3 pad: 1")
    + relu("conv2")
    + layer("norm2", "LRN", "conv2", "local_size: 5 alpha: 1")
    + layer("fc", "InnerProduct", "norm2", "num_output: 5")
    + layer("prob", "Softmax", "fc")
)


def lay_out(folder: Path, text: str = TEXT, count: int = 60, **wishes) -> Path:
    """net.prototxt, net.caffemodel, images.npz, and out/, the conversion; `out` is returned."""
    from deepmerge.plan.plan import Wishes

    folder.mkdir(exist_ok=True)
    graph = network(folder, text)
    scale(graph)
    write_caffemodel(graph, folder / "net.caffemodel")
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 5, 5, 3)).astype(np.uint8)  # pictures have neighbours that are alike
    np.savez(folder / "images.npz", images=coarse.repeat(4, 1).repeat(3, 2)[:, :17, :15])
    convert(Job(folder / "net.prototxt", folder / "net.caffemodel", folder / "out", Wishes(**wishes)))
    return folder / "out"


def scale(graph) -> None:
    """The first layer sees values up to 150: its weights are small, as a trained network's are."""
    first = next((one for one in graph.layers if one.weights), None)
    if first is not None:
        first.weights = [first.weights[0] / np.float32(100), *first.weights[1:]]


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A conversion that no test changes."""
    return lay_out(tmp_path_factory.mktemp("small"))


@pytest.fixture
def images(small) -> str:
    return f"npz:{small.parent / 'images.npz'}"
