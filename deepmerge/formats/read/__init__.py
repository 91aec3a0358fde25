"""Files → Graph: prototxt text, caffemodel bytes, legacy spellings."""

from deepmerge.formats.read.network import read_network, read_train_layers

__all__ = ["read_network", "read_train_layers"]
