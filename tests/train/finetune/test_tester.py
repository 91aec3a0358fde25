"""The tests of a stage on PyTorch."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from deepmerge.data import Images, Loader, Picture, Preprocessing
from deepmerge.formats.read.training import read_training
from deepmerge.train.finetune.start import load_start
from tests.helpers import layer
from tests.train.finetune.conftest import DATA


def test_labels_that_a_test_does_not_read_are_no_output(torch, tmp_path):
    from deepmerge.train.finetune.tester import Tester

    path = tmp_path / "train_val.prototxt"
    loss = layer("loss", "SoftmaxWithLoss", "fc label", param="include { phase: TRAIN }")
    path.write_text(DATA + layer("fc", "InnerProduct", "data", "num_output: 5") + loss)
    net = read_training(path, "TEST", (3, 2, 2))
    load_start(net, [{}], 1)
    images = Images("three", 3, lambda index: Picture("x", np.zeros((2, 2, 3), np.uint8), index))
    loader = Loader(images, Preprocessing(), (4, 3, 2, 2), 4)
    trained = SimpleNamespace(store=lambda graph: None)
    found = Tester(net, loader, 1, None).run(trained, torch.device("cpu"), None)
    assert net.labels is None and found == {"fc": 0.0, "images": 3}
