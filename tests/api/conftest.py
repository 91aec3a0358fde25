"""A small trained network and images for it; the current folder is the repository's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import deepmerge
from tests.api.commands import PAIR, ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """report.json holds the paths as they were given."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def network():
    return deepmerge.load(*(ROOT / file for file in PAIR))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Eight labelled images of noise, as an npz file."""
    file = tmp_path_factory.mktemp("images") / "images.npz"
    noise = np.random.default_rng(0)
    np.savez(file, images=noise.integers(0, 256, (8, 32, 32, 3), np.uint8), labels=np.arange(8))
    return file
