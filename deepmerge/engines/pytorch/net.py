"""TorchNet: a Graph as a torch.nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from deepmerge.engines.pytorch.losses import loss_weights
from deepmerge.engines.pytorch.schedule import Names, Schedule, Turn, make_schedule
from deepmerge.engines.pytorch.step import Step, sending
from deepmerge.engines.pytorch.table import OPERATIONS, OVERWRITING, lacks, refusal
from deepmerge.errors import EngineError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, check_weights, expected_weights, infer_shapes
from deepmerge.graph.tokens import boolean
from deepmerge.text import flat


class TorchNet(nn.Module):
    """A network whose learned blobs are parameters.

    graph: stays unchanged until `store`. phase: "TEST" or "TRAIN"; `eval()` and `train()` change it. seed: of Dropout.
    inputs: input blob → declared shape, None if the file gives none. outputs: the blobs that no layer reads.
    losses: blob → loss weight, for the blobs that training minimises.
    EngineError for a layer that the engine does not have, or that has no weights; ShapeError if layers do not fit
    together.
    """

    def __init__(self, graph: Graph, phase: str = "TEST", seed: int = 0):
        super().__init__()
        if phase not in ("TEST", "TRAIN"):
            raise EngineError(f"phase {phase!r} is not one of TEST, TRAIN")
        self._source, self._graph = graph, graph.copy()  # the caller may change the graph later
        _give_tops(self._graph)
        shapes = infer_shapes(self._graph)
        check_weights(self._graph, shapes)
        self.inputs = {blob.name: shapes[blob] for blob in self._graph.inputs}
        self.outputs = tuple(blob.name for blob in self._graph.outputs)
        self.losses = loss_weights(self._graph)
        expected = {
            layer: expected_weights(layer, [shapes[blob] for blob in layer.bottoms]) for layer in self._graph.layers
        }
        self._blobs_of = _parameters(self._graph, expected)
        for layer in self._graph.layers:
            if len(self._blobs_of[layer.name]) < len(expected[layer] or ()) and layer.type != "Parameter":
                text = f"layer {layer.name!r} ({layer.type}) has no weights"
                raise EngineError(text, layer=layer.name, remedy="give the network its caffemodel")
        self.blobs = nn.ParameterList(dict.fromkeys(p for blobs in self._blobs_of.values() for p in blobs))
        self._steps = {layer: self._step(layer, expected[layer] or ()) for layer in self._graph.layers}
        self._names = Names(self._graph)
        self._schedules: dict[tuple, Schedule] = {}
        self._generators: dict[torch.device, torch.Generator] = {}
        self._seed = seed
        self.train(phase == "TRAIN")

    def _step(self, layer: Layer, shapes: Sequence[Shape]) -> Step:
        if lacks(layer):
            raise refusal(layer)
        blobs = self._blobs_of[layer.name]
        others = {i: shape for i, (b, shape) in enumerate(zip(blobs, shapes, strict=False)) if tuple(b.shape) != shape}
        run, overwrite = OPERATIONS[layer.type], OVERWRITING.get(layer.type)
        flags = [boolean(str(value)) for value in layer.tree.values("propagate_down")]
        forced = boolean(str(self._graph.tree.value("force_backward") or "false"))
        if not all(flags) and not forced:  # Caffe: net.cpp, Init
            run, overwrite = sending(run, flags), None
        return Step(self, layer, blobs, run, overwrite, others)

    def blobs_of(self, layer_name: str) -> list[nn.Parameter]:
        """Return the layer's learned blobs in Caffe's order and shapes. Layers share the object of a shared blob."""
        self._graph.layer(layer_name)
        return list(self._blobs_of[layer_name])

    def forward(self, feeds: Mapping[str, Tensor], blobs: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the wanted blobs (None: the outputs). Only the layers that they need are run.

        feeds: float32 tensors by blob name; labels may be integers. Blobs inside the network may be fed, and are then
        not computed. EngineError for an unknown name, a missing input, and if a layer fails.
        """
        wanted = self.outputs if blobs is None else tuple(blobs)
        schedule = self.schedule(tuple(feeds), wanted)
        values = {blob: _laid_out(x) for blob, x in zip(schedule.fed, feeds.values(), strict=True)}
        for turn in schedule.turns:
            _take(turn, values)
        return {name: values[blob] for name, blob in zip(wanted, schedule.wanted, strict=True)}

    def walk(self, feeds: Mapping[str, Tensor]) -> Iterator[Callable[[], None]]:
        """Yield a function for each layer of a forward to the outputs. Call it to run one of `schedule`'s turns."""
        schedule = self.schedule(tuple(feeds), self.outputs)
        values = {blob: _laid_out(x) for blob, x in zip(schedule.fed, feeds.values(), strict=True)}
        for turn in schedule.turns:
            yield partial(_take, turn, values)

    def schedule(self, fed: tuple[str, ...], wanted: tuple[str, ...]) -> Schedule:
        """Return what forward runs; computed once for each (fed, wanted)."""
        key = fed, wanted
        if key not in self._schedules:
            blobs = self._names.find(fed, fed=True), self._names.find(wanted)
            self._schedules[key] = make_schedule(self._steps, *blobs, self._graph.layers)
        return self._schedules[key]

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next((blob.device for blob in self.blobs), torch.device("cpu"))

    def loss(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the loss that Caffe minimises, the weighted sum of the loss blobs. values: what forward returned."""
        return sum(values[name].sum() * weight for name, weight in self.losses.items())

    def seed(self, seed: int) -> None:
        """Restart Dropout's random numbers from this seed."""
        self._seed = seed
        self._generators.clear()

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the random generator of Dropout on that device."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]

    def store(self, graph: Graph | None = None) -> None:
        """Give the layers of a graph (by default the one this was made of) the current weights, as new float32 arrays.

        Layers are found by name. Those that are not here, or have no weights of their own, stay unchanged.
        """
        for layer in (self._source if graph is None else graph).layers:
            blobs = self._blobs_of.get(layer.name, [])
            if layer.weights and len(blobs) == len(layer.weights):
                layer.weights = [
                    b.detach().to("cpu", torch.float32, copy=True).numpy().reshape(w.shape)
                    for b, w in zip(blobs, layer.weights, strict=True)
                ]


def _laid_out(x: Tensor) -> Tensor:
    """Return images in the layout "channels last" on a CPU, where torch then takes half the time, pooling a tenth."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and x.device.type == "cpu" else x


def _take(turn: Turn, values: dict[Blob, Tensor]) -> None:
    """Run a layer: add its tops to the values, and remove the blobs that no later layer needs."""
    step, run, bottoms, tops, dead = turn
    try:
        made = run(step, *[values[blob] for blob in bottoms])
        if isinstance(made, Tensor):
            values[tops[0]] = made
        else:
            values.update(zip(tops, made, strict=True))
    except (RuntimeError, IndexError, ValueError) as error:
        raise step.error(flat(error)) from None
    for blob in dead:
        del values[blob]


def _give_tops(graph: Graph) -> None:
    """Give each loss layer without a top one, named like the layer. Caffe: layer.hpp, AutoTopBlobs."""
    taken = {blob.name for blob in graph.blobs}
    for layer in graph.layers:
        if layer.type.endswith("Loss") and not layer.tops:
            name = layer.name if layer.name not in taken else graph.fresh_name(layer.name)
            layer.tops = [Blob(name, layer)]
            taken.add(name)


def _parameters(graph: Graph, expected: Mapping[Layer, Sequence[Shape] | None]) -> dict[str, list[nn.Parameter]]:
    """Return each layer's parameters by its name. Blobs of one ParamSpec name are one parameter, the owner's.

    expected: the shapes of each layer's blobs, None where they are not known.
    """
    owners = {name: _parameter(owner.layer, owner.index) for name, owner in graph.shared_weights().items()}
    found: dict[str, list[nn.Parameter]] = {}
    for layer in graph.layers:
        mine = found[layer.name] = []
        known = expected[layer]
        for index in range(max(len(layer.weights), len(layer.param_specs)) if known is None else len(known)):
            owner = owners.get(layer.blob_name(index))
            if owner is not None:
                mine.append(owner)
            elif index < len(layer.weights):
                mine.append(_parameter(layer, index))
    return found


def _parameter(layer: Layer, index: int) -> nn.Parameter:
    values = torch.from_numpy(np.array(layer.weights[index], np.float32, order="C"))
    return nn.Parameter(values, requires_grad=index not in layer.kind.statistics)
