"""What the fuzz targets share: how one is run under Atheris, and what a reader may return.

python -m tests.fuzz.fuzz_prototxt [libFuzzer's options] tests/fuzz/corpus/prototxt
"""

from __future__ import annotations

import atexit
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

Check = Callable[[bytes], None]
HERE = Path(__file__).parent
SIZES = (
    {"data": (3, 8, 8)},
    {"data": (2, 3, 64, 48)},
    {"data": (1,)},
    {"data": (2, 5), "label": (2,)},
    {"input": (1,) * 32},
)


def scratch() -> Path:
    """A folder for the inputs, since readers take files."""
    folder = Path(tempfile.mkdtemp(prefix="deepmerge-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def read(*files: Path, inputs=None):
    """The network of these files, with all that `inspect` works out about it; None where a reader refuses them.

    inputs: sizes as --input gives them.

    Any other exception than a reader's own, and a message that is not one line for a terminal, goes through.
    """
    from deepmerge.errors import GraphError, ReadError
    from deepmerge.formats.read import read_network
    from deepmerge.graph.costs import layer_costs, shapes_of_one, summary

    try:
        graph = read_network(*files, inputs=inputs)
        shapes = shapes_of_one(graph)
        layer_costs(graph, shapes)
        summary(graph, shapes)
    except (ReadError, GraphError) as error:  # a ShapeError is a GraphError
        check_message(error)
        return None
    return graph


def check_message(error: Exception) -> None:
    text = str(error)
    assert text.isprintable() and len(text) < 2500, f"no line to show: {text[:3000]!r}"


def words() -> tuple[list[str], list[str]]:
    """Layer types; and names of fields and enum values: what a prototxt is made of."""
    from deepmerge.formats import schema
    from deepmerge.formats.read.forks import MESSAGES
    from deepmerge.graph.types import TYPES

    found, messages = set(), ["NetParameter"]
    for message in messages:
        for field in schema.fields(message).values():
            found.add(field.name)
            if field.kind == "message" and field.type_name not in messages:
                messages.append(field.type_name)
            if field.kind == "enum":
                found.update(schema.enum_values(field.type_name))
    for name, fields in MESSAGES.items():
        found.update((name, *fields))
    return sorted(TYPES), sorted(found)


_TOKEN = re.compile(rb"[A-Za-z0-9_.+-]+|[^A-Za-z0-9_.+-]")
_NUMBERS = b"0 1 2 3 -1 7 1e9 2147483647 4294967295 9223372036854775807 18446744073709551616 0.5 -0.0 1e-45 1e39 nan inf 1.f 010".split()


def mutator() -> Callable[[bytes, int, int], bytes]:
    """Changes of text as text: numbers and words become others; words and lines go, come twice, change places, and come
    from other files of the corpus.
    """
    import atheris

    types, known = (list(map(str.encode, one)) for one in words())
    lines = [
        line for path in sorted((HERE / "corpus/prototxt").iterdir()) for line in path.read_bytes().splitlines(True)
    ]

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.4:
            return atheris.Mutate(data, max_size)
        for _ in range(chance.randrange(1, 4)):
            parts = data.splitlines(True) if chance.random() < 0.3 else _TOKEN.findall(data)
            if not parts:
                return atheris.Mutate(data, max_size)
            at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
            kind = chance.randrange(8)
            if kind == 0:
                parts[at : at + 1] = []
            elif kind == 1:
                parts.insert(other, parts[at])
            elif kind == 2:
                parts[at], parts[other] = parts[other], parts[at]
            elif kind == 3:
                data = b"".join(data.splitlines(True)[: chance.randrange(30)]) + chance.choice(lines)
                continue
            else:
                places = [i for i, part in enumerate(parts) if part[:1].isalnum() and part[:1].isdigit() == (kind < 6)]
                if places:
                    parts[chance.choice(places)] = chance.choice(_NUMBERS if kind < 6 else types if kind < 7 else known)
            data = b"".join(parts)
        return data[:max_size]

    return mutate


def main(target: Callable[[], Check], text: bool = False) -> None:
    """Fuzz until libFuzzer's options end it.

    target: imports what it tests, and returns the check. text: whether the input is text, and is mutated as such.
    """
    import atheris

    with atheris.instrument_imports(include=["deepmerge"]):
        check = target()
    more = {"custom_mutator": mutator()} if text else {}
    atheris.Setup(sys.argv, check, **more)
    atheris.Fuzz()
