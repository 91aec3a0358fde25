"""Batches: which images, in which order, the same ones again; what is kept, what is skipped, and what ends a run."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import Images, Loader, Loading, Picture, Preprocessing, open_images
from deepmerge.errors import ReadError, SourceError

PIXELS = np.random.default_rng(3).integers(0, 256, (10, 6, 5, 3), dtype=np.uint8)
SHAPE = (1, 3, 6, 5)


class Source:
    """Ten images; counts how often each was read. bad: those that cannot be."""

    def __init__(self, bad=(), labels=True, count=10):
        self.read_times, self.bad, self.labels = [0] * count, set(bad), labels
        self.images = Images("memory:x", count, self.read, ("a", "b"))

    def read(self, index):
        self.read_times[index] += 1
        if index in self.bad:
            raise ReadError("is broken", f"x[{index}]")
        return Picture(f"x[{index}]", PIXELS[index % 10], index if self.labels else None)


def loader(source, size=4, **options):
    how = options.pop("how", Preprocessing(channel_order="rgb"))
    return Loader(source.images, how, options.pop("shape", SHAPE), size, Loading(**options))


def order(batches) -> list[int]:
    return [label for batch in batches for label in batch.labels.tolist()]


def test_all_once_in_order():
    found = list(loader(Source()).once())
    assert [batch.data.shape for batch in found] == [(4, 3, 6, 5), (4, 3, 6, 5), (2, 3, 6, 5)] and order(found) == list(
        range(10)
    )
    assert found[0].labels.dtype == np.int64 and found[0].data.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([batch.data for batch in found]), np.moveaxis(PIXELS, 3, 1))


def test_epoch_after_epoch_each_in_an_order_of_its_own():
    one = loader(Source(), seed=5)
    row = order(one.batch(i) for i in range(15))  # six epochs
    epochs = [row[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and len(set(map(tuple, epochs))) == 6
    assert order(loader(Source(), seed=6).batch(i) for i in range(15)) != row
    assert order(loader(Source(), shuffle=False).batch(i) for i in range(5)) == [*range(10), *range(10)]


def test_a_batch_depends_on_the_seed_and_its_number_alone():
    how = Preprocessing(crop=4, mirror=True)
    options = {"how": how, "shape": (1, 3, 4, 4), "train": True, "seed": 9}
    one, other = loader(Source(), **options), loader(Source(), cache_bytes=0, **options)
    forward = [one.batch(i) for i in range(8)]
    backward = [other.batch(i) for i in reversed(range(8))][::-1]
    resumed = list(itertools.islice(loader(Source(), **options).batches(start=3), 5))
    for a, b in [*zip(forward, backward, strict=True), *zip(forward[3:], resumed, strict=True)]:
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.labels, b.labels)
    pictures = {
        index: [b.data[list(b.labels).index(index)] for b in forward if index in b.labels] for index in range(10)
    }
    assert any(len({array.tobytes() for array in arrays}) > 1 for arrays in pictures.values())  # crops differ


def test_a_batch_may_be_larger_than_the_source():
    batch = loader(Source(count=3), size=7, seed=1).batch(0)
    assert sorted(batch.labels.tolist()[:3]) == sorted(batch.labels.tolist()[3:6]) == [0, 1, 2]


def test_a_limit_is_spread_over_the_source():
    one = loader(Source(), limit=4)
    assert one.count == 4 and order(one.once()) == [0, 2, 5, 7] and sorted(order([one.batch(0)])) == [0, 2, 5, 7]
    assert loader(Source(), limit=99).count == 10


def test_decoded_once_as_far_as_there_is_room():
    source = Source()
    one = loader(source, cache_bytes=3 * PIXELS[0].nbytes)
    for _ in range(3):
        list(one.once())
    assert source.read_times == [1] * 3 + [3] * 7


def test_what_cannot_be_read_is_left_out_and_told_once():
    source = Source(bad=(3, 9))
    one = loader(source)
    assert order(one.once()) == [0, 1, 2, 4, 5, 6, 7, 8] and order(one.once())[-1] == 8
    assert one.skipped == ["x[3]: is broken", "x[9]: is broken"] and source.read_times[3] == 1
    row = loader(Source(bad=(3, 9)), shuffle=False)
    assert order(row.batch(i) for i in range(5)) == [0, 1, 2, 4, 4, 5, 6, 7, 8, 0] * 2  # the next one stands in
    with pytest.raises(ReadError, match=r"^--strict: x\[3\]: is broken$"):
        list(loader(Source(bad=(3, 9)), strict=True).once())


def test_nothing_can_be_read():
    for use in (lambda one: list(one.once()), lambda one: one.batch(0)):
        with pytest.raises(ReadError, match=r"^none of the 10 images could be read; the first: x\[0\]: is broken$"):
            use(loader(Source(bad=range(10))))


def test_labels():
    assert loader(Source()).has_labels and loader(Source(bad=(0, 1))).has_labels
    without = loader(Source(labels=False))
    assert not without.has_labels and without.batch(0).labels is None
    with pytest.raises(SourceError, match=r"^x\[0\]: has no label, and labels are needed"):
        list(loader(Source(labels=False), labelled=True).once())
    with pytest.raises(
        SourceError,
        match=r"^x\[7\]: label 7 is out of range: the network has 7 classes, 0 to 6; is it the right network",
    ):
        list(loader(Source(), classes=7).once())
    assert len(list(loader(Source(), classes=10).once())) == 3
    assert list(loader(Source(), 10, classes=9, ignored=9).once())[0].labels.tolist() == list(range(10))


def test_pictures_of_other_sizes_and_channels():
    with pytest.raises(ReadError, match=r"none of .*x\[0\]: the image is 5×6, and the network takes 7×6"):
        list(loader(Source(), shape=(1, 3, 6, 7)).once())
    with pytest.raises(
        SourceError, match=r"^x\[0\]: the image has 3 channels, and the network takes 4; make the data again$"
    ):
        list(loader(Source(), shape=(1, 4, 6, 5)).once())


def test_ready_arrays_are_fed_as_they_are():
    arrays = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    images = Images("x", 3, lambda i: Picture(f"x[{i}]", arrays[i]), ready=True)
    (batch,) = Loader(images, Preprocessing((9,), 9, crop=1, mirror=True), (1, 2, 4), 8, Loading(train=True)).once()
    np.testing.assert_array_equal(batch.data, arrays)
    with pytest.raises(
        SourceError, match=r"^x\[0\]: the array is 2×4, and the network takes 2×5; make the data again$"
    ):
        list(Loader(images, Preprocessing(), (1, 2, 5), 8).once())


@pytest.fixture
def folder(tmp_path):
    for index in range(40):
        file = tmp_path / "photos" / "ab"[index % 2] / f"{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[index % 10]).save(file)
    return tmp_path / "photos"


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_source_that_vanishes_in_the_middle(folder, kind):
    (folder.parent / "list.txt").write_text("".join(f"photos/{'ab'[i % 2]}/{i:02}.png {i % 2}\n" for i in range(40)))
    images = open_images(f"folder:{folder}" if kind == "folder" else f"list:{folder.parent / 'list.txt'}")
    one = Loader(images, Preprocessing(), SHAPE, 2, Loading(cache_bytes=0))
    batches = one.batches()
    next(batches)
    folder.rename(folder.with_name("elsewhere"))  # at once; what is deleted bit by bit is a few bad images first
    with pytest.raises(
        SourceError, match=r"the images are no longer there \(.*no such file\); bring them back, and start again"
    ):
        for _ in range(40):
            next(batches)
    assert one.skipped == []


def test_one_class_that_vanishes_is_a_few_bad_images(folder):
    one = Loader(open_images(f"folder:{folder}"), Preprocessing(), SHAPE, 8)
    shutil.rmtree(folder / "a")
    assert sum(len(batch.data) for batch in one.once()) == 20 and len(one.skipped) == 20


def test_what_is_kept_needs_its_source_no_more(folder):
    one = Loader(open_images(f"folder:{folder}"), Preprocessing(), SHAPE, 8)
    list(one.once())
    shutil.rmtree(folder)
    assert len(list(one.once())) == 5
