"""The weights that a network of a stage starts from, in either engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.fillers import fill
from deepmerge.formats.read.training import TrainingNet
from deepmerge.formats.read.weights import Weights, load_weights


def load_start(net: TrainingNet, starts: Sequence[Path | Weights], seed: int) -> list[str]:
    """Load the first file's weights, then the others' where they fit; fill the rest. Returns notes for the user."""
    load_weights(net.graph, starts[0], net.shapes)
    later = {layer.name for file in starts[1:] for layer in read_caffemodel(file) if layer.blobs}
    notes = fill(net.graph, net.shapes, seed, later)
    for file in starts[1:]:
        load_weights(net.graph, file, misfits="skip")
    return notes
