"""The values in an LMDB, read in place: its pages are a B+ tree of keys.

The LMDB library trusts the pages, and a damaged file ends its process; here every offset is checked first.
Format: lmdb.h and mdb.c of OpenLDAP, version 1.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.read.files import map_file

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<IIQQ")  # magic, version, address, size of the map
_DATABASE = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, branch, leaf and overflow pages, entries, root
_PAGE = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
_NODE = struct.Struct("<HHHH")  # size of the data (or a page's number), low and high; flags; size of the key
_BRANCH, _LEAF, _IS_META = 1, 2, 8
_BIG = 1  # the data is on pages of its own
_NONE = 2**64 - 1


class LmdbFile:
    """The records of an LMDB's main database, in the order of their keys. ReadError if the file is damaged.

    most: how many of the first records are wanted; None for all. The rest of the tree is not walked.
    """

    def __init__(self, path: Path, most: int | None = None):
        self.path = path / "data.mdb" if path.is_dir() else path
        self.data = map_file(self.path)
        self.page_size, root = self._root()
        self.nodes = array("Q")  # where each record's node is
        if root != _NONE:
            self._collect(root, most)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: int) -> tuple[bytes, bytes]:
        """Return the key and the value of a record."""
        at = self.nodes[index]
        low, high, flags, key_size = self._unpack(_NODE, at)
        size, at = low | high << 16, at + _NODE.size
        key, at = self._bytes(at, key_size), at + key_size
        if flags & ~_BIG:
            raise self._damaged("several values under one key, or a database in it, which Caffe does not write")
        if flags & _BIG:
            at = struct.unpack("<Q", self._bytes(at, 8))[0] * self.page_size + _PAGE.size
        return key, self._bytes(at, size)

    def _damaged(self, what: str) -> ReadError:
        return ReadError(f"cannot be read as an LMDB: {what}; make it again with convert_imageset", self.path)

    def _bytes(self, at: int, size: int) -> bytes:
        if at + size > len(self.data):
            raise self._damaged(f"it is cut short (byte {at + size} of {len(self.data)})")
        return bytes(self.data[at : at + size])

    def _unpack(self, form: struct.Struct, at: int) -> tuple:
        return form.unpack(self._bytes(at, form.size))

    def _root(self) -> tuple[int, int]:
        """Return the size of a page and the number of the tree's first page, from the newer of the two meta pages."""
        page_size, *first = self._meta(0)
        if page_size & (page_size - 1) or not 512 <= page_size <= 1 << 16:
            raise self._damaged(f"pages of {page_size} bytes")
        _, *second = self._meta(page_size)
        return page_size, max(first, second)[1]

    def _meta(self, start: int) -> tuple[int, int, int]:
        """Return the size of a page, the transaction's number and the main database's first page."""
        flags = self._unpack(_PAGE, start)[2]
        magic, version = self._unpack(_META, start + _PAGE.size)[:2]
        if magic != _MAGIC or not flags & _IS_META:
            raise self._damaged("it is another kind of file")
        if version != _VERSION:
            raise self._damaged(f"its format's version is {version}, not {_VERSION}")
        at = start + _PAGE.size + _META.size
        free, main = (self._unpack(_DATABASE, at + i * _DATABASE.size) for i in range(2))
        transaction = struct.unpack("<8xQ", self._bytes(at + 2 * _DATABASE.size, 16))[0]
        return free[0], transaction, main[-1]

    def _collect(self, root: int, most: int | None) -> None:
        """Collect the nodes of all leaves, from the left. A page can only be in a tree once."""
        waiting, left = [root], len(self.data) // self.page_size
        while waiting and (most is None or len(self.nodes) < most):
            start = waiting.pop() * self.page_size
            left -= 1
            _, _, flags, lower, _ = self._unpack(_PAGE, start)
            count = (lower - _PAGE.size) // 2
            if left < 0 or not 0 < count <= self.page_size // 2 or flags & 0xF not in (_BRANCH, _LEAF):
                raise self._damaged(f"the page at byte {start} is not a part of the tree")
            places = struct.unpack(f"<{count}H", self._bytes(start + _PAGE.size, 2 * count))
            if flags & _LEAF:
                self.nodes.extend(start + place for place in places)
            else:
                children = (self._unpack(_NODE, start + place) for place in reversed(places))
                waiting.extend(low | high << 16 | top << 32 for low, high, top, _ in children)
