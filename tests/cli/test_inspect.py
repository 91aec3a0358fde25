from __future__ import annotations

import json

import pytest

# Published parameter counts (BatchNorm's statistics apart)
PARAMS = {
    "alexnet": 60_965_224,
    "googlenet": 6_998_552,
    "squeezenet_v1.0": 1_248_424,
    "squeezenet_v1.1": 1_235_496,
}


@pytest.mark.parametrize("name", PARAMS)
def test_published_parameter_counts(run, models, name):
    done = run("inspect", models / name / "deploy.prototxt")
    assert done.code == 0 and done.err == ""
    totals = dict(line.split(None, 1) for line in done.out.split("\n\n")[1].splitlines())
    assert totals["parameters"] == f"{PARAMS[name]:,}"


def test_a_row_for_each_layer(run, mini):
    table, totals = run("inspect", *mini).out.split("\n\n")
    rows = {line.split()[0]: line.split() for line in table.splitlines()[2:]}
    assert rows["data"] == ["data", "Input", "1×3×32×32", "12.3"]
    assert rows["conv1/3x3"] == ["conv1/3x3", "Convolution", "1×32×32×32", "896", "884,736", "131.1"]
    assert rows["prob"][:3] == ["prob", "Softmax", "1×10"]
    assert len(rows) == 58
    assert "21 Convolution" in totals and "% of the layers" in totals


def test_what_each_layer_reads_with_v(run, mini):
    lines = run("inspect", mini[0], "-v").out.splitlines()
    concat = next(line for line in lines if line.startswith("inception_3a/output"))
    assert concat.endswith(
        "inception_3a/relu_1x1, inception_3a/relu_3x3, inception_3a/relu_5x5, inception_3a/relu_pool_proj"
    )


def test_json(run, mini):
    result = json.loads(run("inspect", *mini, "--json").out)
    assert list(result) == ["version", "network", "layers", "layer_types", "params", "macs", "storage_bytes", "activation_bytes",
                            "non_tensor_share", "layer_costs", "fork_rules", "not_counted"]  # fmt: skip
    assert set(result["activation_bytes"]) == {"caffe", "unique", "planned"}
    assert set(result["non_tensor_share"]) == {"layers", "activation_bytes"}
    conv = result["layer_costs"][1]
    assert conv == {"name": "conv1/3x3", "type": "Convolution", "reads": ["data"], "tops": [[1, 32, 32, 32]],
                    "params": 896, "macs": 884_736, "bytes": 131_072, "tensor": True}  # fmt: skip
    assert sum(cost["macs"] for cost in result["layer_costs"]) == result["macs"]


def test_one_image_whatever_the_batch(run, pair):
    one = json.loads(run("inspect", pair[0], "--json").out)
    pair[0].write_text(
        pair[0].read_text().replace("dim: 1 dim: 3", "dim: 7 dim: 3", 1).replace("dim: 1\n", "dim: 7\n", 1)
    )
    assert json.loads(run("inspect", pair[0], "--json").out) == one


def test_an_unknown_layer_has_no_shape(run, pair):
    pair[0].write_text(pair[0].read_text().replace('type: "LRN"', 'type: "Strange"', 1))
    done = run("inspect", pair[0])
    assert done.code == 0 and "unknown type 'Strange'" in done.err
    row = next(line.split() for line in done.out.splitlines() if line.startswith("pool1/norm1"))
    assert row == ["pool1/norm1", "Strange", "?", "0.0"]


def test_names_beyond_ascii(run, pair, tmp_path):
    net = tmp_path / "netz-größe.prototxt"
    net.write_text(pair[0].read_text().replace("conv1/3x3", "größe/層"), encoding="utf-8")
    done = run("inspect", net)
    assert done.code == 0 and "größe/層" in done.out
    assert run("plan", net).code == 0
    (tmp_path / "größe").mkdir()
    assert (
        run("inspect", tmp_path / "größe").line
        == f"deepmerge: {tmp_path / 'größe'}: is a directory; give the file in it"
    )


FORKS = """name: "forks"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "up" type: "Interp" bottom: "data" top: "up" interp_param { zoom_factor: 2 } }
layer { name: "odd" type: "Oddity" bottom: "up" top: "odd" }
layer { name: "c" type: "Convolution" bottom: "odd" top: "c" convolution_param { num_output: 8 kernel_size: 3 } }
"""


def test_rules_of_forks_and_what_is_not_counted(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(FORKS)
    found = json.loads(run("inspect", net, "--json").out)
    assert found["fork_rules"] == {"Interp": "DeepLab, PSPNet: interp_layer"}
    lacking = ["parameters", "MACs", "activations"]
    assert found["not_counted"] == {"odd": lacking, "c": lacking}
    text = run("inspect", net).out
    assert "Interp          DeepLab, PSPNet: interp_layer.cpp" in text
    assert "odd    parameters, MACs, activations" in text


def test_nothing_is_said_of_a_network_that_is_known(run, pair):
    found = json.loads(run("inspect", *pair, "--json").out)
    assert found["fork_rules"] == {} and found["not_counted"] == {}
    assert "fork" not in run("inspect", *pair).out
