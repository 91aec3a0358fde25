"""OUT2's files: the steps' folders get what belongs to them."""

from __future__ import annotations

import filecmp
from dataclasses import replace

import numpy as np

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.weights import load_weights
from deepmerge.out.read import read_converted
from deepmerge.train.recover.segments import find_segments
from deepmerge.train.recover.write import weights_of, write_recovered
from tests.helpers import conv, inputs, layer, relu
from tests.train.recover.conftest import lay_out

# A merge whose segment has a layer that no step has made: the 1x1 convolution before it.
REDUCED = (
    inputs((1, 3, 11, 9))
    + conv("conv1", "data", 6, "kernel_size: 3")
    + relu("conv1")
    + layer("norm1", "LRN", "conv1", "local_size: 3")
    + conv("squeeze", "norm1", 4)
    + conv("conv2", "squeeze", 6, "kernel_size: 3 pad: 1")
    + layer("norm2", "LRN", "conv2", "local_size: 5")
    + layer("fc", "InnerProduct", "norm2", "num_output: 5")
)


def written(out, tmp_path, add: float, change=lambda segments: segments):
    """OUT2, where every weight has become larger by `add` before its distillation, and by twice that after it."""
    found = read_converted(out)
    original, merged = found.original.read(), found.final.read()
    segments = change(find_segments(original, merged, found.entries))
    reached = {name: [w + np.float32(add) for w in blobs] for name, blobs in weights_of(merged).items()}
    load_weights(
        merged, {name: [w + np.float32(add) for w in blobs] for name, blobs in reached.items()}, misfits="skip"
    )
    (tmp_path / "out2").mkdir()
    write_recovered(found, tmp_path / "out2", merged, reached, segments, {**found.report, "recovery": {}})
    return read_converted(tmp_path / "out2"), segments


def moved(before, after) -> dict[str, float]:
    """How far each layer's weights went."""
    found = {
        a.name: float((b.weights[0] - a.weights[0]).mean())
        for a, b in zip(before.layers, after.layers, strict=True)
        if a.weights
    }
    return {name: round(by, 3) for name, by in found.items()}


def test_steps_get_their_own_and_what_is_before(tmp_path):
    out = lay_out(tmp_path / "home", REDUCED)
    after, segments = written(out, tmp_path, 0.5)
    assert [segment.trained for segment in segments] == [("conv1",), ("conv2",)]
    before = read_converted(out)
    assert set(moved(before.final.read(), after.final.read()).values()) == {1.0}
    first, second = (moved(a.pair.read(), b.pair.read()) for a, b in zip(before.steps, after.steps, strict=True))
    assert first == {"conv1": 0.5, "squeeze": 0.0, "conv2": 0.0, "fc": 0.0}
    assert second == {"conv1": 0.5, "squeeze": 0.0, "conv2": 0.5, "fc": 0.0}


def test_a_step_gets_what_its_segment_trains_beside_its_own_layers(tmp_path):
    def wider(segments):
        first, second = segments
        both = ("squeeze", "conv2")
        return [first, replace(second, inputs=("norm1",), layers=both, trained=both)]

    out = lay_out(tmp_path / "home", REDUCED)
    after, _ = written(out, tmp_path, 0.5, wider)
    second = moved(read_converted(out).steps[1].pair.read(), after.steps[1].pair.read())
    assert second == {"conv1": 0.5, "squeeze": 0.5, "conv2": 0.5, "fc": 0.0}


def test_new_layers_hold_all_that_the_step_has_trained(tmp_path):
    out = lay_out(tmp_path / "home", REDUCED)
    after, segments = written(out, tmp_path, 0.5)
    for step, segment in zip(after.steps, segments, strict=True):
        assert [layer.name for layer in read_caffemodel(step.new_layers)] == list(segment.trained)


def test_nothing_reached_leaves_the_steps(tmp_path):
    out = lay_out(tmp_path / "home")
    found = read_converted(out)
    (tmp_path / "out2").mkdir()
    write_recovered(found, tmp_path / "out2", found.final.read(), {}, [], found.report)
    files = [file.relative_to(out) for file in out.rglob("*") if file.is_file()]
    files = [
        file for file in files if file.name not in ("solver.prototxt", "train_val.prototxt") or len(file.parts) > 1
    ]
    assert files and all(filecmp.cmp(out / file, tmp_path / "out2" / file, shallow=False) for file in files)


def test_steps_have_the_names_of_exact_ones(tmp_path):
    """Folds come before merges, and both are called after their convolution."""
    text = inputs((1, 3, 16, 16))
    for name, bottom in (("conv1", "data"), ("conv2", "pool1")):
        text += conv(name, bottom, 6, "kernel_size: 3 pad: 1") + layer(f"bn{name[4]}", "BatchNorm", name, tops=name)
        text += relu(name) + layer(f"pool{name[4]}", "Pooling", name, "kernel_size: 2 stride: 2")
    out = lay_out(tmp_path / "home", text + layer("fc", "InnerProduct", "pool2", "num_output: 5"))
    after, _ = written(out, tmp_path, 0.5)
    assert [entry["name"] for entry in after.entries] == ["conv1", "conv2"] * 2
    first, second = (
        moved(a.pair.read(), b.pair.read()) for a, b in zip(read_converted(out).steps, after.steps, strict=True)
    )
    assert (first["conv1"], first["conv2"]) == (0.5, 0.0)
    assert (second["conv1"], second["conv2"]) == (0.5, 0.5)
    for step in after.steps:
        assert step.name in {layer.name for layer in read_caffemodel(step.new_layers)}
