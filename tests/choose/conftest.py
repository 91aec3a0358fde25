"""A small network with a module, images for it, and its measured choices."""

from __future__ import annotations

import numpy as np
import pytest

import deepmerge
from deepmerge.choose.study import Job, Study


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


@pytest.fixture
def study(network, images, tmp_path):
    """Keywords of Job → a study of the step conv2, whose file is in tmp_path."""

    def make(**keywords) -> Study:
        job = {"images": 48, "file": tmp_path / "measured.csv", "steps": "conv2", "seconds": 0.2}
        return Study(Job(network.graph, network.prototxt, images, **job | keywords))

    return make
