"""What stops a run."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest

from deepmerge.errors import TrainingError
from deepmerge.train.shared.guards import replacing, require_finite, writing


def test_finite_losses_pass():
    for loss in (0.0, -1.5, 1e30):
        require_finite(loss, "stage chain, iteration 5", "try")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_others_do_not(loss):
    with pytest.raises(
        TrainingError, match=r"^stage chain, iteration 5: training diverged \(the loss is .*\); take a smaller --lr$"
    ):
        require_finite(loss, "stage chain, iteration 5", "take a smaller --lr")


@pytest.mark.parametrize(
    "code, shown",
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "your quota is used up; free some space"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_disks_that_refuse(code, shown):
    with pytest.raises(TrainingError, match=f"^here: cannot be written: {shown}$"), writing(Path("here")):
        raise OSError(code, "Read-only file system")


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.caffemodel"
    with replacing(path) as aside:
        aside.write_bytes(b"old")
    with (
        pytest.raises(TrainingError, match="a.caffemodel: cannot be written: the disk is full"),
        replacing(path) as aside,
    ):
        aside.write_bytes(b"ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [file.name for file in tmp_path.iterdir()] == ["a.caffemodel"]
    assert path.read_bytes() == b"old"
