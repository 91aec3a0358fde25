import json

import pytest

from deepmerge.errors import ReadError
from deepmerge.zoo.index import is_index, read_parts
from deepmerge.zoo.run import check_places

ENTRY = {"version": 1, "number": 1, "name": "a", "folder": "a", "status": "converted"}


def test_an_index_of_another_version_is_a_zoos_and_is_made_anew(tmp_path):
    """All that it says is in the models' folders."""
    (tmp_path / "index.jsonl").write_text(json.dumps(ENTRY | {"version": 2, "new": []}) + "\n")
    check_places(tmp_path, [])


def test_a_part_of_another_version_is_not_joined(tmp_path):
    for number in (1, 2):
        (tmp_path / f"index-{number}-of-2.jsonl").write_text(json.dumps(ENTRY | {"version": number}) + "\n")
    with pytest.raises(ReadError, match=r"index-2-of-2.jsonl:1: is not a line of an index .*; run that shard again$"):
        read_parts(tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "[]", "text", "\xff", "[" * 10**5, *({**ENTRY, key: []} for key in ENTRY)])
def test_what_is_no_index(tmp_path, text):
    """An empty one is that of a shard without models."""
    file = tmp_path / "index.jsonl"
    file.write_bytes((text if isinstance(text, str) else json.dumps(text)).encode("latin-1"))
    assert is_index(file) == (text == "")
    assert not is_index(tmp_path) and not is_index(tmp_path / "none")
