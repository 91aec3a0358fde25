"""A small network with a module, images for it, and its measured choices."""

from __future__ import annotations

import numpy as np
import pytest

import deepmerge
from deepmerge.choose.job import ChooseJob
from deepmerge.choose.study import Study
from tests.helpers import conv, inputs, layer, relu
from tests.helpers import network as filled


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> str:
    """48 images as a SPEC."""
    file = tmp_path_factory.mktemp("images") / "images.npz"
    pictures = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), np.uint8)
    np.savez(file, images=pictures, labels=np.zeros(48, np.int64))
    return f"npz:{file}"


@pytest.fixture(scope="session")
def network(models):
    """The trained network in models/."""
    folder = models / "inception_mini"
    return deepmerge.load(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")


SMALL = inputs((1, 3, 32, 32))
for number, bottom in ((1, "data"), (2, "pool1")):
    SMALL += conv(f"conv{number}", bottom, 8, "kernel_size: 3 pad: 1") + relu(f"conv{number}")
    SMALL += layer(f"pool{number}", "Pooling", f"conv{number}", "kernel_size: 3 stride: 2")
SMALL += layer("classes", "InnerProduct", "pool2", "num_output: 5")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A graph with two regions, conv1 and conv2, for tests of which choices are measured."""
    return filled(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture
def study(network, images, tmp_path):
    """Keywords of ChooseJob → a study of the step conv2, whose file is in tmp_path."""

    def make(**keywords) -> Study:
        job = {"images": 48, "file": tmp_path / "measured.csv", "steps": "conv2", "seconds": 0.2}
        what = {"graph": network.graph, "prototxt": network.prototxt, "data": images}
        return Study(ChooseJob(**what | job | keywords))

    return make
