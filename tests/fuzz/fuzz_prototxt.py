"""Any bytes as a prototxt, without and with sizes of inputs: a network or a reader's error, and text → tree → text is the identity."""

from __future__ import annotations

from zlib import crc32

from tests.fuzz import fuzzing


def target() -> fuzzing.Check:
    from deepmerge.errors import ReadError
    from deepmerge.formats.read.files import read_text
    from deepmerge.formats.read.prototxt import parse
    from deepmerge.formats.write.prototxt import format_tree

    path = fuzzing.scratch() / "net.prototxt"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        fuzzing.read(path)
        fuzzing.read(path, inputs=fuzzing.SIZES[crc32(data) % len(fuzzing.SIZES)])
        if crc32(data) % 8:
            return  # the rest takes long, and finds little
        try:
            text = format_tree(parse(read_text(path), path))
            assert format_tree(parse(text)) == text
        except ReadError as error:
            fuzzing.check_message(error)

    return check


if __name__ == "__main__":
    fuzzing.main(target, text=True)
