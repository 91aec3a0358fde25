from __future__ import annotations

import re

from deepmerge.measure.profile.places import place_of, places
from tests.helpers import conv, inputs, layer, network, relu


def test_places(tmp_path, real_caffe):
    text = (
        inputs((1, 3, 9, 8))
        + conv("c", "data", 4)
        + relu("c", "r")
        + layer("p", "Pooling", "c", "kernel_size: 2")
        + layer("n", "LRN", "c")
    )
    graph = network(tmp_path, text)
    known = places(graph)
    with real_caffe.load(graph) as session:
        timed = [(name, kind) for name, kind, _ in session.time_layers(1, 0)]
    splits = [name for name, kind in timed if kind == "Split"]
    assert len(splits) == 1 and re.fullmatch("c_r_0_split", splits[0])
    assert all(name in known for name, _ in timed)
    assert known[splits[0]].group == known["c"].group and not known[splits[0]].tensor
    assert known["c"].tensor and not known["n"].tensor and known["data" if "data" in known else "input"].group == ""
    assert place_of("reorder", "Convolution", known).tensor and not place_of("reorder", "Raster", known).tensor
