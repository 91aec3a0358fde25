"""Write corpus/caffemodel: the weights of counterpart.prototxt in every form that caffemodels have.

python -m tests.fuzz.make_corpus
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmerge.formats import schema
from deepmerge.formats.write.wire import block, key, varint

FOLDER = Path(__file__).parent / "corpus" / "caffemodel"
SHAPES = {
    "conv": [(2, 1, 1, 2), (2,)],
    "bn": [(2,), (2,), (1,)],
    "scale": [(2,), (2,)],
    "prelu": [()],
    "fork": [(3, 1)],
    "fc": [(3, 32), (3,)],
}
TYPES = {
    "conv": "Convolution",
    "bn": "BatchNorm",
    "scale": "Scale",
    "prelu": "PReLU",
    "fork": "SomeForksLayer",
    "fc": "InnerProduct",
}
V1_TYPES = {"conv": 4, "fc": 14}
V0_TYPES = {"conv": "conv", "fc": "innerproduct"}


def values(shape) -> list[float]:
    return (np.arange(np.prod(shape)) / 8 + 1).tolist()


def modern(shape) -> dict:
    return {"shape": {"dim": shape}, "data": values(shape)}


def legacy(shape) -> dict:
    sizes = (1,) * (4 - len(shape)) + tuple(shape)
    return dict(zip(("num", "channels", "height", "width"), sizes, strict=True), data=values(shape))


def doubles(shape) -> dict:
    return {"shape": {"dim": shape}, "double_data": values(shape)}


def v2(blob, **more) -> bytes:
    layers = [
        {"name": n, "type": TYPES[n], "bottom": ["x"], "top": [n], "phase": 1, "blobs": list(map(blob, s))}
        for n, s in SHAPES.items()
    ]
    return schema.message_class("NetParameter")(name="counterpart", layer=layers, **more).SerializeToString()


def v1() -> bytes:
    layers = [
        {"name": n, "type": t, "bottom": ["x"], "top": [n], "blobs": list(map(legacy, SHAPES[n])), "blobs_lr": [1, 2]}
        for n, t in V1_TYPES.items()
    ]
    return schema.message_class("NetParameter")(name="v1", layers=layers).SerializeToString()


def v0() -> bytes:
    layers = [
        {"layer": {"name": n, "type": t, "blobs": list(map(legacy, SHAPES[n]))}, "bottom": ["x"], "top": [n]}
        for n, t in V0_TYPES.items()
    ]
    return schema.message_class("NetParameter")(name="v0", layers=layers).SerializeToString()


def by_hand() -> bytes:
    """What protobuf does not write: values one by one and in several chunks, sizes not packed, NVCaffe's half precision."""
    size = key(1, 0) + varint(2)
    pieces = block(7, size) + key(5, 5) + np.float32(1).tobytes() + block(5, np.float32(2).tobytes())
    half = block(7, size) + key(10, 0) + varint(2) + block(12, np.arange(2, dtype="<f2").tobytes())
    return block(100, block(1, b"scale") + block(2, b"Scale") + block(7, pieces) + block(7, half))


def nvcaffe() -> bytes:
    blobs = [modern((1, 2, 1, 1))] * 2 + [modern((1,))] + [modern((1, 2, 1, 1))] * 2
    return schema.message_class("NetParameter")(
        layer=[{"name": "bn", "type": "BatchNorm", "blobs": blobs}]
    ).SerializeToString()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = {"v2": v2(modern), "v2_legacy_sizes": v2(legacy), "v2_doubles": v2(doubles), "v1": v1(), "v0": v0()}
    for name, data in (made | {"by_hand": by_hand(), "nvcaffe": nvcaffe()}).items():
        (FOLDER / f"{name}.caffemodel").write_bytes(data)


if __name__ == "__main__":
    main()
