"""Any bytes as the caffemodel of a network: its weights or a reader's error, and bytes → blobs → bytes keeps every value."""

from __future__ import annotations

from tests.fuzz import fuzzing


def target() -> fuzzing.Check:
    import numpy as np

    from deepmerge.errors import ReadError
    from deepmerge.formats.read.caffemodel import read_caffemodel
    from deepmerge.formats.write.caffemodel import write_caffemodel
    from deepmerge.graph import Graph, Layer

    folder = fuzzing.scratch()
    path, again = folder / "net.caffemodel", folder / "again.caffemodel"
    fuzzing.read(fuzzing.HERE / "counterpart.prototxt")

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            stored = read_caffemodel(path)
        except ReadError as error:
            fuzzing.check_message(error)
            return
        size = sum(blob.nbytes for layer in stored for blob in layer.blobs if blob is not None)
        assert size <= 4 * len(data), f"{size} bytes of weights from {len(data)}"
        layers = [Layer(x.name, x.type, weights=[b for b in x.blobs if b is not None]) for x in stored]
        write_caffemodel(Graph("net", layers), again)
        for one, other in zip(layers, read_caffemodel(again), strict=True):
            assert one.name == other.name and one.type == other.type
            for blob, copy in zip(one.weights, other.blobs, strict=True):
                np.testing.assert_array_equal(blob, copy)
        fuzzing.read(fuzzing.HERE / "counterpart.prototxt", path)

    return check


if __name__ == "__main__":
    fuzzing.main(target)
