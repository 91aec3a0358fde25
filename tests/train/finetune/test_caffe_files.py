"""The files that real Caffe runs a stage from."""

from __future__ import annotations

import numpy as np

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.train.finetune.caffe_files import write_start
from tests.helpers import layer
from tests.train.finetune.conftest import nets


def test_each_layer_is_stored_once_with_its_weights(tmp_path):
    """What only the TEST network has, too; what nothing is known of is left to Caffe's own fillers."""
    text = layer("mine", "Mine", "fc", param="include { phase: TRAIN }")
    text += layer("extra", "InnerProduct", "fc", "num_output: 3", param="include { phase: TEST }")
    weights = [np.ones((5, 12), np.float32), np.zeros(5, np.float32)]
    files, notes = write_start(nets(tmp_path, text, (3, 2, 2)), [{"fc": weights}], 1, tmp_path)
    stored = [[(m.name, [blob.shape for blob in m.blobs]) for m in read_caffemodel(file)] for file in files]
    assert stored == [[("fc", [(5, 12), (5,)])], [("extra", [(3, 5), (3,)])]] and notes == []
