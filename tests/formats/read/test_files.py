"""Files that are not what they should be say what they are."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.files import MAX_TEXT, looks_like_text, map_file, read_text, walk
from deepmerge.formats.write.wire import block

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 53533754\n"
ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as archive:
    archive.writestr("net.prototxt", 'name: "net"')
TAR = io.BytesIO()
with tarfile.open(fileobj=TAR, mode="w") as archive:
    archive.addfile(tarfile.TarInfo("net.caffemodel"))
NPY = io.BytesIO()
np.save(NPY, np.arange(3))
HTML = "is an HTML page (a failed download?); download the file again"
HDF5 = "is an HDF5 file; give a protobuf file"
OTHERS = {
    "lfs": (LFS, "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    "gzip": (gzip.compress(b"name"), "is a gzip file; unpack it first"),
    "zip": (ZIP.getvalue(), "is a zip file; unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(32), HDF5),
    "html": (b"\n <!DOCTYPE html>\n<html><body>404", HTML),
    "lower": (b"<!doctype html>", HTML),
    "bare": (b"<HTML lang=en>", HTML),
    "comment": (b"\xef\xbb\xbf<!-- saved from -->\n<html>", HTML),
    "xml": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied',
        "is an XML page (a failed download?); download the file again",
    ),
    "bzip2": (bz2.compress(b"name"), "is a bzip2 file; unpack it first"),
    "xz": (lzma.compress(b"name"), "is an xz file; unpack it first"),
    "tar": (TAR.getvalue(), "is a tar file; unpack it first"),
    "numpy": (NPY.getvalue(), "is a NumPy file, not one of Caffe's"),
    "pickle": (pickle.dumps({"name": 1}, 2), "is a Python pickle (an old PyTorch file?), not one of Caffe's"),
    "empty": (b"", "is empty"),
}


POINTER = pytest.mark.pitfall("row", 12)


@pytest.mark.parametrize("read", [read_text, map_file])
@pytest.mark.parametrize(
    ("data", "message"),
    [pytest.param(*OTHERS[name], id=name, marks=POINTER if name == "lfs" else ()) for name in OTHERS],
)
def test_other_kinds(tmp_path, read, data, message):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("read", [read_text, map_file])
def test_nothing_to_read(tmp_path, read):
    with pytest.raises(ReadError) as caught:
        read(tmp_path / "missing")
    assert str(caught.value) == f"{tmp_path / 'missing'}: no such file"
    with pytest.raises(ReadError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a directory; give the file in it"
    with pytest.raises(ReadError, match="cannot be read: "):
        read("a\0b")
    with pytest.raises(ReadError, match="cannot be read: "):
        read(tmp_path / ("n" * 300))


@pytest.mark.parametrize("read", [read_text, map_file])
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path, read):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: may not be read (permission denied)"


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path):
        if path == str(tmp_path / "a/b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ReadError, match="a/b: may not be read"):
        list(walk(tmp_path))


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "a").mkdir()
    for link in ("link", "a/link"):
        (tmp_path / link).symlink_to(tmp_path)
    assert [os.path.relpath(root, tmp_path) for root, _, _ in walk(tmp_path)] == [".", "a", "link", "link/a"]


@pytest.mark.parametrize("data", [b"\n\x03net\xa2\x06\x00", b"a" * 100_000 + b"\0"])
def test_binary_is_no_text(tmp_path, data):
    path = tmp_path / "net.prototxt"
    path.write_bytes(data)
    with pytest.raises(ReadError) as caught:
        read_text(path)
    assert (
        str(caught.value)
        == f"{path}: is a binary file, not a prototxt; is it the caffemodel, given in the wrong place?"
    )


def test_utf16(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('name: "a"', encoding="utf-16")
    with pytest.raises(ReadError, match="is UTF-16 text; save it as UTF-8"):
        read_text(path)


def test_text_and_memory_are_the_file(tmp_path):
    path = tmp_path / "file"
    data = b"\xef\xbb\xbf" + 'name: "é"'.encode() + b"\xe9" + b"#" * 200_000
    path.write_bytes(data)
    assert read_text(path) == 'name: "é"\udce9' + "#" * 200_000
    assert bytes(map_file(path)) == data and map_file(path).readonly


def test_a_pipe_is_read_as_text():
    ours, theirs = os.pipe()
    os.write(theirs, b'name: "a"')
    os.close(theirs)
    assert read_text(f"/dev/fd/{ours}") == 'name: "a"'
    os.close(ours)


def test_a_pipe_cannot_be_a_caffemodel(tmp_path):
    """Nor is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ReadError) as caught:
            read_caffemodel(path)
        assert str(caught.value) == f"{path}: is a pipe or a device, not a file; save it as one"


def test_caffemodels_that_look_like_archives(tmp_path):
    """A network that is called BZhang-net, and one that has a tar file's letters where tar files have them."""
    for name, rest in ((b"BZhang-net", b""), (b"net", block(1, b"l" * 245 + b"ustar"))):
        path = tmp_path / "net.caffemodel"
        path.write_bytes(block(1, name) + block(100, rest))
        assert len(read_caffemodel(path)) == 1
    assert path.read_bytes()[257:262] == b"ustar"


def test_text_has_an_end(tmp_path):
    with pytest.raises(ReadError, match="is a binary file"):
        read_text("/dev/zero")
    (tmp_path / "net.prototxt").write_bytes(b"#" * (MAX_TEXT + 1))
    with pytest.raises(ReadError, match="is larger than 32 MB"):
        read_text(tmp_path / "net.prototxt")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'name: "a"\r\n\t# \xc3\xa9', True),
        ("é".encode() * 3000, True),
        (b"", True),
        (b"a\xe9b", False),
        (b"\n\x05abcde", False),
    ],
)
def test_looks_like_text(data, text):
    assert looks_like_text(memoryview(data)) is text
