"""Images from folders, lists, archives and LMDBs, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import Loader, Preprocessing, open_images, pictures
from deepmerge.data.lmdb import picture as picture_of
from deepmerge.data.mean_file import find_mean_file
from deepmerge.errors import ReadError, SourceError
from deepmerge.formats import schema

RNG = np.random.default_rng(8)
PIXELS = RNG.integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)  # 4 images of 7 × 5


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def jpeg(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


def read(spec, **options):
    images = open_images(spec)
    return images, list(pictures(images, **options))


@pytest.fixture
def folder(tmp_path):
    png(tmp_path / "dog" / "b.png", PIXELS[0])
    png(tmp_path / "cat" / "z.PNG", PIXELS[1])
    png(tmp_path / "dog" / "deep" / "a.png", PIXELS[2])
    (tmp_path / "dog" / "notes.txt").write_text("not an image, and not named as one")
    return tmp_path


def test_folder(folder):
    images, found = read(f"folder:{folder}")
    assert images.classes == ("cat", "dog") and images.count == 3
    assert [picture.name for picture in found] == [
        f"{folder}/{n}" for n in ("cat/z.PNG", "dog/b.png", "dog/deep/a.png")
    ]
    assert [picture.label for picture in found] == [0, 1, 1]
    for picture, index in zip(found, (1, 0, 2), strict=True):
        np.testing.assert_array_equal(picture.pixels, PIXELS[index])


def test_a_class_is_a_folders_place_among_all(folder):
    """Also where others hold no image, or are links; hidden folders are none."""
    png(folder / ".away" / "x.png", PIXELS[3])
    (folder / "bee").symlink_to(folder / ".away")
    (folder / "ant").mkdir()
    images, found = read(f"folder:{folder}")
    assert images.classes == ("ant", "bee", "cat", "dog")
    assert [picture.label for picture in found] == [1, 2, 3, 3]


def test_a_disks_lost_and_found_is_no_class(folder):
    """The file system makes it, and only root may read it. Further down it is a folder as any."""
    (folder / "lost+found").mkdir()
    png(folder / "dog" / "lost+found" / "x.png", PIXELS[3])
    png(folder / "mouse" / "x.png", PIXELS[3])
    images, found = read(f"folder:{folder}")
    assert images.classes == ("cat", "dog", "mouse") and [picture.label for picture in found] == [0, 1, 1, 1, 2]


def test_folder_without_classes(tmp_path):
    png(tmp_path / "a.png", PIXELS[0])
    images, (picture,) = read(f"folder:{tmp_path}")
    assert images.classes == () and picture.label is None


def test_list(folder):
    elsewhere = png(folder / "my photos" / "one two.png", PIXELS[3])
    lines = ["dog/b.png 7", "", f"{elsewhere} 12", "my photos/one two.png", "cat/z.PNG   3", "dog/b.png -1"]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    _, found = read(f"list:{folder / 'list.txt'}")
    assert [picture.label for picture in found] == [7, 12, None, 3, -1]
    for picture, index in zip(found, (0, 3, 3, 1, 0), strict=True):
        np.testing.assert_array_equal(picture.pixels, PIXELS[index])


def test_npz_of_pixels(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(4)[::-1], classes=["a", "b", "c", "d"])
    images, found = read(f"npz:{tmp_path / 'a.npz'}")
    assert images.classes == ("a", "b", "c", "d") and [picture.label for picture in found] == [3, 2, 1, 0]
    np.testing.assert_array_equal(np.stack([picture.pixels for picture in found]), PIXELS)


def test_npz_of_jpegs(tmp_path):
    files = [jpeg(p) for p in PIXELS]
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "a.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, labels=np.arange(4))
    _, found = read(f"npz:{tmp_path / 'a.npz'}")
    for index, picture in enumerate(found):
        assert picture.label == index
        np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(files[index]))))


def test_the_shared_images(shared):
    path = shared / "data" / "cifar10_test.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    images, found = read(f"npz:{path}", limit=5)
    assert images.count == 10000 and images.classes[0] == "airplane"
    assert all(picture.pixels.shape == (32, 32, 3) and 0 <= picture.label < 10 for picture in found)


def test_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    datum = schema.message_class("Datum")
    bgr = np.moveaxis(PIXELS[0][:, :, ::-1], 2, 0)
    grey = PIXELS[1][:, :, :1]
    records = [
        datum(channels=3, height=5, width=7, data=bgr.tobytes(), label=4),
        datum(channels=1, height=5, width=7, data=grey.tobytes(), label=5),
        datum(encoded=True, data=jpeg(PIXELS[2]), label=6),
        datum(channels=2, height=1, width=1, float_data=[0.5, 1]),
    ]
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        for index, record in enumerate(records):
            transaction.put(f"{index:08}".encode(), record.SerializeToString())
        transaction.put(b"9", b"\xff\xff\xff")
    skipped = []
    images, found = read(f"lmdb:{tmp_path / 'db'}", skipped=skipped)
    assert images.count == 5 and [picture.label for picture in found] == [4, 5, 6]
    np.testing.assert_array_equal(found[0].pixels, PIXELS[0])
    np.testing.assert_array_equal(found[1].pixels, grey)  # Caffe, too, takes it as one channel
    np.testing.assert_array_equal(found[2].pixels, np.asarray(Image.open(io.BytesIO(jpeg(PIXELS[2])))))
    assert "[00000003]: holds floats for 2×1×1" in skipped[0] and "[9]: is not a Datum" in skipped[1]


@pytest.mark.parametrize("channels", [1, 4])
def test_raw_datums_of_other_channels_end_the_run(tmp_path, channels):
    """As in Caffe; coded ones become colour."""
    lmdb = pytest.importorskip("lmdb")
    datum = schema.message_class("Datum")
    grey = io.BytesIO()
    Image.fromarray(PIXELS[0][:, :, 0]).save(grey, "PNG")
    records = [
        datum(encoded=True, data=grey.getvalue(), label=1),
        datum(channels=channels, height=5, width=7, data=bytes(35 * channels)),
    ]
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database, database.begin(write=True) as transaction:
        for index, record in enumerate(records):
            transaction.put(f"{index:08}".encode(), record.SerializeToString())
    images = open_images(f"lmdb:{tmp_path / 'db'}")
    batches = Loader(images, Preprocessing(), (1, 3, 5, 7), 1).once()
    assert (next(batches).data == PIXELS[0][:, :, 0]).all()
    text = rf"\[00000001\]: the image has {channels} channels?, and the network takes 3; make the data again"
    with pytest.raises(SourceError, match=text):
        next(batches)


def test_a_limit_is_spread_over_the_source(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 1, 1, 3), np.uint8), labels=np.arange(10))
    spec = f"npz:{tmp_path / 'a.npz'}"
    assert [picture.label for picture in read(spec, limit=4)[1]] == [0, 2, 5, 7]
    assert [picture.label for picture in read(spec, limit=99)[1]] == list(range(10))


def test_every_mode_becomes_rgb(tmp_path):
    grey = PIXELS[0][:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([PIXELS[0], grey])).save(tmp_path / "with_alpha.png")
    _, (one, other) = read(f"folder:{tmp_path}")
    np.testing.assert_array_equal(one.pixels, np.repeat(grey[:, :, None], 3, 2))
    np.testing.assert_array_equal(other.pixels, PIXELS[0])


@pytest.fixture
def damaged(tmp_path):
    png(tmp_path / "good.png", PIXELS[0])
    whole = jpeg(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "list.txt").write_text("good.png 1\nnot_there.png 2\n")
    return tmp_path


def test_what_cannot_be_read_is_left_out_and_told(damaged):
    skipped = []
    _, found = read(f"folder:{damaged}", skipped=skipped)
    assert [picture.name for picture in found] == [f"{damaged}/good.png"]
    assert [line.split(": ")[0] for line in skipped] == [f"{damaged}/{n}" for n in ("cut.jpg", "empty.jpg", "text.png")]
    assert "cannot be read as an image" in skipped[0] and "is not an image of a known format" in skipped[2]
    skipped = []
    read(f"list:{damaged / 'list.txt'}", skipped=skipped)
    assert skipped == ["not_there.png: no such file"]


def test_strict_stops_at_the_first(damaged):
    with pytest.raises(ReadError, match=r"--strict: .*cut\.jpg: cannot be read"):
        read(f"folder:{damaged}", strict=True)


def bad_npz(tmp_path, **arrays):
    np.savez(tmp_path / "bad.npz", **arrays)
    return f"npz:{tmp_path / 'bad.npz'}"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "neither `images`"),
        ({"images": np.zeros((2, 4, 4, 3), np.float32)}, r"`images` is \(2, 4, 4, 3\), float32"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, r"`images` is \(2, 3, 4, 4\), uint8"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "there are no images in it"),
        (
            {"images": np.zeros((2, 4, 4, 3), np.uint8), "labels": np.zeros(3)},
            r"`labels` is \(3,\), float64; there are 2 images, so give 2 integers",
        ),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0, 5, 10])}, "`offsets` does not divide `jpeg`, 9 bytes"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([5, 0])}, "`offsets` does not divide"),
        ({"images": np.array([{}])}, "cannot be read as an npz file"),
        ({"images": np.zeros((2, 0, 4, 3), np.uint8)}, "it must be N×H×W×3"),
        ({"images": np.zeros((1, 4, 4, 3), np.uint8), "labels": np.array(["cat"])}, "so give 1 integers"),
        ({"images": np.zeros((1, 4, 4, 3), np.uint8), "labels": np.array([np.nan])}, "holds a NaN"),
        ({"images": np.zeros((1, 4, 4, 3), np.uint8), "labels": np.array([1e19])}, "too large for a class"),
        ({"images": np.zeros((1, 4, 4, 3), np.uint8), "labels": np.array([1 << 63])}, "too large for a class"),
        ({"images": np.zeros((1, 4, 4, 3), np.uint8), "classes": np.array("cat")}, r"`classes` is \(\); give a list"),
        ({"jpeg": np.zeros(9, np.uint8), "offsets": np.array([np.nan, 1])}, "they must be uint8 and integers"),
    ],
)
def test_archives_of_something_else(tmp_path, arrays, message):
    with pytest.raises(ReadError, match=message):
        open_images(bad_npz(tmp_path, **arrays))


def test_archives_that_claim_more_than_they_hold(tmp_path, monkeypatch):
    """Neither a header nor a run of zeros that was packed tightly makes numpy ask for memory."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**3, 10**3, 3)}
    )
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with pytest.raises(ReadError, match="cannot be read as an npz file"):
        open_images(f"npz:{tmp_path / 'claim.npz'}")
    np.savez_compressed(tmp_path / "zeros.npz", images=np.zeros((10, 20, 20, 3), np.uint8))
    monkeypatch.setattr("deepmerge.data.npz.MAX_BYTES", 10_000)
    with pytest.raises(ReadError, match=r"holds 0.0 GB of arrays, more than 0.0; divide it, or give lmdb:PATH"):
        open_images(f"npz:{tmp_path / 'zeros.npz'}")


def test_images_that_claim_too_many_pixels(tmp_path):
    Image.new("1", (16_000, 16_000)).save(tmp_path / "bomb.png")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    (tmp_path / "list.txt").write_text("bomb.png\na.eps\n")
    skipped = []
    assert read(f"list:{tmp_path / 'list.txt'}", skipped=skipped)[1] == []
    assert "bomb.png: cannot be read as an image: " in skipped[0] and "could be decompression bomb" in skipped[0]
    assert "a.eps: is not an image of a known format" in skipped[1]


@pytest.mark.parametrize("shape", [(1, -1, -1), (3, 0, 0), (1, 2**31 - 1, 2**31 - 1)])
def test_datums_of_impossible_sizes(shape):
    datum = schema.message_class("Datum")(**dict(zip(("channels", "height", "width"), shape, strict=True)), data=b"1")
    with pytest.raises(ReadError, match="not the bytes of an image"):
        picture_of(datum.SerializeToString(), "datum")


def test_sources_that_are_none(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    cases = {
        "photos": "'photos' is not a source of images: give folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE",
        "zip:x": "'zip:x' is not a source",
        "folder:": "is not a source",
        str(tmp_path): f"did you mean folder:{tmp_path}",
        str(tmp_path / "text.npz"): "did you mean npz:",
        "hdf5:x.h5": "x.h5: no such file",
        f"hdf5:{tmp_path / 'empty.txt'}": "lists no HDF5 files",
        f"folder:{tmp_path / 'no'}": "no such folder",
        f"folder:{tmp_path / 'empty.txt'}": "is not a folder",
        f"folder:{tmp_path}": "there are no images in it",
        f"list:{tmp_path / 'no'}": "No such file",
        f"list:{tmp_path / 'empty.txt'}": "there are no images in it",
        f"list:{tmp_path / 'bytes.txt'}": "it is not text",
        f"npz:{tmp_path / 'no'}": "no such file",
        f"npz:{tmp_path}": "cannot be read as an npz file",
        f"npz:{tmp_path / 'text.npz'}": "cannot be read as an npz file",
        f"npz:{tmp_path / 'array.npy'}": "cannot be read as an npz file",
        f"lmdb:{tmp_path / 'no'}": "no such LMDB",
        f"lmdb:{tmp_path / 'empty.txt'}": "cannot be read as an LMDB",
    }
    for spec, message in cases.items():
        with pytest.raises(ReadError, match=message) as caught:
            open_images(spec)
        assert "\n" not in str(caught.value)


def test_names_that_no_file_can_have(tmp_path):
    (tmp_path / "list.txt").write_text(
        "a" * 5000 + ".png 1\n\0.png 2\n" + "b.png " + "9" * 5000 + "\n", encoding="utf-8"
    )
    skipped = []
    assert read(f"list:{tmp_path / 'list.txt'}", skipped=skipped)[1] == [] and len(skipped) == 3
    assert find_mean_file("m" * 5000, tmp_path) is None and find_mean_file("\0", tmp_path) is None


def test_16_bits_become_8_as_opencv_makes_them(tmp_path):
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000 + 200
    Image.fromarray(grey).save(tmp_path / "a.png")
    (picture,) = pictures(open_images(f"folder:{tmp_path}"), 1, [])
    assert np.array_equal(picture.pixels, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_lists_in_any_encoding(folder):
    names = ["caf\xe9.png", "next\x85line.png"]
    for name in names:
        os.rename(
            shutil.copy(next(folder.rglob("*.png")), folder / "copy.png"),
            os.fsencode(folder) + b"/" + name.encode("latin-1"),
        )
    lines = b"\xef\xbb\xbf" + b"".join(name.encode("latin-1") + b" 3\r\n" for name in names)
    (folder / "list.txt").write_bytes(lines)
    found = list(pictures(open_images(f"list:{folder / 'list.txt'}"), 2, skipped := []))
    assert skipped == [] and [one.label for one in found] == [3, 3]


def test_labels_are_whole_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=[1.0, 1.7])
    with pytest.raises(ReadError, match="no integer"):
        open_images(f"npz:{tmp_path / 'a.npz'}")
