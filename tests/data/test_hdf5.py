"""Arrays and pictures in HDF5 files, and lists of them; what Caffe's HDF5Data makes of the same files is the judge."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.data import Loader, Loading, Preprocessing, open_images, pictures
from deepmerge.errors import ReadError, SourceError

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(6)
DATA = RNG.normal(size=(5, 3, 4, 6)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1, 3], np.float32)  # Caffe has floats


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array
    return path


def test_what_caffe_is_fed(tmp_path):
    path = write(tmp_path / "a.h5", data=DATA, label=LABELS[:, None])
    images = open_images(f"hdf5:{path}")
    assert images.ready and images.count == 5
    found = list(pictures(images))
    assert [one.label for one in found] == [2, 0, 1, 1, 3] and found[4].name == f"{path}[4]"
    np.testing.assert_array_equal(np.stack([one.pixels for one in found]), DATA)
    (batch,) = Loader(images, Preprocessing((100,), 7), (1, 3, 4, 6), 9, Loading(classes=4)).once()
    np.testing.assert_array_equal(batch.data, DATA)


@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.int32, np.float32])
def test_whatever_its_type(tmp_path, dtype):
    values = RNG.integers(0, 200, (2, 1, 3, 3)).astype(dtype)
    (one, other) = pictures(open_images(f"hdf5:{write(tmp_path / 'a.h5', data=values)}"))
    assert one.pixels.dtype == np.float32 and one.label is None
    np.testing.assert_array_equal(other.pixels, values[1])


def test_pictures_are_preprocessed(tmp_path):
    pixels = RNG.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    images = open_images(f"hdf5:{write(tmp_path / 'a.h5', images=pixels, labels=np.arange(3))}")
    assert not images.ready
    (batch,) = Loader(images, Preprocessing((1, 2, 3), 0.5), (1, 3, 5, 7), 4).once()
    np.testing.assert_allclose(
        batch.data, (np.moveaxis(pixels[..., ::-1], 3, 1) - np.array([1, 2, 3])[:, None, None]) * 0.5
    )
    assert batch.labels.tolist() == [0, 1, 2]


def test_a_list_of_files(tmp_path, monkeypatch):
    write(tmp_path / "a.h5", data=DATA[:2], label=LABELS[:2])
    (tmp_path / "more").mkdir()
    write(tmp_path / "more" / "b.h5", data=DATA[2:], label=LABELS[2:])
    (tmp_path / "list.txt").write_text("a.h5\n\nmore/b.h5\n")
    for folder in (tmp_path, tmp_path / "more"):  # from the current folder, or from the list's
        monkeypatch.chdir(folder)
        images = open_images(f"hdf5:{tmp_path / 'list.txt'}")
        assert images.count == 5
        np.testing.assert_array_equal(np.stack([images.read(i).pixels for i in range(5)]), DATA)
        assert [images.read(i).label for i in range(5)] == [2, 0, 1, 1, 3]


def test_labels_that_are_no_classes(tmp_path):
    for index, labels in enumerate(
        (LABELS + 0.5, np.stack([LABELS, LABELS], 1), np.full(5, np.nan), np.full(5, np.inf))
    ):
        images = open_images(f"hdf5:{write(tmp_path / f'{index}.h5', data=DATA, label=labels)}")
        assert images.read(0).label is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": DATA}, "has neither `data` .* nor `images`"),
        ({"data/0": DATA}, "/data is not a data set of numbers"),
        ({"data": np.array([b"text"])}, "/data is not a data set of numbers"),
        ({"data": np.zeros(4)}, r"/data is \(4,\); it must have images along the first axis"),
        ({"data": np.zeros((4, 0, 2))}, "and values in each"),
        ({"images": DATA}, r"`images` is \(5, 3, 4, 6\), float32; it must be N×H×W×3, uint8, RGB"),
        ({"data": DATA, "label": LABELS[:4]}, "its labels are not one number for each of 5 images"),
        ({"data": DATA, "label/x": LABELS}, "its labels are not one number for each of 5 images"),
        ({"data": DATA[:0]}, "there are no images in it; `data` or `images` is empty"),
    ],
)
def test_files_of_something_else(tmp_path, arrays, message):
    with pytest.raises(ReadError, match=message) as caught:
        open_images(f"hdf5:{write(tmp_path / 'a.h5', **arrays)}")
    assert str(caught.value).startswith(str(tmp_path / "a.h5")) and "\n" not in str(caught.value)


def test_lists_of_something_else(tmp_path):
    path = tmp_path / "list.txt"
    write(tmp_path / "a.h5", data=DATA, label=LABELS)
    write(tmp_path / "b.h5", data=DATA[:, :2], label=LABELS)
    write(tmp_path / "c.h5", data=DATA)
    (tmp_path / "damaged.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:300])
    for text, message in {
        "no.h5": "lists 'no.h5', which is not there",
        "list.txt": "is not an HDF5 file",
        "a.h5\nb.h5": "b.h5: holds `data`, N×2×4×6, and .*a.h5 `data`, N×3×4×6; they must be alike",
        "a.h5\nc.h5": "c.h5: either it or .*a.h5 has no labels",
        "damaged.h5": "damaged.h5: cannot be read as an HDF5 file",
        "\n": "lists no HDF5 files",
    }.items():
        path.write_text(text)
        with pytest.raises(ReadError, match=message):
            open_images(f"hdf5:{path}")
    with pytest.raises(ReadError, match="no such file"):
        open_images(f"hdf5:{tmp_path / 'nothing'}")
    with pytest.raises(ReadError, match="x.h5' is not a source of images; did you mean hdf5:.*x.h5?"):
        open_images(str(write(tmp_path / "x.h5", data=DATA)))


def test_values_that_can_no_longer_be_read(tmp_path):
    """A damaged chunk: its checksum says so."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=DATA, chunks=(1, 3, 4, 6), fletcher32=True)
        offset = file["data"].id.get_chunk_info(3).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[offset + 5] ^= 255
    (tmp_path / "a.h5").write_bytes(data)
    images = open_images(f"hdf5:{tmp_path / 'a.h5'}")
    images.read(2)
    with pytest.raises(SourceError, match=r"a\.h5: can no longer be read, or is damaged"):
        images.read(3)


def test_without_h5py(tmp_path, monkeypatch):
    import sys

    write(tmp_path / "a.h5", data=DATA)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ReadError, match=r"a\.h5: is an HDF5 file, and reading it needs h5py: `pip install 'deepmerge-caffe\[h5\]'`"
    ):
        open_images(f"hdf5:{tmp_path / 'a.h5'}")


def test_it_is_what_caffes_hdf5_layer_feeds(tmp_path, worker):
    write(tmp_path / "a.h5", data=DATA[:2], label=LABELS[:2])
    write(tmp_path / "b.h5", data=DATA[2:], label=LABELS[2:])
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n{tmp_path}/b.h5\n")
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 5 }} }}'
        'layer { name: "silent" type: "Power" bottom: "data" top: "x" } layer { name: "l" type: "Power" bottom: "label" top: "y" }'
    )
    with worker.load(tmp_path / "net.prototxt") as session:
        theirs = session.forward({}, ["x", "y"])
    (batch,) = Loader(open_images(f"hdf5:{tmp_path / 'list.txt'}"), Preprocessing(), (1, 3, 4, 6), 5).once()
    np.testing.assert_array_equal(batch.data, theirs["x"])
    np.testing.assert_array_equal(batch.labels, theirs["y"])
