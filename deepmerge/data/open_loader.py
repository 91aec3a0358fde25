"""From a source's name and a network to a Loader: the preprocessing is the network's own, where nobody says otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.data.images import Images
from deepmerge.data.loader import Loader
from deepmerge.data.preprocess import Preprocessing, choose_preprocessing
from deepmerge.data.sources import open_images
from deepmerge.errors import ReadError
from deepmerge.formats.read.network import read_tree
from deepmerge.graph.shapes import infer_shapes

if TYPE_CHECKING:
    from deepmerge.graph import Graph
    from deepmerge.graph.shapes import Shape

GUESS = "deepmerge's guess"  # stands in the first lines of a train_val.prototxt whose data layers nobody has given


@dataclass(frozen=True)
class ImageWishes:
    """What the user says about preprocessing; None: as the network says. See choose_preprocessing."""

    mean: tuple[float, ...] | None = None
    scale: float | None = None
    resize: tuple[int, int] | None = None
    crop: int | None = None
    channel_order: str = "bgr"
    mirror: bool | None = None


def open_loader(
    spec: str, graph: Graph, prototxt: Path, batch_size: int, wishes: ImageWishes = ImageWishes(), *,
    train: bool = False, **options: Any,
) -> tuple[Loader, list[str]]:  # fmt: skip
    """The images of `spec` for the graph's only input, and what to tell the user.

    prototxt: the graph's; beside a deploy.prototxt, a train_val.prototxt says what its data layers do, as in what convert
    writes. options: Loader's. train: the TRAIN phase's transform_param, with random crops and mirroring.
    ReadError where there are no images, or the network takes none.
    """
    images = open_images(spec)
    name, shape = image_input(graph, images)
    if images.ready:
        useless = _given(
            wishes if train else replace(wishes, mirror=None)
        )  # what --mirror is in a test is not done here
        notes = [f"{spec} holds what the network is fed: {flag} does nothing" for flag in useless]
        return Loader(images, Preprocessing(), shape, batch_size, train=train, **options), notes
    preprocessing, notes = preprocessing_of(graph, prototxt, shape, wishes, "TRAIN" if train else "TEST")
    return Loader(images, preprocessing, shape, batch_size, train=train, **options), notes


def preprocessing_of(
    graph: Graph, prototxt: Path, shape: Shape, wishes: ImageWishes = ImageWishes(), phase: str = "TEST"
) -> tuple[Preprocessing, list[str]]:
    """What is done to pictures for this network, read from these files; see open_loader."""
    guessed = False
    beside = Path(prototxt).with_name("train_val.prototxt")
    if not graph.train_layers and Path(prototxt).name == "deploy.prototxt" and beside.is_file():
        graph = graph.copy()
        graph.train_layers = list(read_tree(beside)[0].values("layer"))  # shapes are the deploy's affair
        guessed = GUESS in "".join(beside.read_text(errors="replace").splitlines()[:3])
    return choose_preprocessing(
        graph, shape, **asdict(wishes), folder=Path(prototxt).parent, phase=phase, guessed=guessed
    )


def image_input(graph: Graph, images: Images | None = None) -> tuple[str, Shape]:
    """The graph's only input and its shape, if images can go there; else ReadError."""
    if len(graph.inputs) != 1:
        names = ", ".join(blob.name for blob in graph.inputs)
        raise ReadError(f"images feed one input, and the network has {len(graph.inputs)} ({names})")
    blob = graph.inputs[0]
    shape = infer_shapes(graph, strict=False)[blob]
    if images is not None and images.ready:
        return blob.name, shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ReadError(f"images want an input of 3 channels (or 1), height and width; {blob.name!r} is {shape}")
    return blob.name, shape


def _given(wishes: ImageWishes) -> list[str]:
    default = asdict(ImageWishes())
    return [f"--{name.replace('_', '-')}" for name, value in asdict(wishes).items() if value != default[name]]
