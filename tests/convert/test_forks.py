"""Networks of Caffe's forks, converted whole: what is not deepmerge's to change comes out as it went in, field by field."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.read import read_network
from deepmerge.formats.read.prototxt import parse, read_prototxt
from deepmerge.formats.write import write_pair
from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Message
from deepmerge.plan import make_plan
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.fork_nets import NETS, fill
from tests.fork_twins import run_twin
from tests.helpers import apart, feeds
from tests.trees import plain

FOLDED = {"BatchNorm", "Scale", "BN"}
TAKES = {"Convolution", "Deconvolution", "DepthwiseConvolution", "ConvolutionDepthwise"}

ZOO = """name: "zoo"
my_fork_wide { option: "x" nested { deep: [1, 2] } }
input: "data" input_shape { dim: 1 dim: 3 dim: 10 dim: 12 }
input: "im_info" input_shape { dim: 1 dim: 3 }
layer { name: "train_data" type: "Python" top: "t" top: "label" include { phase: TRAIN }
  python_param { module: "data.layer" layer: "Data" param_str: "{'split': 'train', 'seed': 1}" } }
layer { name: "solo" type: "Convolution" bottom: "data" top: "solo" include { phase: RUN }
  convolution_param { num_output: 9 kernel_size: 1 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" quantization_param { bw: 8 kind: LOCAL }
  convolution_param { num_output: 6 kernel_size: 3 bias_term: false engine: MKL2017 weight_filler { type: "gabor" step: 0.25 } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { use_global_stats: true } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" top: "mask" pooling_param { pool: MAX kernel_size: 2 stride: 2 engine: LOCAL } }
layer { name: "rpn" type: "Convolution" bottom: "pool" top: "rpn" convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
layer { name: "rpn_bn" type: "BatchNorm" bottom: "rpn" top: "rpn_bn" }
layer { name: "proposal" type: "Python" bottom: "rpn_bn" bottom: "im_info" top: "rois" top: "scores"
  python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "'feat_stride': 16\\n\\"q\\": \\\\x" } }
layer { name: "roi_pool" type: "ROIPooling" bottom: "pool" bottom: "rois" top: "roi_pool"
  roi_pooling_param { pooled_w: 2 pooled_h: 2 spatial_scale: 0.0625 } }
layer { name: "odd" type: "LOCAL" bottom: "roi_pool" top: "roi_pool" local_param { type: FOURIER scale: -1e-07 on: true of < a: 'b' > } }
layer { name: "unpool" type: "Upsample" bottom: "pool" bottom: "mask" top: "unpool" upsample_param { scale: 2 } }
"""
TEXTS = {**NETS, "zoo": ZOO}


def layers_of(tree: Message) -> dict[str, dict[str, list]]:
    """Layer's name → its fields' values by name, in order. Caffe does not mind the order among the names."""
    found: dict[str, dict[str, list]] = {}
    for layer in tree.values("layer"):
        fields: dict[str, list] = defaultdict(list)
        for name, value in plain(layer):
            fields[name].append(value)
        found[str(layer.value("name"))] = dict(fields)
    return found


@pytest.fixture(scope="module")
def worker(real_caffe):
    with real_caffe.start() as worker:
        yield worker


@pytest.fixture
def converted(tmp_path):
    """(name, wishes) → (the graph as it was read, OUT, the report)."""

    def converted(name: str, wishes: Wishes) -> tuple[Graph, Path, dict]:
        prototxt, weights, out = tmp_path / "in.prototxt", tmp_path / "in.caffemodel", tmp_path / "out"
        prototxt.write_text(TEXTS[name])
        write_pair(fill(read_network(prototxt)), tmp_path / "same.prototxt", weights)
        graph = read_network(prototxt, weights)
        report = convert(Job(prototxt, weights, out, wishes, check=True))
        return graph, out, report

    return converted


@pytest.mark.pitfall("row", 5)
@pytest.mark.pitfall("row", 6)
@pytest.mark.parametrize("wishes", [Wishes(exact=True), Wishes()], ids=["exact", "default"])
@pytest.mark.parametrize("name", TEXTS)
def test_row_5_what_forks_add_is_emitted_verbatim(converted, name, wishes):
    """PITFALLS rows 5 and 6: fields, enum values and layers of forks are kept as a tree and emitted verbatim."""
    _, out, report = converted(name, wishes)
    given, made = layers_of(parse(TEXTS[name])), layers_of(read_prototxt(out / "deploy.prototxt"))
    merged = {one for step in report["steps"] for one in step["merged"]}
    kept = {one for one, fields in given.items() if one not in merged and one not in ("train_data", "solo")}
    joined = {one for step in report["steps"] if step["passes"] == ["join_siblings"] for one in step["into"]}
    new = {"input", *joined, *(f"{one}_slice" for one in joined)}
    assert kept <= made.keys() and made.keys() - given.keys() <= new
    for one in kept:
        before, after = dict(given[one]), dict(made[one])
        before.pop("include", None)  # phases have been chosen
        if before["type"][0][1] in TAKES and before != after:
            changed = {field for field in before.keys() | after.keys() if before.get(field) != after.get(field)}
            assert changed <= {"param", "convolution_param", "top"}, one
            before, after = (
                {f: v for f, v in fields["convolution_param"][0] if f != "bias_term"} for fields in (before, after)
            )
            assert before.items() <= after.items()
        else:
            assert after == before, one


@pytest.mark.parametrize("name", TEXTS)
def test_all_that_can_be_folded_is(converted, name):
    graph, out, report = converted(name, Wishes(exact=True))
    left = {layer["type"][0][1] for layer in layers_of(read_prototxt(out / "deploy.prototxt")).values()}
    assert not left & FOLDED
    folds = [step for step in report["steps"] if step["passes"] != ["join_siblings"]]
    merged = sorted(one for step in folds for one in step["merged"])
    assert merged == sorted(layer.name for layer in graph.layers if layer.type in FOLDED)
    assert all(step["exact"] for step in report["steps"])
    assert json.loads((out / "report.json").read_text())["after"] == report["after"]


@pytest.mark.parametrize("name", TEXTS)
def test_shapes_and_outputs_stay(converted, name):
    graph, out, _ = converted(name, Wishes())
    made = read_network(out / "deploy.prototxt", out / "weights.caffemodel")
    before, after = infer_shapes(graph), infer_shapes(made)
    assert {b.name: after[b] for b in made.outputs} == {b.name: before[b] for b in graph.outputs}
    assert [b.name for b in made.inputs] == [b.name for b in graph.inputs]


@pytest.mark.parametrize("name", NETS)
def test_numbers_stay(converted, name, worker, tmp_path):
    """Weights and all: the emitted pair's twin and the original's give the same in real Caffe."""
    graph, out, _ = converted(name, Wishes(exact=True))
    made = read_network(out / "deploy.prototxt", out / "weights.caffemodel")
    fed = feeds(graph)
    assert apart(run_twin(worker, tmp_path, graph, fed), run_twin(worker, tmp_path, made, fed)) <= 1e-5


def test_plans_name_the_depthwise_convolutions_regions(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NETS["ssd_mobilenet"])
    plan = make_plan(read_network(path), Wishes(exact=True))
    assert plan.recipe.steps and not [refusal for refusal in plan.refusals if refusal.pass_name.startswith("fold")]


def test_the_same_bytes_whatever_the_order_of_sets(converted, tmp_path):
    _, out, _ = converted("ssd_mobilenet", Wishes())
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for seed in "12":
        other = tmp_path / seed
        command = [sys.executable, "-m", "deepmerge", "convert", tmp_path / "in.prototxt", tmp_path / "in.caffemodel"]
        environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=str(Path(__file__).parents[2]))
        subprocess.run([*command, "-o", other, "-q"], check=True, env=environment)
        assert files == {path.relative_to(other): path.read_bytes() for path in other.rglob("*") if path.is_file()}


def test_layers_of_other_phases_go_to_train_val(converted):
    graph, _, _ = converted("zoo", Wishes(exact=True))
    assert [str(m.value("name")) for m in graph.train_layers] == ["train_data", "solo"]
    assert [layer.name for layer in graph.layers][:2] == ["input", "conv"] and len(graph.inputs) == 2
    assert {b.name for b in graph.outputs} == {"scores", "roi_pool", "unpool"}


def test_no_loss_is_put_on_detections(converted):
    """They are said to be missing once, and nothing is written that only training needs."""
    _, out, report = converted("ssd_mobilenet", Wishes())
    (warning,) = report["warnings"]
    assert warning == (
        "no train_val.prototxt, solver.prototxt and finetune.mk: no loss fits 'detection_out', "
        "the output of a DetectionOutput; give --train-val"
    )
    names = {path.name for path in out.rglob("*")}
    assert not names & {"train_val.prototxt", "solver.prototxt", "finetune.mk"} and "deploy.prototxt" in names


def test_detections_with_a_loss_of_their_own(tmp_path):
    """A train_val brings its MultiBoxLoss, so that all is written."""
    prototxt, weights = tmp_path / "in.prototxt", tmp_path / "in.caffemodel"
    prototxt.write_text(NETS["ssd_mobilenet"])
    graph = fill(read_network(prototxt))
    write_caffemodel(graph, weights)
    loss = 'layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "detection_out" bottom: "label" top: "mbox_loss" }'
    train = NETS["ssd_mobilenet"] + 'layer { name: "data" type: "AnnotatedData" top: "data" top: "label" }' + loss
    (tmp_path / "train_val.prototxt").write_text(train)
    convert(Job(prototxt, weights, tmp_path / "out", Wishes(exact=True), train_val=tmp_path / "train_val.prototxt"))
    assert (tmp_path / "out/solver.prototxt").exists() and (tmp_path / "out/finetune.mk").exists()


@pytest.mark.pitfall("row", 11)
def test_nvcaffes_halves_become_floats(tmp_path):
    """PITFALLS row 11: an NVCaffe pair of half precision comes out in float32, folded, every value there."""
    from deepmerge.formats.write.wire import block, key, varint

    prototxt, weights = tmp_path / "nv.prototxt", tmp_path / "nv.caffemodel"
    prototxt.write_text(NETS["nvcaffe"])
    graph = fill(read_network(prototxt))
    with weights.open("wb") as file:
        for layer in graph.layers:
            body = block(1, layer.name.encode()) + block(2, layer.type.encode())
            for array in layer.weights:
                dims = block(1, b"".join(varint(n) for n in array.shape))
                body += block(7, block(7, dims) + key(10, 0) + varint(2) + block(12, array.astype("<f2").tobytes()))
            file.write(block(100, body))
    convert(Job(prototxt, weights, tmp_path / "out", Wishes(exact=True)))
    made = read_network(tmp_path / "out" / "deploy.prototxt", tmp_path / "out" / "weights.caffemodel")
    half = [w.astype(np.float16).astype(np.float64) for w in graph.layer("bn").weights]
    factor = half[3] / np.sqrt(half[1] + 1e-5)
    wanted = graph.layer("conv").weights[0].astype(np.float16).astype(np.float64) * factor.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(made.layer("conv").weights[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(made.layer("conv").weights[1], half[4] - half[0] * factor, rtol=1e-6)
    assert [f.name for f in made.tree] == ["default_forward_type", "default_backward_type"]
