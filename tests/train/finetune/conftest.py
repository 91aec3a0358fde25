"""The small network of small.py, converted once, and its images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.train.finetune.small import convert_small, write_images


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
