"""LMDBs, which the LMDB library writes, are read as it reads them; damaged ones are refused and end nothing."""

from __future__ import annotations

import random

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.lmdb_file import LmdbFile

lmdb = pytest.importorskip("lmdb")


def written(folder, count: int, size: int) -> dict[bytes, bytes]:
    """`count` records of up to `size` bytes, put in at random, some taken out again."""
    chance = random.Random(count)
    keys = [f"{i:08}_{'x' * chance.randrange(100)}".encode() for i in range(count)]
    records = {key: chance.randbytes(chance.randrange(size + 1)) for key in keys}
    chance.shuffle(keys)
    with lmdb.open(str(folder), map_size=1 << 28) as database:
        with database.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key, records[key])
        with database.begin(write=True) as transaction:
            for key in keys[::7]:
                transaction.delete(key)
                del records[key]
    return records


@pytest.mark.parametrize(("count", "size"), [(0, 0), (2, 10), (50, 3000), (2000, 20), (60, 50_000)])
def test_records(tmp_path, count, size):
    records = written(tmp_path, count, size)
    for path in (tmp_path, tmp_path / "data.mdb"):
        found = LmdbFile(path)
        assert [found[i] for i in range(len(found))] == sorted(records.items())


def test_damaged_files(tmp_path):
    """Bytes changed, and the end cut off: what is read is inside of the file, or an error."""
    written(tmp_path, 300, 200)
    path, chance, refused = tmp_path / "data.mdb", random.Random(1), 0
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole[: chance.choice([len(whole), chance.randrange(1, len(whole))])])
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(min(len(data), 20_000))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            found = LmdbFile(path)
            for index in range(len(found)):
                found[index]
        except ReadError as error:
            assert "cannot be read as an LMDB" in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("data", [b"text", bytes(8192), b"\xff" * 8192])
def test_other_files(tmp_path, data):
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(ReadError, match="cannot be read as an LMDB: it is .*; make it again with convert_imageset"):
        LmdbFile(tmp_path)


def test_a_tree_that_is_none(tmp_path):
    """A branch page that leads back to itself has an end."""
    written(tmp_path, 2000, 20)
    data = bytearray((tmp_path / "data.mdb").read_bytes())
    size = len(data) // 4096
    branches = [page for page in range(2, size) if data[page * 4096 + 10] & 0xF == 1]
    for page in branches:
        first = int.from_bytes(data[page * 4096 + 16 : page * 4096 + 18], "little")
        data[page * 4096 + first : page * 4096 + first + 6] = page.to_bytes(6, "little")
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(ReadError, match="is not a part of the tree"):
        LmdbFile(tmp_path)
