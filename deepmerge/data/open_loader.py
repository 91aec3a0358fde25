"""The one way from a source of images to a network's input.

loader, notes = open_loader("folder:photos", graph, prototxt, 64)

Commands that need more than one Loader take the two steps themselves:

found = open_network_images("folder:photos", graph)
how, notes = found.preprocessing(network_transform(graph, prototxt, "TRAIN"))
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.data.images import Images
from deepmerge.data.loader import Loader, Loading
from deepmerge.data.preprocess import ImageWishes, Preprocessing, choose_preprocessing
from deepmerge.data.sources import open_images
from deepmerge.data.transform import Transform, network_transform
from deepmerge.errors import ReadError
from deepmerge.graph.shapes import infer_shapes
from deepmerge.text import input_option

if TYPE_CHECKING:
    from deepmerge.graph import Graph
    from deepmerge.graph.shapes import Shape


@dataclass(frozen=True)
class NetworkImages:
    """Images for a network's only input. input, shape: the input's name and its shape, (N, C, H, W)."""

    source: Images
    input: str
    shape: Shape

    def preprocessing(
        self, transform: Transform, wishes: ImageWishes = ImageWishes(), train: bool = False
    ) -> tuple[Preprocessing, list[str]]:
        """Return what is done to the images, and notes for the user; see choose_preprocessing.

        train: mirroring is done, so the notes may say that a source that needs no preprocessing ignores --mirror.
        """
        if not self.source.ready:
            return choose_preprocessing(transform, self.shape, wishes)
        ignored = _given(wishes if train else replace(wishes, mirror=None))
        notes = [f"{self.source.spec} holds what the network is fed: {flag} does nothing" for flag in ignored]
        return Preprocessing(), notes


def open_network_images(spec: str, graph: Graph, remedy: str = "") -> NetworkImages:
    """Open the images of `spec` for the graph's only input.

    remedy: what the user can do if the network takes no images; it ends the message.
    Raises ReadError if there are no images, or the network takes none.
    """
    images = open_images(spec)
    if len(graph.inputs) != 1:
        names = ", ".join(blob.name for blob in graph.inputs)
        text = f"images feed one input, and network {graph.name!r} has {len(graph.inputs)} ({names})"
        raise ReadError(text, remedy=remedy)
    blob = graph.inputs[0]
    shape = infer_shapes(graph, strict=False)[blob]
    if shape is None:
        remedy = f"give it: {input_option(blob.name, (1, 3, None, None))}"
        raise ReadError(f"input {blob.name!r} has no shape", layer=blob.producer.name, remedy=remedy)
    if not images.ready and (len(shape) != 4 or shape[1] not in (1, 3)):
        text = f"images need an input of 3 channels (or 1), height and width; {blob.name!r} is {shape}"
        raise ReadError(text, remedy=remedy)
    return NetworkImages(images, blob.name, shape)


def open_loader(
    spec: str,
    graph: Graph,
    prototxt: Path,
    batch_size: int,
    wishes: ImageWishes = ImageWishes(),
    loading: Loading = Loading(),
) -> tuple[Loader, list[str]]:
    """Open the images of `spec` for the graph's only input; return them with notes for the user.

    The preprocessing is the network's own unless `wishes` say otherwise. prototxt: see network_transform.
    With `loading.train` the preprocessing is that of the TRAIN phase.
    Raises ReadError if there are no images, or the network takes none.
    """
    found = open_network_images(spec, graph)
    phase = "TRAIN" if loading.train else "TEST"
    preprocessing, notes = found.preprocessing(network_transform(graph, prototxt, phase), wishes, loading.train)
    return Loader(found.source, preprocessing, found.shape, batch_size, loading), notes


def _given(wishes: ImageWishes) -> list[str]:
    default = asdict(ImageWishes())
    return [f"--{name.replace('_', '-')}" for name, value in asdict(wishes).items() if value != default[name]]
