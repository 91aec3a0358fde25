"""Mean images. That Caffe reads the same values: see tests/data/test_preprocess.py."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.binaryproto import read_mean

GIVE = "; give the .binaryproto file that compute_image_mean wrote"


def read(folder, data):
    path = folder / "mean.binaryproto"
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return read_mean(path)


def refused(folder, data) -> str:
    with pytest.raises(ReadError) as caught:
        read(folder, data)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'mean.binaryproto'}: ") and "\n" not in text
    return text.removeprefix(f"{folder / 'mean.binaryproto'}: ")


def blob(**fields):
    return schema.message_class("BlobProto")(**fields)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num": 1, "channels": 3, "height": 2, "width": 4},
        {"shape": {"dim": [1, 3, 2, 4]}},
        {"shape": {"dim": [3, 2, 4]}},
    ],
    ids=["legacy", "four axes", "three axes"],
)
@pytest.mark.parametrize("field", ["data", "double_data"])
def test_means(tmp_path, sizes, field):
    mean = read(tmp_path, blob(**sizes, **{field: np.arange(24) / 10}))
    assert mean.shape == (3, 2, 4) and mean.dtype == np.float32
    np.testing.assert_array_equal(mean.ravel(), (np.arange(24) / 10).astype(np.float32))


@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (3,), (1, 3, 0, 4), ()])
def test_blobs_that_are_no_images(tmp_path, shape):
    found = refused(tmp_path, blob(shape={"dim": shape}, data=range(int(np.prod(shape)))))
    shown = shape[1:] if shape[:1] == (1,) else shape
    assert found == f"holds a blob of shape {shown}, and a mean image is (1, channels, height, width)"


def test_other_files(tmp_path):
    net = schema.message_class("NetParameter")(name="net", layer=[{"name": "l", "type": "T"}])
    assert refused(tmp_path, net).startswith(
        "is not a mean image (a BlobProto), or a damaged one: claims 1 values, its shape being ()"
    )
    assert refused(tmp_path, net).endswith(GIVE)
    assert refused(tmp_path, b"name: 'net'\n") == f"is text, not a mean image{GIVE}"
    assert refused(tmp_path, b"version https://git-lfs.github.com/spec/v1\n").startswith("is a Git LFS pointer")
    assert refused(tmp_path, b"\x93NUMPY\x01\x00") == "is a NumPy file, not one of Caffe's"


def test_truncated_anywhere(tmp_path):
    whole = blob(num=1, channels=3, height=2, width=4, data=range(24)).SerializeToString()
    for size in range(1, len(whole)):
        assert refused(tmp_path, whole[:size]).endswith((GIVE, "(1, channels, height, width)"))
