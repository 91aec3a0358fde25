"""What tests share: real networks and real Caffe. A test that misses something skips and says how to get it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.pitfall_table"]

ROOT = Path(__file__).resolve().parents[1]
REQUIRE_CAFFE = "DEEPMERGE_REQUIRE_CAFFE"


@pytest.fixture(scope="session")
def models() -> Path:
    """models/: the definitions that deepmerge ships, and one small trained network."""
    return ROOT / "models"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Test material that is not part of the project: the folder DEEPMERGE_SHARED, or ../shared beside the checkout."""
    folder = Path(os.environ.get("DEEPMERGE_SHARED") or ROOT.parent / "shared").resolve()
    if not folder.is_dir():
        pytest.skip(f"no test material in {folder}; DEEPMERGE_SHARED may name another folder")
    return folder


@pytest.fixture(scope="session")
def zoo(shared: Path) -> Path:
    """shared/zoo: trained networks, as NAME.prototxt and NAME.caffemodel."""
    folder = shared / "zoo"
    if not folder.is_dir():
        pytest.skip(f"no trained networks in {folder}")
    return folder


@pytest.fixture(scope="session")
def caffe_python() -> Path:
    """The interpreter that has real Caffe."""
    from deepmerge.engines.find_caffe import find_python

    python = find_python()
    if python is None:
        reason = "no real Caffe here; `make caffe` gets one, or DEEPMERGE_CAFFE_PYTHON names an interpreter that has it"
        if os.environ.get(REQUIRE_CAFFE) == "1":
            pytest.fail(f"{reason} ({REQUIRE_CAFFE} is 1)")
        pytest.skip(reason)
    return python


@pytest.fixture(scope="session")
def real_caffe(caffe_python: Path):
    """Real Caffe as an engine."""
    from deepmerge.engines.caffe import CaffeEngine

    return CaffeEngine(caffe_python)


@pytest.fixture(scope="session")
def _workers(real_caffe):
    """Starts real Caffe once, and again after a failed check has ended it."""
    started = []

    def alive():
        if not started or not started[-1].process.alive:
            started.append(real_caffe.start())
        return started[-1]

    yield alive
    for worker in started:
        worker.close()


@pytest.fixture
def worker(_workers):
    """A process with real Caffe, which all tests share."""
    return _workers()


@pytest.fixture
def network(tmp_path):
    """A prototxt's text → Graph."""
    from deepmerge.formats.read import read_network

    def read(text):
        (tmp_path / "net.prototxt").write_text(text)
        return read_network(tmp_path / "net.prototxt")

    return read
