"""proto/caffe.proto is real Caffe's schema, and deepmerge.formats.schema tells it rightly, under any protobuf."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format

from deepmerge.errors import DeepmergeError
from deepmerge.formats import schema

FLOATS = (descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT, descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE)


def described(file: descriptor_pb2.FileDescriptorProto) -> dict[str, object]:
    """A schema as a flat dict: "Message.field" → all that the format depends on, "Message.Enum" → its values."""
    flat: dict[str, object] = {"package": file.package, "syntax": file.syntax or "proto2"}
    add_enums(flat, "", file.enum_type)
    for message in file.message_type:
        add_message(flat, message)
    return flat


def add_message(flat: dict[str, object], message: descriptor_pb2.DescriptorProto, prefix: str = "") -> None:
    name = prefix + message.name
    flat[name] = "message"
    for field in message.field:
        default = field.default_value if field.HasField("default_value") else None
        if default is not None and field.type in FLOATS:
            default = float(default)
        flat[f"{name}.{field.name}"] = (
            field.number,
            field.label,
            field.type,
            field.type_name,
            default,
            field.options.packed,
            field.HasField("oneof_index"),
        )
    add_enums(flat, f"{name}.", message.enum_type)
    for nested in message.nested_type:
        add_message(flat, nested, f"{name}.")


def add_enums(flat: dict[str, object], prefix: str, enums) -> None:
    for enum in enums:
        flat[prefix + enum.name] = {value.name: value.number for value in enum.value}


@pytest.fixture(scope="module")
def ours() -> descriptor_pb2.FileDescriptorProto:
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(schema.DESCRIPTOR_FILE.read_bytes()).file
    return file


@pytest.fixture(scope="module")
def real(caffe_python: Path) -> descriptor_pb2.FileDescriptorProto:
    program = "import base64; from caffe.proto import caffe_pb2; print(base64.b64encode(caffe_pb2.DESCRIPTOR.serialized_pb).decode())"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([caffe_python, "-c", program], env=environment, check=True, capture_output=True, text=True)
    return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(done.stdout.split()[-1]))


def test_equals_real_caffe_field_by_field(ours, real):
    expected, found = described(real), described(ours)
    assert len(expected) > 500  # 67 messages, some 440 fields
    assert found == expected


def test_no_number_is_used_twice(ours):
    for message in ours.message_type:
        numbers = [field.number for field in message.field]
        assert len(numbers) == len(set(numbers)), message.name


def test_fields_of_each_kind():
    Field = schema.Field
    pooling = schema.fields("PoolingParameter")
    assert pooling["pool"] == Field("pool", 1, "enum", False, False, "MAX", "PoolingParameter.PoolMethod")
    assert pooling["kernel_h"] == Field("kernel_h", 5, "uint", False, False, None, None)
    assert pooling["global_pooling"] == Field("global_pooling", 12, "bool", False, False, False, None)
    blob = schema.fields("BlobProto")
    assert blob["shape"] == Field("shape", 7, "message", False, False, None, "BlobShape")
    assert blob["data"] == Field("data", 5, "float", True, True, None, None)
    assert blob["double_data"] == Field("double_data", 8, "double", True, True, None, None)
    assert schema.fields("BlobShape")["dim"] == Field("dim", 1, "int", True, True, None, None)
    assert schema.fields("Datum")["data"] == Field("data", 4, "bytes", False, False, None, None)
    assert schema.fields("FillerParameter")["type"] == Field("type", 1, "string", False, False, "constant", None)
    assert schema.fields("BatchNormParameter")["eps"] == Field("eps", 3, "float", False, False, 1e-5, None)
    assert schema.fields("LayerParameter")["phase"] == Field("phase", 10, "enum", False, False, None, "Phase")
    assert schema.fields("FillerParameter")["sparse"].default == -1
    assert schema.fields("ConvolutionParameter")["bias_term"].default is True
    assert schema.fields("PythonParameter")["param_str"].default == ""


def test_every_type_that_is_named_is_there(ours):
    for message in ours.message_type:
        for field in schema.fields(message.name).values():
            if field.kind == "message":
                assert schema.fields(field.type_name)
            elif field.kind == "enum":
                values = schema.enum_values(field.type_name)
                assert field.default is None or field.default in values
            else:
                assert field.type_name is None


def test_enum_values():
    assert schema.enum_values("Phase") == {"TRAIN": 0, "TEST": 1}
    assert schema.enum_values("ReductionParameter.ReductionOp") == {"SUM": 1, "ASUM": 2, "SUMSQ": 3, "MEAN": 4}
    assert schema.enum_values("V1LayerParameter.LayerType")["CONVOLUTION"] == 4


def test_what_is_handed_out_cannot_be_changed():
    with pytest.raises(TypeError):
        schema.fields("NetParameter")["name"] = None
    with pytest.raises(TypeError):
        schema.enum_values("Phase")["TEST"] = 0


@pytest.mark.parametrize("look_up", [schema.fields, schema.descriptor, schema.message_class])
def test_unknown_message(look_up):
    with pytest.raises(DeepmergeError, match="no message is called 'NetParam'"):
        look_up("NetParam")


def test_unknown_enum():
    with pytest.raises(DeepmergeError, match="no enum is called 'PoolMethod'"):
        schema.enum_values("PoolMethod")


def test_message_class_reads_and_writes():
    NetParameter = schema.message_class("NetParameter")
    assert NetParameter is schema.message_class("NetParameter")
    assert NetParameter.DESCRIPTOR is schema.descriptor("NetParameter")
    text = 'name: "n" layer { name: "p" type: "Pooling" pooling_param { pool: AVE kernel_h: 3 } }'
    net = text_format.Parse(text, NetParameter())
    again = NetParameter.FromString(net.SerializeToString())
    assert again == net
    assert again.layer[0].pooling_param.pool == schema.enum_values("PoolingParameter.PoolMethod")["AVE"]
    assert not again.layer[0].pooling_param.HasField("kernel_w")


PYCAFFE_FIRST = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool
(file,) = descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[1], "rb").read()).file
file.name = "caffe/proto/caffe.proto"                                       # as caffe_pb2 registers it
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
theirs = descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")

from deepmerge.formats import schema
assert schema.descriptor("NetParameter") is not theirs
assert schema.message_class("NetParameter")(name="n").SerializeToString() == b"\\n\\x01n"
"""


@pytest.mark.pitfall("row", 1)
@pytest.mark.parametrize("implementation", ["", "python"])
def test_beside_an_imported_pycaffe(implementation):
    environment = os.environ | ({"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation} if implementation else {})
    done = subprocess.run(
        [sys.executable, "-c", PYCAFFE_FIRST, schema.DESCRIPTOR_FILE],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("content", "reason"), [(None, "is not there"), (b"\x0a\xff\xff", "not a compiled")])
def test_descriptor_missing_or_broken(tmp_path, content, reason):
    spec = importlib.util.spec_from_file_location("schema_without_descriptor", schema.__file__)
    fresh = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fresh
    try:
        spec.loader.exec_module(fresh)
        fresh.DESCRIPTOR_FILE = tmp_path / "caffe.desc"
        if content is not None:
            fresh.DESCRIPTOR_FILE.write_bytes(content)
        with pytest.raises(DeepmergeError, match=f"caffe.desc.*{reason}.*pip install -e") as caught:
            fresh.fields("NetParameter")
    finally:
        del sys.modules[spec.name]
    assert "\n" not in str(caught.value)


@pytest.mark.pitfall("row", 1)
def test_make_tests_every_major_of_protobuf_that_is_claimed():
    """The first release that setup.cfg takes, and one of each major up to the one that it does not take."""
    root = Path(__file__).parents[2]
    claimed = re.search(r"protobuf>=([0-9.]+),<([0-9]+)", (root / "setup.cfg").read_text())
    tested = re.search(r"^PROTOBUFS *:= *(.*)$", (root / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert tested[0].startswith(f"{claimed[1]}.")
    assert {int(version.split(".")[0]) for version in tested} == set(
        range(int(claimed[1].split(".")[0]), int(claimed[2]))
    )


@pytest.mark.pitfall("row", 8)
def test_no_weight_passes_through_protobuf(models, tmp_path, monkeypatch):
    """Whose limits are 64 MB, 512 MB and 2 GB: a conversion makes none of its messages."""
    from tests.conversion import Job, convert

    def refuse(*_):
        raise AssertionError("a message was made")

    monkeypatch.setattr(schema, "message_class", refuse)
    monkeypatch.setattr(schema, "descriptor", refuse)
    mini = models / "inception_mini"
    convert(Job(mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel", tmp_path / "out"))
    assert (tmp_path / "out/weights.caffemodel").stat().st_size > 100_000
