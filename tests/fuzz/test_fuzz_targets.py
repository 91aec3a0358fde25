"""The fuzz targets' checks hold for the corpus, and for a few changes to it; `make fuzz` tries millions."""

from __future__ import annotations

import importlib
import random

import pytest

from tests.fuzz.fuzzing import HERE
from tests.fuzz.run import TARGETS

CORPUS = {name: sorted((HERE / "corpus" / name).iterdir()) for name in TARGETS}


@pytest.fixture(scope="module", params=CORPUS)
def target(request):
    return request.param, importlib.import_module(f"tests.fuzz.fuzz_{request.param}").target()


def test_corpus(target):
    name, check = target
    assert len(CORPUS[name]) >= 7
    for path in CORPUS[name]:
        check(path.read_bytes())


def test_changes(target):
    """Bytes changed, taken out and moved, as a fuzzer does it."""
    name, check = target
    chance = random.Random(11)
    for path in CORPUS[name]:
        for _ in range(6):
            data = bytearray(path.read_bytes())
            for _ in range(chance.randrange(1, 4)):
                at, size = chance.randrange(len(data)), chance.randrange(1, 9)
                piece = data[at : at + size]
                data[at : at + size] = chance.choice([b"", piece * 3, chance.randbytes(1)])
                data = data or bytearray(b"\n")
            check(bytes(data))


def test_the_corpus_is_what_its_script_makes(tmp_path, monkeypatch):
    from tests.fuzz import make_corpus

    monkeypatch.setattr(make_corpus, "FOLDER", tmp_path)
    make_corpus.main()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in CORPUS["caffemodel"]
    }
