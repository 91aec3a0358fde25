"""What is fed: the same images for chunks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import Loader, Loading, Preprocessing, open_images
from deepmerge.errors import ReadError
from deepmerge.measure.batching import Batching
from deepmerge.measure.compare.feeds import image_chunks, random_chunks

PLAIN = Preprocessing()


def test_random_images_do_not_depend_on_the_chunks():
    inputs = {"data": (1, 3, 5, 4), "more": (1, 7)}
    runs = [list(random_chunks(inputs, 7, 11, Batching(size, False), PLAIN)) for size in (7, 3)]
    assert [chunk.images for chunk in runs[1]] == [3, 3, 1]
    for name, low, high in (("data", 0, 255), ("more", 0, 1)):
        one, other = (np.concatenate([chunk.feeds[name] for chunk in run]) for run in runs)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32 and one.shape == (7, *inputs[name][1:])
        assert low <= one.min() < low + 0.1 * high and high * 0.9 < one.max() <= high


def test_random_images_are_preprocessed_and_seeded():
    inputs = {"data": (1, 3, 5, 4)}
    (plain,) = random_chunks(inputs, 2, 0, Batching(8, False), PLAIN)
    (made,) = random_chunks(inputs, 2, 0, Batching(8, False), Preprocessing((100, 110, 120), 0.5))
    mean = np.array([100, 110, 120])[:, None, None]
    np.testing.assert_allclose(made.feeds["data"], (plain.feeds["data"] - mean) * 0.5, rtol=1e-6, atol=1e-5)
    (other,) = random_chunks(inputs, 2, 1, Batching(8, False), PLAIN)
    assert np.abs(other.feeds["data"] - plain.feeds["data"]).max() > 10


def test_a_mean_of_other_channels_is_for_another_input():
    (chunk,) = random_chunks({"a": (1, 2, 3, 3)}, 1, 0, Batching(1, False), Preprocessing((9, 9, 9)))
    assert chunk.feeds["a"].min() >= 0


def test_inputs_whose_batches_differ_are_fed_as_declared():
    chunks = list(random_chunks({"data": (1, 3, 4, 4), "rois": (6, 5)}, 3, 0, Batching(1, True), PLAIN))
    assert len(chunks) == 3 and all(chunk.images == 1 for chunk in chunks)
    assert chunks[0].feeds["data"].shape == (1, 3, 4, 4) and chunks[0].feeds["rois"].shape == (6, 5)


def test_a_fixed_batch_is_filled_up():
    chunks = list(random_chunks({"data": (4, 1, 2, 2)}, 6, 0, Batching(4, True), PLAIN))
    assert [(chunk.images, len(chunk.feeds["data"])) for chunk in chunks] == [(4, 4), (2, 4)]


@pytest.fixture
def archive(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels)
    return f"npz:{tmp_path / 'a.npz'}", pixels


def png_and_text(folder):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    (folder / "b.png").write_text("text")
    return f"folder:{folder}"


def chunks_of(spec, size, fixed, how=PLAIN, **loading):
    loader = Loader(open_images(spec), how, (1, 3, how.crop or 4, how.crop or 4), size, Loading(**loading))
    return loader, image_chunks("data", loader, Batching(size, fixed))


def test_images_in_chunks(archive):
    spec, pixels = archive
    _, chunks = chunks_of(spec, 2, False)
    chunks = list(chunks)
    assert [chunk.images for chunk in chunks] == [2, 2, 1]
    fed = np.concatenate([chunk.feeds["data"] for chunk in chunks])
    np.testing.assert_array_equal(fed, pixels[..., ::-1].transpose(0, 3, 1, 2))


def test_images_in_a_fixed_batch_repeat_the_last(archive):
    _, (_, last) = chunks_of(archive[0], 4, True)
    assert last.images == 1 and last.feeds["data"].shape == (4, 3, 4, 4)
    np.testing.assert_array_equal(last.feeds["data"][3], last.feeds["data"][0])


def test_images_smaller_than_the_crop_are_skipped_unless_strict(archive, tmp_path):
    spec, _ = archive
    crop = Preprocessing(crop=5)
    with pytest.raises(ReadError, match="none of the 2 images could be read; the first: .*smaller than --crop 5"):
        list(chunks_of(spec, 2, False, crop, limit=2)[1])
    loader, chunks = chunks_of(png_and_text(tmp_path), 2, False)
    assert [chunk.images for chunk in chunks] == [1]
    assert len(loader.skipped) == 1 and "is not an image" in loader.skipped[0]
    with pytest.raises(ReadError, match="--strict: .*smaller than --crop 5"):
        list(chunks_of(spec, 2, False, crop, limit=2, strict=True)[1])
