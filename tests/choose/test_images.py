"""The images to choose by: what is said about those that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmerge.choose.images import TURNS, image_sets
from deepmerge.data import ImageWishes
from deepmerge.errors import ReadError


@pytest.fixture
def divided(small, tmp_path):
    """What images are for → 32 images, of which the first two for that cannot be read."""

    def divided(kind):
        noise, folder = np.random.default_rng(0), tmp_path / "photos"
        folder.mkdir()
        files = [folder / f"{place:02}.png" for place in range(32)]
        for file in files:
            Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(file)
        for file in [file for place, file in enumerate(files) if TURNS[place % len(TURNS)] == kind][:2]:
            file.write_bytes(b"")
        return image_sets(f"folder:{folder}", small, tmp_path / "deploy.prototxt", ImageWishes(), 800, strict=False)

    return divided


def test_images_to_check_on_that_cannot_be_read_are_named_when_they_are_read(divided):
    sets = divided("check")
    assert sets.notes == []
    for _ in range(2):
        assert sum(map(len, sets.check)) == 14
        assert ["02.png" in sets.notes[0], "03.png" in sets.notes[1], len(sets.notes)] == [True, True, 2]


@pytest.mark.parametrize("kind, first", [("fit", "00.png"), ("judge", "01.png")])
def test_too_few_images_that_can_be_read_are_an_error(divided, kind, first):
    says = f"only 6 of the 8 images to {kind} could be read, and choosing takes 7; the first: .*{first}"
    with pytest.raises(ReadError, match=says):
        divided(kind)


def test_strict_fails_on_a_note_before_any_image_is_read(small, images, tmp_path):
    transform = 'transform_param { mean_file: "none.binaryproto" } data_param { source: "a" batch_size: 2 }'
    (tmp_path / "train_val.prototxt").write_text(f'layer {{ name: "data" type: "Data" top: "data" {transform} }}')
    how, says = (small, tmp_path / "deploy.prototxt", ImageWishes(), 40), "'none.binaryproto' is not there"
    (note,) = image_sets(images, *how, strict=False).notes
    assert says in note
    (tmp_path / "photos").mkdir()
    for place in range(40):
        (tmp_path / "photos" / f"{place:02}.png").write_bytes(b"")  # each of them would be an error, too
    with pytest.raises(ReadError, match=f"^--strict: layer 'data': mean_file {says}"):
        image_sets(f"folder:{tmp_path / 'photos'}", *how, strict=True)
