"""The images of a job as real Caffe reads them.

Caffe's own data layers read `lmdb:`, `list:` and `hdf5:`; other images, and those of `list:` that are to be cropped,
are written as files with a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepmerge.data import (
    Images,
    ImageWishes,
    Preprocessing,
    choose_preprocessing,
    network_transform,
    open_images,
    pictures,
)
from deepmerge.data.resize import resize
from deepmerge.errors import ReadError
from deepmerge.formats.read.training import TrainingNet
from deepmerge.formats.write.data_layers import Source
from deepmerge.names import encoded
from deepmerge.train.shared.guards import writing

_OWN = ("lmdb", "list", "hdf5")  # Caffe reads these itself


@dataclass(frozen=True)
class CaffeData:
    """Images for one phase. count: of those that Caffe reads. skipped: why others could not be read, a line each."""

    source: Source
    count: int
    skipped: list[str] = field(default_factory=list)


def caffe_data(spec: str, folder: Path, seed: int, shuffle: bool, ways: Iterable[Preprocessing] = ()) -> CaffeData:
    """Return images that Caffe can read. Those of npz: and folder: are written into `folder`, shuffled if asked for.

    ways: how the networks prepare them. Caffe does so, except that it refuses images smaller than the crop: they are
    written enlarged, those of list: too.
    ReadError where there are none, or one has no label; TrainingError where they cannot be written.
    """
    kind = spec.partition(":")[0]
    images = open_images(spec)
    ways = () if images.ready else ways  # what the network is fed need not be a picture
    crop = max((how.crop for how in ways if how.enlarge and how.resize is None), default=0)
    if kind in _OWN and not (kind == "list" and crop):
        return CaffeData(Source.parse(spec), images.count)
    order = np.random.default_rng(seed).permutation(images.count) if shuffle else np.arange(images.count)
    skipped: list[str] = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = _written(images, folder, crop, skipped)
    if not lines:
        raise ReadError(f"none of the {images.count} images could be read; the first: {skipped[0]}", spec)
    chosen = [lines[place] for place in order if place < len(lines)]
    with writing(folder):
        (folder / "list.txt").write_bytes(encoded("".join(chosen)))
    return CaffeData(Source("list", str((folder / "list.txt").absolute())), len(chosen), skipped)


def _written(images: Images, folder: Path, crop: int, skipped: list[str]) -> list[str]:
    """Write every readable image as a PNG, smaller ones enlarged to the crop, and return the lines of the list.

    skipped: gets a line for each of the others.
    """
    from PIL import Image

    lines = []
    for number, picture in enumerate(pictures(images, skipped=skipped)):
        if picture.label is None:
            raise ReadError("has no label, and labels are needed", picture.name)
        name, pixels = f"{number:07d}.png", picture.pixels
        if min(pixels.shape[:2]) < crop:
            pixels = resize(pixels, crop, crop).round().astype(np.uint8)
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(folder / name)
        lines.append(f"{name} {picture.label}\n")
    return lines


def batch_shape(net: TrainingNet) -> tuple[int, ...]:
    """Return the shape of a batch of a network's images."""
    return next(shape for blob, shape in net.shapes.items() if blob.name == net.images)


def ways_of(nets: Sequence[TrainingNet], wishes: ImageWishes) -> Iterator[Preprocessing]:
    """Yield how each network's images are prepared, as its own data layer or the user says.

    ReadError where a network takes no images.
    """
    for net in nets:
        if len(shape := batch_shape(net)) != 4:
            text = f"images need an input of channels, height and width; {net.images!r} is {shape}"
            raise ReadError(text, net.file, remedy="give its values in hdf5:FILE")
        yield choose_preprocessing(network_transform(net.graph, net.file, net.phase), shape, wishes)[0]
