"""Measurements of networks: how far apart two are, how accurate one is, and a table of a conversion's steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmerge.api.network import Network
from deepmerge.api.support import PathLike, Report
from deepmerge.formats.read.inputs import Sizes
from deepmerge.progress import Progress, silent
from deepmerge.temporary import temporary_folder

if TYPE_CHECKING:
    from deepmerge.out.read import Pair


def verify(
    a: Network | tuple[PathLike, PathLike] | PathLike,
    b: Network | tuple[PathLike, PathLike] | PathLike,
    *,
    images: str | None = None,
    tolerance: float = 1e-5,
    engine: str = "ort",
    inputs: Sizes | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Run two networks on the same images and return how far apart they are, as `deepmerge verify --json` does.

    Parameters
    ----------
    a, b
        Networks, (prototxt, caffemodel) pairs, or ONNX files that a conversion wrote. Both get A's preprocessing.
    images
        Images to compare on (no labels needed), such as "folder:photos"; None for random ones.
    tolerance
        The largest difference that is `ok`, as a share of the range of A's output.
    engine
        "ort", "torch" or "caffe".
    inputs
        Sizes of inputs, as `load` takes them. A Network has its own.
    options
        The other fields of `deepmerge.measure.compare.Job`: wishes (an ImageWishes), limit, random, seed, layers …

    Returns
    -------
    dict
        Among others `ok`, `failures` (one line each) and `outputs` (the figures of each output).
    """
    from deepmerge.measure.compare import Job
    from deepmerge.measure.compare import verify as run

    with ExitStack() as stack:
        first, second = _files(a, stack, inputs), _files(b, stack, inputs)
        return run(Job(first, second, images=images, tolerance=tolerance, engine=engine, **options), progress)


def evaluate(
    network: Network | tuple[PathLike, PathLike] | PathLike,
    data: str,
    *,
    top: Sequence[int] = (1, 5),
    against: Network | tuple[PathLike, PathLike] | PathLike | None = None,
    engine: str = "ort",
    inputs: Sizes | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Measure accuracy, or agreement with another network, as `deepmerge eval --json` does.

    Parameters
    ----------
    network
        A network, a (prototxt, caffemodel) pair, the folder of a conversion, or an ONNX file in it.
    data
        Images to measure on (labels needed for accuracy), such as "lmdb:val_lmdb".
    top
        Which top-k to count.
    against
        The network whose answers are compared.
    engine
        "ort", "torch" or "caffe".
    inputs
        Sizes of inputs, as `load` takes them. A Network has its own.
    options
        The other fields of `deepmerge.measure.accuracy.Job`: wishes, per_class, steps, limit, threads …
    """
    from deepmerge.measure.accuracy import Job, run

    with ExitStack() as stack:
        folder = isinstance(network, (str, Path)) and Path(network).suffix != ".onnx"
        measured = Path(network) if folder else _files(network, stack, inputs)
        other = None if against is None else _files(against, stack, inputs)
        job = Job(measured, data, top=tuple(top), against=other, engine=engine, inputs=inputs or {}, **options)
        return run(job, progress)


def tabulate(
    folders: Sequence[PathLike],
    *,
    data: str = "",
    top: Sequence[int] = (1, 5),
    engine: str = "ort",
    seconds: float = 60.0,
    progress: Progress = silent,
    **options: Any,
) -> Report:
    """Measure accuracy and time after each step of a conversion, as `deepmerge table --json` does.

    Parameters
    ----------
    folders
        What `Network.convert` wrote, and what `recover` and `finetune` made of it.
    data
        Labelled images to measure accuracy on, such as "folder:val"; "" for a table without it.
    top
        Which top-k to count.
    engine
        "ort", "torch" or "caffe".
    seconds
        The time limit for the timing; 0 for a table without times.
    options
        The other fields of `deepmerge.measure.steps.Job`: titles, wishes, limit, time_engine, threads, inputs …
    """
    from deepmerge.measure.steps import Job, run

    paths = [Path(folder) for folder in folders]
    return run(Job(paths, data=data, top=tuple(top), engine=engine, seconds=seconds, **options), progress)


def _files(network: Network | tuple[PathLike, PathLike] | PathLike, stack: ExitStack, inputs: Sizes | None) -> Pair:
    """Return the network's files; those of a network that is on no disk yet are written to a temporary folder."""
    from deepmerge.formats.write import write_pair
    from deepmerge.out.read import Pair, onnx_pair

    if isinstance(network, (str, Path)):
        return onnx_pair(network, inputs)
    if not isinstance(network, Network):
        return Pair(*map(Path, network), inputs or {})
    if network.prototxt is not None and network.caffemodel is not None:
        return Pair(network.prototxt, network.caffemodel, network.graph.given_inputs)
    folder = stack.enter_context(temporary_folder())
    pair = Pair(folder / "deploy.prototxt", folder / "weights.caffemodel")
    write_pair(network.graph, *pair)
    return pair
