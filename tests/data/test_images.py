"""One image that cannot be read, and a source that has gone."""

from __future__ import annotations

import pytest

from deepmerge.data.images import Images, read_picture
from deepmerge.errors import ReadError, SourceError


def raises(error):
    def read(_index):
        raise error

    return read


def test_one_bad_image_and_a_source_that_has_gone():
    bad = raises(ReadError("is not an image", "a.png"))
    with pytest.raises(ReadError, match=r"^a\.png: is not an image$") as caught:
        read_picture(Images("folder:x", 3, bad), 0)
    assert not isinstance(caught.value, SourceError)
    with pytest.raises(
        SourceError, match=r"^folder:x: the images are no longer there \(a\.png: is not an image\); bring them back"
    ):
        read_picture(Images("folder:x", 3, bad, gone=lambda: True), 0)
    with pytest.raises(SourceError, match="^all is lost$"):
        read_picture(Images("folder:x", 3, raises(SourceError("all is lost")), gone=lambda: True), 0)
