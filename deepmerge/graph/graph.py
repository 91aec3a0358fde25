"""Graph, Layer and Blob: a network as layers joined by blobs in SSA form.

A blob has one producer. A layer that Caffe runs in place (top == bottom) has a top blob of its own with the same name;
formats/write goes back to one blob where that is still allowed. Weight arrays are never changed in place: a pass gives
a layer new ones, so that a copy of a graph costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph.params import Params
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES, UNKNOWN, LayerType
from deepmerge.text import unused


@dataclass(eq=False)
class Blob:
    """A value between layers. `consumers` names a layer once for each bottom that reads the blob."""

    name: str
    producer: Layer | None = None
    consumers: list[Layer] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Blob({self.name!r})"


@dataclass(eq=False)
class Layer:
    """One layer of the network.

    params: typed parameters, or None for a type that deepmerge does not know.
    weights: the weight blobs, float32, in Caffe's order and axes.
    param_specs: the layer's `param { … }` messages.
    tree: the layer's other fields, its `*_param` messages included.
    read_params: `params` as read from `tree`; only what differs from them is rewritten.
    step: the name of the approximate step that made or changed the layer; "" if none did.
    made_by: the name of the pass that last made or changed the layer; "" if none did.
    """

    name: str
    type: str
    params: Params | None = None
    bottoms: list[Blob] = field(default_factory=list)
    tops: list[Blob] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    param_specs: list[Message] = field(default_factory=list)
    tree: Message = field(default_factory=Message)
    read_params: Params | None = None
    step: str = ""
    made_by: str = ""

    @property
    def kind(self) -> LayerType:
        """What deepmerge knows about the layer's type."""
        return TYPES.get(self.type, UNKNOWN)

    @property
    def bottom(self) -> Blob:
        """The first bottom."""
        return self.bottoms[0]

    @property
    def top(self) -> Blob:
        """The first top."""
        return self.tops[0]

    def blob_name(self, index: int) -> str:
        """Return the name under which weight blob `index` is shared (ParamSpec.name), "" if it has none."""
        return str(self.param_specs[index].value("name") or "") if index < len(self.param_specs) else ""

    @property
    def shared_names(self) -> list[str]:
        """The names under which the layer's weights are shared, if any."""
        return [name for index in range(len(self.param_specs)) if (name := self.blob_name(index))]

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {self.type})"


class SharedWeight(NamedTuple):
    """A weight blob that layers share by name, and the first layer that stores it."""

    layer: Layer
    index: int

    @property
    def array(self) -> np.ndarray:
        """The values, float32."""
        return self.layer.weights[self.index]


class Graph:
    """Layers in an order in which they can run.

    tree: the network's own fields except its layers (force_backward, state, …).
    train_layers: messages of layers that only training needs (data, loss, accuracy, dropout), for train_val.prototxt.
    warnings: notes from reading, for the user.
    given_inputs: the inputs' shapes that the user gave when the network was read, by name.
    """

    def __init__(self, name: str = "", layers: Iterable[Layer] = ()):
        self.name = name
        self.layers: list[Layer] = []
        self.tree = Message()
        self.train_layers: list[Message] = []
        self.warnings: list[str] = []
        self.given_inputs: dict[str, tuple[int, ...]] = {}
        for layer in layers:
            self.insert(layer)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def blobs(self) -> list[Blob]:
        """All blobs, in the order of the layers that make them."""
        return [top for layer in self.layers for top in layer.tops]

    @property
    def inputs(self) -> list[Blob]:
        """The tops of Input layers."""
        return [top for layer in self.layers if layer.type == "Input" for top in layer.tops]

    @property
    def outputs(self) -> list[Blob]:
        """The blobs that no layer reads."""
        return [blob for blob in self.blobs if not blob.consumers]

    def layer(self, name: str) -> Layer:
        """Return the layer called `name`; GraphError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise GraphError(f"network {self.name!r} has no layer {name!r}")

    def sharers(self, layer: Layer) -> list[Layer]:
        """Return the other layers that share weights with `layer` by ParamSpec name."""
        names = set(layer.shared_names)
        return [o for o in self.layers if o is not layer and names & set(o.shared_names)] if names else []

    def shared_weights(self) -> dict[str, SharedWeight]:
        """Return the owner of each shared weight blob by its ParamSpec name. Caffe: net.cpp, AppendParam."""
        owners: dict[str, SharedWeight] = {}
        for layer in self.layers:
            for index in range(len(layer.weights)):
                if name := layer.blob_name(index):
                    owners.setdefault(name, SharedWeight(layer, index))
        return owners

    def fresh_name(self, base: str) -> str:
        """Return `base`, or `base_2`, `base_3`, …, such that no layer and no blob has the name yet."""
        return unused(base, {layer.name for layer in self.layers} | {blob.name for blob in self.blobs})

    # -- changing --------------------------------------------------------------------------------

    def insert(self, layer: Layer, before: Layer | None = None) -> Layer:
        """Add a layer (at the end, or before another) and link its blobs.

        GraphError if a top has another producer, or a bottom is not produced in this graph.
        """
        for top in layer.tops:
            if top.producer not in (None, layer):
                text = f"top {top.name!r} is made by layer {top.producer.name!r} already"
                raise GraphError(f"layer {layer.name!r}: {text}", layer=layer.name)
        for bottom in layer.bottoms:
            if bottom.producer is None:
                text = f"bottom {bottom.name!r} is made by no layer before it"
                raise GraphError(f"layer {layer.name!r} ({layer.type}): {text}", layer=layer.name)
        self.layers.insert(len(self.layers) if before is None else self.layers.index(before), layer)
        for top in layer.tops:
            top.producer = layer
        for bottom in layer.bottoms:
            bottom.consumers.append(layer)
        return layer

    def remove(self, layer: Layer) -> None:
        """Remove a layer; GraphError if another layer reads one of its tops."""
        for top in layer.tops:
            if top.consumers:
                text = f"top {top.name!r} is still read by layer {top.consumers[0].name!r}"
                raise GraphError(f"layer {layer.name!r}: {text}", layer=layer.name)
        for bottom in layer.bottoms:
            bottom.consumers.remove(layer)
        for top in layer.tops:
            top.producer = None
        self.layers.remove(layer)

    def rewire(self, old: Blob, new: Blob) -> None:
        """Make every reader of `old` read `new`."""
        for reader in list(dict.fromkeys(old.consumers)):
            reader.bottoms = [new if b is old else b for b in reader.bottoms]
        new.consumers.extend(old.consumers)
        old.consumers = []

    def drop_bottom(self, layer: Layer, blob: Blob) -> None:
        """Remove one occurrence of `blob` from the layer's bottoms."""
        layer.bottoms.remove(blob)
        blob.consumers.remove(layer)

    def bypass(self, layer: Layer) -> None:
        """Remove a layer with one bottom and one top that passes its bottom on unchanged.

        If no other layer reads the bottom, the top's name is kept, so that a network output keeps its name. Otherwise
        the readers of the top read the bottom. GraphError if neither is possible.
        """
        if len(layer.bottoms) != 1 or len(layer.tops) != 1:
            raise GraphError(f"layer {layer.name!r} ({layer.type}) must have one bottom and one top", layer=layer.name)
        bottom, top = layer.bottom, layer.top
        producer = bottom.producer
        if len(bottom.consumers) == 1 and producer is not None and producer.type != "Input":
            self.absorb(layer, producer)
        elif top.consumers:
            self.rewire(top, bottom)
            self.remove(layer)
        else:
            text = f"its top {top.name!r} is an output of the network, and its bottom is read by others"
            raise GraphError(f"layer {layer.name!r}: {text}", layer=layer.name)

    def absorb(self, layer: Layer, into: Layer) -> None:
        """Remove `layer`, the only reader of one of `into`'s tops, and let `into` make its top instead."""
        bottom, top = layer.bottom, layer.top
        if bottom.producer is not into or len(bottom.consumers) != 1 or len(layer.tops) != 1:
            text = f"cannot go into {into.name!r}: it is not the only reader of its top"
            raise GraphError(f"layer {layer.name!r} {text}", layer=layer.name)
        self.layers.remove(layer)
        for other in layer.bottoms[1:]:
            other.consumers.remove(layer)
        at = into.tops.index(bottom)
        into.tops[at] = top
        top.producer = into
        bottom.consumers = []
        self._stay_in_place(into, at, bottom.name)

    def _stay_in_place(self, layer: Layer, at: int, was: str) -> None:
        """Give the bottom the new name of the top, so that a layer that ran in place still does."""
        name = layer.tops[at].name
        while name != was and at < len(layer.bottoms) and layer.bottoms[at].name == was:
            bottom = layer.bottoms[at]
            if bottom.producer.type == "Input" or len(bottom.consumers) != 1:
                return
            bottom.name = name
            layer = bottom.producer
            at = layer.tops.index(bottom)

    def replace(self, old: Sequence[Layer], new: Sequence[Layer]) -> None:
        """Replace layers, which need not be neighbours, by new ones.

        The new layers come as early as their bottoms allow, but not before the first old one. They may produce the
        blobs that the old ones produced. If a layer outside would lose a blob that it reads, or come before the layer
        that makes it, GraphError is raised and nothing changes.
        """
        place = self._place(old, new)
        for layer in old:
            for bottom in layer.bottoms:
                bottom.consumers.remove(layer)
            for top in layer.tops:
                top.producer = None
        rest = [layer for layer in self.layers if layer not in old]
        after = next((layer for layer in self.layers[place:] if layer not in old), None)
        self.layers = rest
        for layer in new:
            self.insert(layer, before=after)

    def _place(self, old: Sequence[Layer], new: Sequence[Layer]) -> int:
        """Return the index in the present layers at which `new` can replace `old`."""
        made = {top for layer in new for top in layer.tops}
        where = {layer: i for i, layer in enumerate(self.layers)}
        fed = [where[b.producer] + 1 for layer in new for b in layer.bottoms if b not in made]
        place = max([min(where[layer] for layer in old), *fed])
        for layer in old:
            for top in layer.tops:
                for reader in top.consumers:
                    if reader not in old and (top not in made or where[reader] < place):
                        what = "is read by" if top not in made else "would come after"
                        text = f"cannot be replaced: its top {top.name!r} {what} {reader.name!r}"
                        raise GraphError(f"layer {layer.name!r} {text}", layer=layer.name)
        return place

    def copy(self) -> Graph:
        """Return a graph of its own with the same arrays."""
        twin = Graph(self.name)
        twin.tree = self.tree.copy()
        twin.train_layers = [message.copy() for message in self.train_layers]
        twin.warnings = list(self.warnings)
        twin.given_inputs = dict(self.given_inputs)
        blobs: dict[Blob, Blob] = {blob: Blob(blob.name) for blob in self.blobs}
        for layer in self.layers:
            copied = replace(
                layer,
                bottoms=[blobs[bottom] for bottom in layer.bottoms],
                tops=[blobs[top] for top in layer.tops],
                weights=list(layer.weights),
                param_specs=[spec.copy() for spec in layer.param_specs],
                tree=layer.tree.copy(),
            )
            twin.insert(copied)
        return twin
