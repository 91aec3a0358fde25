"""A copy of a network in which each layer and blob has another name; made with protobuf, not with our readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf import text_format

from deepmerge.formats import schema

WORDS = "fc conv pool norm loss data x inception res relu split".split()


class Renamer:
    """The same new name for the same old one. slashes: new names look like conv3/x_17, else like n17."""

    def __init__(self, seed: int, slashes: bool):
        self.rng, self.slashes = np.random.default_rng(seed), slashes
        self.names: dict[str, str] = {}

    def __call__(self, old: str) -> str:
        if old not in self.names:
            number = int(self.rng.integers(10**6))
            words = self.rng.choice(WORDS, 2)
            new = f"{words[0]}{number}/{words[1]}_{number % 7}" if self.slashes else f"n{number}"
            assert new not in self.names.values()
            self.names[old] = new
        return self.names[old]

    def alike(self, old: list[str], new: list[str]) -> bool:
        """Whether these are the same layers; those that a pass has made may have any name."""
        given = set(self.names.values())
        return [self.names.get(name) for name in old] == [name if name in given else None for name in new]

    def prototxt(self, source: Path, target: Path) -> Path:
        net = text_format.Parse(source.read_text(), schema.message_class("NetParameter")())
        self._net(net)
        target.write_text(text_format.MessageToString(net))
        return target

    def caffemodel(self, source: Path, target: Path) -> Path:
        net = schema.message_class("NetParameter").FromString(source.read_bytes())
        self._net(net)
        target.write_bytes(net.SerializeToString())
        return target

    def _net(self, net) -> None:
        net.input[:] = [self("blob " + name) for name in net.input]
        for layer in net.layer:
            layer.name = self(layer.name)
            layer.bottom[:] = [self("blob " + name) for name in layer.bottom]
            layer.top[:] = [self("blob " + name) for name in layer.top]
