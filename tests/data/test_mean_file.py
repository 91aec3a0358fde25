"""Mean images: where they are looked for, and what they must fit. What is subtracted: see test_preprocess.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmerge.data.mean_file import centre_of, find_mean_file, whole_mean
from deepmerge.errors import ReadError
from deepmerge.formats import schema


def write(path, *shape: int) -> Path:
    blob = schema.message_class("BlobProto")(shape={"dim": shape}, data=range(int(np.prod(shape))))
    path.write_bytes(blob.SerializeToString())
    return path


def test_where_it_is_looked_for(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "means", there / "means"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert find_mean_file("means/m.binaryproto", there) is None
    for place in ("m.binaryproto", "means/m.binaryproto"):
        (there / place).touch()
        assert find_mean_file("means/m.binaryproto", there) == there / place
    Path("means/m.binaryproto").touch()
    assert find_mean_file("means/m.binaryproto", there) == Path("means/m.binaryproto")
    assert find_mean_file("means", here) is None


def test_the_centre(tmp_path):
    path = write(tmp_path / "mean", 1, 2, 5, 8)
    whole = np.arange(80, dtype=np.float32).reshape(2, 5, 8)
    np.testing.assert_array_equal(centre_of(whole_mean(path, (7, 2, 2, 3)), (7, 2, 2, 3)), whole[:, 1:3, 2:5])
    np.testing.assert_array_equal(centre_of(whole_mean(path, (1, 2, 5, 8)), (1, 2, 5, 8)), whole)


@pytest.mark.parametrize("shape", [(1, 3, 5, 8), (1, 2, 6, 8), (1, 2, 5, 9)])
def test_what_does_not_fit(tmp_path, shape):
    path = write(tmp_path / "mean", 1, 2, 5, 8)
    wanted = "×".join(map(str, shape[1:]))
    with pytest.raises(ReadError) as caught:
        whole_mean(path, shape)
    assert (
        str(caught.value)
        == f"{path}: is a mean of 2×5×8 (channels×height×width), and the network takes {wanted}; --mean says what to subtract"
    )
