"""One score for each class: find the blob that has them, and run the network for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Union

import numpy as np

from deepmerge.engines import engine as find_engine
from deepmerge.errors import GraphError, ReadError
from deepmerge.graph.batching import declared_batch, runs_at_any_batch
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import Shape, infer_shapes
from deepmerge.text import input_option

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine, Session

Scores = Callable[[np.ndarray], np.ndarray]  # images (N, C, H, W) → (N, classes)
Network = Union[Graph, "Session", Scores]


def choose_output(shapes: dict[str, Shape | None], outputs: tuple[str, ...], asked: str | None = None) -> str:
    """Return the blob with one score for each class: the one asked for, or the only output that fits.

    shapes: those of all blobs, by name. Raises GraphError if no output fits, or several.
    """
    if asked is not None and asked not in shapes:
        raise GraphError(f"--output: the network has no blob {asked!r}; its outputs are {_listed(outputs)}")
    fit = [name for name in ([asked] if asked is not None else outputs) if _is_fit(shapes[name])]
    if len(fit) == 1:
        return fit[0]
    if fit:
        raise GraphError(f"several outputs have a score for each class: {_listed(fit)}; choose one with --output")
    seen = asked if asked is not None else outputs[0] if outputs else None
    if seen is None:
        raise GraphError("the network has no output")
    shape = shapes[seen]
    if shape is not None and len(shape) > 2 and np.prod(shape[2:]) > 1:
        places = "×".join(map(str, shape[2:]))
        text = (
            f"has scores at {places} places, as a fully convolutional network has; one score for each class is needed"
        )
    else:
        text = "has no score for each of two classes or more"
    more = "" if asked is not None or len(outputs) == 1 else f", nor has any other of {_listed(outputs)}"
    raise GraphError(f"output {seen!r}, {_shown(shape)}, {text}{more}")


def output_of(graph: Graph, asked: str | None = None) -> tuple[str, int | None]:
    """Return the blob that `choose_output` finds, and its number of classes; None if its shape is not known."""
    shapes = infer_shapes(graph, strict=False)
    by_name = {blob.name: shapes[blob] for blob in graph.blobs}
    name = choose_output(by_name, tuple(blob.name for blob in graph.outputs), asked)
    return name, by_name[name] and by_name[name][1]


def _is_fit(shape: Shape | None) -> bool:
    return shape is None or (len(shape) > 1 and shape[1] > 1 and all(size == 1 for size in shape[2:]))


def _shown(shape: Shape | None) -> str:
    return "of unknown shape" if shape is None else "×".join(map(str, shape))


def _listed(names) -> str:
    return ", ".join(map(repr, names))


class Runner:
    """A loaded network that gives scores. A context manager.

    network: a Graph (loaded into the engine), a Session that is open (and stays open), or a function.
    output: the blob of scores; None for the only one that fits.
    """

    def __init__(self, network: Network, output: str | None = None, engine: str | Engine = "ort", threads: int = 1):
        self._stack = ExitStack()
        self._fixed: int | None = None
        self.output: str | None = output
        self.classes: int | None = None
        if isinstance(network, Graph):
            self.output, self.classes = output_of(network, output)
            if not runs_at_any_batch(network):
                self._fixed = declared_batch(network)
            runner = find_engine(engine) if isinstance(engine, str) else engine
            network = self._stack.enter_context(runner.load(network, threads))
        elif not hasattr(network, "time_once"):  # not a Session
            self._scores = network
            return
        elif self.output is None:
            if len(network.outputs) != 1 and not hasattr(network, "shapes"):
                several = _listed(network.outputs)
                raise GraphError(f"the network has several outputs: {several}; choose one with --output")
            self.output = choose_output(getattr(network, "shapes", {network.outputs[0]: None}), network.outputs)
        self._fixed = self._fixed or getattr(network, "fixed_batch", None)
        (self._input,) = network.inputs
        self._session = network
        self._scores = self._run

    def __call__(self, data: np.ndarray) -> np.ndarray:
        """Return the scores (N, classes), float32, of images (N, C, H, W). GraphError if there is no such output."""
        found = np.asarray(self._scores(data))
        if found.ndim < 2 or len(found) != len(data) or found.shape[1] < 2 or found.size != len(found) * found.shape[1]:
            choose_output({str(self.output): found.shape}, (str(self.output),))
            raise GraphError(
                f"{len(data)} images give {self.output!r} of {_shown(found.shape)}; one row for each is needed"
            )
        self.classes = found.shape[1]
        return found.reshape(len(found), -1)

    def _run(self, data: np.ndarray) -> np.ndarray:
        size = self._fixed
        if size is None or len(data) == size:
            return self._session.forward({self._input: data}, [self.output])[self.output]
        parts = []
        for start in range(0, len(data), size):
            part = data[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            parts.append(self._session.forward({self._input: filled}, [self.output])[self.output][: len(part)])
        return np.concatenate(parts)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exit_) -> None:
        self._stack.__exit__(*exit_)


def check_same_input(one: Graph, other: Graph) -> None:
    """Raise ReadError if the two networks take different images, or do not say which."""
    shapes = [_image_shapes(graph) for graph in (one, other)]
    if shapes[0] != shapes[1]:
        first, second = (", ".join(map(_shown, found)) for found in shapes)
        text = f"the networks cannot be compared: one takes images of {first}, the other of {second}"
        raise ReadError(text, remedy="if both take one of these sizes, give it with --input")


def _image_shapes(graph: Graph) -> list[Shape]:
    """Return the shapes of the network's inputs, without the batch. ReadError for an input that has none."""
    shapes = infer_shapes(graph, strict=False)
    for blob in graph.inputs:
        if shapes[blob] is None:
            remedy = f"give it: {input_option(blob.name)}"
            raise ReadError(f"input {blob.name!r} has no shape", layer=blob.producer.name, remedy=remedy)
    return [shapes[blob][1:] for blob in graph.inputs]
