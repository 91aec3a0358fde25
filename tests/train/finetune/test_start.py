"""What a network starts from: what is stored, what the step before has trained, and fillers for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmerge.formats.read.training import TrainingNet, read_training
from deepmerge.formats.write import write_caffemodel
from deepmerge.train.finetune.start import load_start
from tests.helpers import layer

TEXT = (
    'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 4 } }\n'
    + layer("fc", "InnerProduct", "data", "num_output: 5")
    + layer("aux", "InnerProduct", "data", "num_output: 5 weight_filler { type: 'xavier' }")
    + layer("loss", "SoftmaxWithLoss", "fc label")
    + layer("loss1", "SoftmaxWithLoss", "aux label")
)
STORED = {"fc": [np.ones((5, 12), np.float32), np.zeros(5, np.float32)]}


def net(folder: Path) -> TrainingNet:
    (folder / "train_val.prototxt").write_text(TEXT)
    return read_training(folder / "train_val.prototxt", "TRAIN", (3, 2, 2))


def test_fillers_start_a_head_and_the_next_step_continues(tmp_path):
    first, second, before = net(tmp_path), net(tmp_path), tmp_path / "before.caffemodel"
    assert load_start(first, [STORED], 1) == ["no caffemodel has weights for aux; fillers make them"]
    head = first.graph.layer("aux")
    assert head.weights[0].any()
    head.weights = [blob + 1 for blob in head.weights]
    write_caffemodel(first.graph, before)
    assert load_start(second, [STORED, before], 1) == []
    for name in ("fc", "aux"):
        weights = [one.graph.layer(name).weights for one in (first, second)]
        assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True)), name
