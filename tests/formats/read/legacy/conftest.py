"""Real Caffe's own upgrade, for the tests of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.formats.read.legacy.judges import Judge


@pytest.fixture(scope="session")
def judge(caffe_python: Path, tmp_path_factory):
    """Real Caffe, asked for nothing but its upgrade."""
    judge = Judge(caffe_python, tmp_path_factory.mktemp("judge"))
    if judge.ready != "ready":
        pytest.skip(judge.ready or "real Caffe's interpreter ended at once")
    yield judge
    judge.close()
