"""Small networks as text: read by deepmerge, and built by real Caffe in one process."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_network


@pytest.fixture
def read(tmp_path):
    """prototxt text → Graph."""

    def read(text: str):
        path = tmp_path / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return read_network(path)

    return read


@pytest.fixture(scope="module")
def caffe_worker(real_caffe):
    """One process of real Caffe for all networks that it accepts."""
    with real_caffe.start() as worker:
        yield worker


@pytest.fixture
def describe(caffe_worker, tmp_path):
    """prototxt text → what real Caffe made of it (CaffeSession.info)."""

    def describe(text: str):
        path = tmp_path / "caffe.prototxt"
        path.write_text(text, encoding="utf-8")
        with caffe_worker.load(path) as session:
            return session.info()

    return describe
