"""The names of blobs as ONNX tensors."""

from __future__ import annotations

from deepmerge.graph.graph import Blob, Graph
from deepmerge.names import for_onnx
from deepmerge.text import unused


def tensor_names(graph: Graph) -> dict[Blob, str]:
    """Return a tensor name for each blob; all differ.

    It is the blob's name if that is UTF-8, else `for_onnx` of it, or that and a number where a blob has that name.

    If a blob has several versions (layers in place), the last one keeps the name, as in pycaffe's net.blobs after a
    forward. A network input always keeps its name, since it is fed by it. The other versions are `name@1`, `name@2`, …
    """
    versions: dict[str, list[Blob]] = {}
    for blob in graph.blobs:
        versions.setdefault(blob.name, []).append(blob)
    names: dict[Blob, str] = {}
    for name, blobs in versions.items():
        fed = [b for b in blobs if b.producer is not None and b.producer.type == "Input"]
        names[(fed or blobs[::-1])[0]] = name
    taken = {name for name in versions if for_onnx(name) == name}
    for blob, name in names.items():
        if name not in taken:
            names[blob] = take(for_onnx(name), taken)
    for name, blobs in versions.items():
        for number, blob in enumerate(blobs, 1):
            if blob not in names:
                names[blob] = take(for_onnx(f"{name}@{number}"), taken)
    return {blob: names[blob] for blob in graph.blobs}


def take(name: str, taken: set[str]) -> str:
    """Return `name`, or `name_2`, `name_3`, … where that is taken, and add it to `taken`."""
    free = unused(name, taken)
    taken.add(free)
    return free
