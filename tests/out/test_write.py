"""What stands in OUT, and where."""

from __future__ import annotations

import pytest

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write.data_layers import Source
from deepmerge.formats.write.train_val import TrainData
from deepmerge.out.write import Output, Settings, folder_name
from tests.helpers import conv, inputs, network


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, inputs((1, 3, 8, 8)) + conv("a", "data", 4) + conv("b", "a", 7))


def files(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


PAIR = ["deploy.prototxt", "solver.prototxt", "train_val.prototxt", "weights.caffemodel"]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("conv1", "01-conv1"),
        ("inception_4b-4d", "01-inception_4b-4d"),
        ("a/b c", "01-a_b_c"),
        ("größe", "01-gr_e"),
        ("../..", "01-.._.."),
    ],
)
def test_folders_have_names_that_any_system_takes(step, name):
    assert folder_name(1, step) == name


def test_the_final_network_and_a_step(graph, tmp_path):
    output = Output(tmp_path / "out", Settings())
    (tmp_path / "out").mkdir()
    graph.layer("b").step = "b"
    output.step(graph, 1, "b", "About.")
    output.final(graph, "About.")
    output.documents("recipe", {"version": 1})
    assert files(tmp_path / "out") == sorted(
        [
            *PAIR,
            "finetune.mk",
            "recipe.toml",
            "report.json",
            "steps/01-b/new_layers.caffemodel",
            *(f"steps/01-b/{name}" for name in PAIR),
        ]
    )
    new = schema.message_class("NetParameter").FromString(
        (tmp_path / "out/steps/01-b/new_layers.caffemodel").read_bytes()
    )
    assert [layer.name for layer in new.layer] == ["b"]
    assert 'source: "train_lmdb"' in (tmp_path / "out/train_val.prototxt").read_text()
    assert 'source: "../../train_lmdb"' in (tmp_path / "out/steps/01-b/train_val.prototxt").read_text()


def test_a_step_that_made_no_layer_has_a_file_that_can_be_read(graph, tmp_path):
    """Such as one that takes Dropout out."""
    output = Output(tmp_path / "out", Settings())
    output.step(graph, 1, "drop", "About.")
    stored = read_caffemodel(tmp_path / "out/steps/01-drop/new_layers.caffemodel")
    assert [(layer.name, layer.blobs) for layer in stored] == [("input", [])]


def test_no_steps_and_other_formats(graph, tmp_path):
    output = Output(tmp_path / "out", Settings(formats=("onnx",), steps=False))
    (tmp_path / "out").mkdir()
    output.step(graph, 1, "b", "About.")
    output.final(graph, "About.")
    assert files(tmp_path / "out") == ["model.onnx"]


def test_hdf5_lists_stand_beside_each_train_val(graph, tmp_path):
    data = TrainData(Source.parse("hdf5:/data/train.h5"), Source.parse("hdf5:/data/test.txt"))
    output = Output(tmp_path / "out", Settings(data=data))
    (tmp_path / "out").mkdir()
    output.step(graph, 1, "b", "About.")
    output.final(graph, "About.")
    assert [name for name in files(tmp_path / "out") if "hdf5" in name] == [
        "steps/01-b/train_hdf5.txt",
        "train_hdf5.txt",
    ]
    assert (tmp_path / "out/train_hdf5.txt").read_text() == "/data/train.h5\n"


def test_a_network_that_nothing_feeds(tmp_path):
    text = 'name: "odd" layer { name: "p" type: "DummyData" top: "p" dummy_data_param { shape { dim: 1 dim: 2 } } }'
    output = Output(tmp_path, Settings())
    with pytest.raises(EmitError, match="network 'odd' has no Input layer"):
        output.final(network(tmp_path, text), "About.")


def test_a_network_whose_blobs_are_all_read(tmp_path):
    """There is nothing that a loss could judge."""
    silence = 'layer { name: "quiet" type: "Silence" bottom: "a" }'
    output = Output(tmp_path / "out", Settings())
    (tmp_path / "out").mkdir()
    output.final(network(tmp_path, inputs((1, 3, 8, 8)) + conv("a", "data", 4) + silence), "About.")
    assert files(tmp_path / "out") == ["deploy.prototxt", "weights.caffemodel"]
    about = "no train_val.prototxt, solver.prototxt and finetune.mk"
    assert output.notes == [f"{about}: network 'net' has no output; give --train-val"]
