"""Graph, Layer and Blob: a network as layers joined by blobs in SSA form.

A blob has one producer. A layer that Caffe runs in place (top == bottom) has a top blob of its own with the same name;
formats/write goes back to one blob where that is still allowed. Weight arrays are never changed in place: a pass gives
a layer new ones, so that a copy of a graph costs no memory.

An edit costs the same in a large network as in a small one, by one mechanism: each edit writes the layers that it
changes into `Graph.journal`. Whoever keeps something that is derived from the graph (KeptShapes, KeptCosts, the graph's
own index of shared weights) reads the journal on from where it stopped, with `News`, and derives again only what
belongs to these layers. `Graph.trial` notes beside it how each edit is undone. So all edits of a graph go through
its methods, new names through `rename`; what a pass changes in layers themselves (parameters, weights, specs) is
announced with `touch`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
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
    unknown_fields: those in the message of `params` that deepmerge does not know, and that may change what the layer
        computes.
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
    unknown_fields: tuple[str, ...] = ()
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

    def role(self, index: int) -> int:
        """Return which of its type's blobs the layer's blob `index` is; a second bottom may replace the first."""
        return index + (self.kind.fed and len(self.bottoms) > 1)

    def blob_name(self, index: int) -> str:
        """Return the name under which weight blob `index` is shared (ParamSpec.name), "" if it has none."""
        return str(self.param_specs[index].value("name") or "") if index < len(self.param_specs) else ""

    def is_permissive(self, index: int) -> bool:
        """Return whether weight blob `index` may be shared with one of another shape (ParamSpec.share_mode)."""
        return index < len(self.param_specs) and self.param_specs[index].value("share_mode") == "PERMISSIVE"

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


class News:
    """What is new in a journal since the last look."""

    def __init__(self, journal: list[Layer]):
        self._journal, self._read = journal, len(journal)

    def look(self) -> dict[Layer, None]:
        """Return the layers that were written since the last look, each once."""
        new = dict.fromkeys(self._journal[self._read :])
        self._read = len(self._journal)
        return new


@dataclass
class Trial:
    """Edits that are undone unless `kept` is set. undo: what takes them back, the last edit last."""

    kept: bool = False
    undo: list[Callable[[], object]] = field(default_factory=list)


class Graph:
    """Layers in an order in which they can run.

    journal: the layers that were added, removed or changed, in the order of the edits. A layer counts as changed when
    its own fields change, the names of its blobs, or the readers of its tops.
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
        self.journal: list[Layer] = []
        self._keys: dict[Layer, int] = {}  # grow along the layers
        self._by_name: dict[str, Layer] = {}
        self._names: dict[str, int] = {}  # how many layers and blobs have a name
        self._shared = _SharedNames(self)
        self._trial: Trial | None = None
        for layer in layers:
            self.insert(layer)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def blobs(self) -> list[Blob]:
        """All blobs, in the order of the layers that make them."""
        return [top for layer in self.layers for top in layer.tops]

    @property
    def finals(self) -> dict[str, Blob]:
        """Name → the last blob of that name: layers that work in place give several blobs one name."""
        return {blob.name: blob for blob in self.blobs}

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
        layer = self.find(name)
        if layer is None:
            raise GraphError(f"network {self.name!r} has no layer {name!r}")
        return layer

    def find(self, name: str) -> Layer | None:
        """Return the layer called `name`, or None if there is none."""
        return self._by_name.get(name)

    def __contains__(self, layer: Layer) -> bool:
        return layer in self._keys

    def key(self, layer: Layer) -> int:
        """Return a number that is greater than that of every layer before this one, until the next edit."""
        return self._keys[layer]

    def index(self, layer: Layer) -> int:
        """Return the layer's place in `layers`."""
        return bisect_left(self.layers, self._keys[layer], key=self._keys.__getitem__)

    def in_order(self, layers: Iterable[Layer]) -> list[Layer]:
        """Return those of these layers that are in the graph, in its order, each once."""
        return sorted({layer for layer in layers if layer in self._keys}, key=self._keys.__getitem__)

    def sharers(self, layer: Layer) -> list[Layer]:
        """Return the other layers that share weights with `layer` by ParamSpec name."""
        names = layer.shared_names
        if not names:
            return []
        layers = self._shared.layers()
        return [
            other for other in self.in_order(o for name in names for o in layers.get(name, ())) if other is not layer
        ]

    @property
    def shared_names(self) -> Iterable[str]:
        """The ParamSpec names of all layers."""
        return self._shared.layers().keys()

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
        return unused(base, self._names)

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
        self._put(len(self.layers) if before is None else self.index(before), layer)
        for top in layer.tops:
            self._touch_blob(top)
            top.producer = layer
        for bottom in layer.bottoms:
            self._touch_blob(bottom)
            bottom.consumers.append(layer)
        return layer

    def remove(self, layer: Layer) -> None:
        """Remove a layer; GraphError if another layer reads one of its tops."""
        for top in layer.tops:
            if top.consumers:
                text = f"top {top.name!r} is still read by layer {top.consumers[0].name!r}"
                raise GraphError(f"layer {layer.name!r}: {text}", layer=layer.name)
        self._unlink(layer)
        self._take(layer)

    def rename(self, thing: Layer | Blob, name: str) -> None:
        """Give a layer or a blob of the graph another name."""
        self._note(self.rename, thing, thing.name)
        self._count(thing.name, -1)
        self._count(name, 1)
        if isinstance(thing, Layer):
            if self._by_name.get(thing.name) is thing:
                del self._by_name[thing.name]
            self._by_name[name] = thing
            self.journal.append(thing)
        else:
            self.journal += [thing.producer, *thing.consumers]
        thing.name = name

    def touch(self, *layers: Layer) -> None:
        """Announce that fields of these layers will change, or have changed, other than by the graph's methods."""
        self.journal += layers
        if self._trial is not None:
            for layer in layers:
                self._note(self._restore, layer, _kept_fields(layer))

    def rewire(self, old: Blob, new: Blob) -> None:
        """Make every reader of `old` read `new`."""
        self._touch_blob(old)
        self._touch_blob(new)
        for reader in list(dict.fromkeys(old.consumers)):
            self.touch(reader)
            reader.bottoms = [new if b is old else b for b in reader.bottoms]
        new.consumers.extend(old.consumers)
        old.consumers = []

    def drop_bottom(self, layer: Layer, blob: Blob) -> None:
        """Remove one occurrence of `blob` from the layer's bottoms, and its propagate_down."""
        self.touch(layer)
        self._touch_blob(blob)
        at = layer.bottoms.index(blob)
        if flags := layer.tree.values("propagate_down"):
            layer.tree = layer.tree.copy()
            layer.tree.set("propagate_down", *flags[:at], *flags[at + 1 :])
        del layer.bottoms[at]
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
        self._take(layer)
        for blob in (top, *layer.bottoms):
            self._touch_blob(blob)
        for other in layer.bottoms[1:]:
            other.consumers.remove(layer)
        at = into.tops.index(bottom)
        self.touch(into)
        self._recount(bottom.name, top.name)
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
            self.rename(bottom, name)
            layer = bottom.producer
            at = layer.tops.index(bottom)

    def replace(self, old: Sequence[Layer], new: Sequence[Layer]) -> None:
        """Replace layers, which need not be neighbours, by new ones.

        The new layers come as early as their bottoms allow, but not before the first old one. They may produce the
        blobs that the old ones produced. If a layer outside would lose a blob that it reads, or come before the layer
        that makes it, GraphError is raised and nothing changes.
        """
        place = self._place(old, new)
        leaving = set(old)
        while place < len(self.layers) and self.layers[place] in leaving:
            place += 1
        after = self.layers[place] if place < len(self.layers) else None
        for layer in old:
            self._unlink(layer)
            self._take(layer)
        for layer in new:
            self.insert(layer, before=after)

    def _place(self, old: Sequence[Layer], new: Sequence[Layer]) -> int:
        """Return the index in the present layers at which `new` can replace `old`."""
        made = {top for layer in new for top in layer.tops}
        fed = [self.index(b.producer) + 1 for layer in new for b in layer.bottoms if b not in made]
        place = max([min(self.index(layer) for layer in old), *fed])
        for layer in old:
            for top in layer.tops:
                for reader in top.consumers:
                    if reader not in old and (top not in made or self.index(reader) < place):
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

    @contextmanager
    def trial(self) -> Iterator[Trial]:
        """Undo all edits of the block at its end, unless it sets `kept`. A trial inside another may do either."""
        outer, trial = self._trial, Trial()
        self._trial = trial
        notes, training = len(self.warnings), len(self.train_layers)
        try:
            yield trial
        finally:
            self._trial = None
            if not trial.kept:
                for undo in reversed(trial.undo):
                    undo()
                del self.warnings[notes:], self.train_layers[training:]
            elif outer is not None:
                outer.undo += trial.undo
            self._trial = outer

    # -- what edits are made of ------------------------------------------------------------------

    def _put(self, index: int, layer: Layer) -> None:
        """Put a layer into the order and the indexes; its blobs are not linked."""
        low = self._keys[self.layers[index - 1]] if index else 0
        high = self._keys[self.layers[index]] if index < len(self.layers) else low + 2 * _GAP
        if high - low < 2:  # no key is left between the two
            self._keys = {other: _GAP * place for place, other in enumerate(self.layers, 1)}
            return self._put(index, layer)
        self._note(self._take, layer)
        self.layers.insert(index, layer)
        self._keys[layer] = (low + high) // 2
        self._by_name.setdefault(layer.name, layer)
        for thing in (layer, *layer.tops):
            self._count(thing.name, 1)
        self.journal.append(layer)

    def _take(self, layer: Layer) -> None:
        """Take a layer out of the order and the indexes; its blobs stay linked."""
        index = self.index(layer)
        self._note(self._put, index, layer)
        del self.layers[index], self._keys[layer]
        if self._by_name.get(layer.name) is layer:
            del self._by_name[layer.name]
        for thing in (layer, *layer.tops):
            self._count(thing.name, -1)
        self.journal.append(layer)

    def _unlink(self, layer: Layer) -> None:
        """Take a layer out of its bottoms' readers, and let its tops have no producer."""
        for bottom in layer.bottoms:
            self._touch_blob(bottom)
            bottom.consumers.remove(layer)
        for top in layer.tops:
            self._touch_blob(top)
            top.producer = None

    def _touch_blob(self, blob: Blob) -> None:
        """Announce that the blob's producer or readers will change."""
        if blob.producer is not None:
            self.journal.append(blob.producer)
        if self._trial is not None:
            self._note(self._restore, blob, {"producer": blob.producer, "consumers": list(blob.consumers)})

    def _restore(self, thing: Layer | Blob, values: dict) -> None:
        for name, value in values.items():
            setattr(thing, name, value)
        layer = thing.producer if isinstance(thing, Blob) else thing
        if layer is not None:
            self.journal.append(layer)

    def _count(self, name: str, by: int) -> None:
        count = self._names.get(name, 0) + by
        if count:
            self._names[name] = count
        else:
            del self._names[name]

    def _recount(self, old: str, new: str) -> None:
        """Count one name more, and another less, as where a layer's top is replaced."""
        self._note(self._recount, new, old)
        self._count(old, -1)
        self._count(new, 1)

    def _note(self, undo: Callable, *args: object) -> None:
        if self._trial is not None:
            self._trial.undo.append(partial(undo, *args))


class _SharedNames:
    """Which layers have which ParamSpec names, kept by a graph's journal."""

    def __init__(self, graph: Graph):
        self._graph, self._news = graph, News(graph.journal)
        self._layers: dict[str, dict[Layer, None]] = {}
        self._names: dict[Layer, list[str]] = {}

    def layers(self) -> dict[str, dict[Layer, None]]:
        """Return the layers of each name."""
        for layer in self._news.look():
            for name in self._names.pop(layer, ()):
                self._layers[name].pop(layer, None)
                if not self._layers[name]:
                    del self._layers[name]
            if layer in self._graph and (names := list(dict.fromkeys(layer.shared_names))):
                self._names[layer] = names
                for name in names:
                    self._layers.setdefault(name, {})[layer] = None
        return self._layers


_GAP = 1 << 32  # between the keys of neighbours
_FIELDS = tuple(f.name for f in fields(Layer) if f.name != "name")


def _kept_fields(layer: Layer) -> dict:
    """Return the layer's fields except its name, with copies of the lists that edits change in place."""
    values = {name: getattr(layer, name) for name in _FIELDS}
    copies = {name: list(values[name]) for name in ("bottoms", "tops", "weights")}
    return values | copies | {"param_specs": [spec.copy() for spec in layer.param_specs]}
