"""What the doctor says of installations that lack or break something."""

from __future__ import annotations

import configparser
import importlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepmerge
from deepmerge import doctor
from deepmerge.doctor import Check, engines, packages
from deepmerge.errors import DeepmergeError, EngineError


@pytest.fixture
def versions(monkeypatch):
    """What importlib.metadata is to know of: distribution → version."""

    def known(**installed):
        monkeypatch.setattr(packages, "installed_version", lambda name: installed.get(name.replace("-", "_")))

    return known


def test_deepmerge_itself(versions):
    versions(deepmerge_caffe=deepmerge.__version__)
    check = doctor.deepmerge_itself()
    assert check.state == "ok" and check.details["version"] == deepmerge.__version__
    assert check.details["path"] in deepmerge.__file__
    versions()
    assert "not installed by pip" in doctor.deepmerge_itself().found
    versions(deepmerge_caffe="0.0.1")
    check = doctor.deepmerge_itself()
    assert check.state == "warning" and "pip has installed 0.0.1" in check.found and "--force-reinstall" in check.remedy


def test_every_required_package_is_checked():
    """setup.cfg is right: a package that is installed with deepmerge, on every Python, is one that the doctor looks at."""
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    lines = settings["options"]["install_requires"].split("\n")
    required = {re.match(r"[\w-]+", line)[0] for line in lines if line and ";" not in line}
    assert required and set(doctor.NEEDED) == required


def test_the_init_file_is_gone(monkeypatch):
    """Uninstalling the namesake takes ours along, and leaves a package without a file."""
    monkeypatch.delattr(deepmerge, "__version__")
    check = doctor.deepmerge_itself()
    assert check.state == "missing" and "__init__.py is gone" in check.found and "--force-reinstall" in check.remedy


def test_the_namesake_is_not_there(versions):
    versions(deepmerge_caffe="1")
    assert doctor.namesake().state == "ok"


def test_the_namesake_is_installed_too(versions):
    versions(deepmerge="2.0")
    check = doctor.namesake()
    assert check.state == "warning" and check.found.startswith("2.0 is installed")
    assert check.remedy.startswith("pip uninstall deepmerge; pip install --force-reinstall deepmerge-caffe")


def test_the_namesake_has_overwritten_this_package(versions, monkeypatch):
    versions(deepmerge="2.0")
    monkeypatch.setattr(deepmerge, "always_merger", object(), raising=False)
    check = doctor.namesake()
    assert check.state == "missing" and "overwritten" in check.found and "pip uninstall deepmerge" in check.remedy


def test_the_namesake_has_left_files_behind(versions, monkeypatch, tmp_path):
    versions()
    (tmp_path / "merger.py").touch()
    monkeypatch.setattr(packages, "FOLDER", tmp_path)
    check = doctor.namesake()
    assert check.state == "warning" and "merger.py" in check.found


def test_the_command_line_starts_under_the_namesakes_init():
    """Theirs has no __version__; ours must then still come as far as saying what is wrong."""
    program = "import deepmerge; del deepmerge.__version__; deepmerge.always_merger = 1; " + (
        "import deepmerge.doctor as d; d.caffe = lambda: d.Check('caffe', 'absent', ''); from deepmerge.cli import main; main(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "overwritten" in done.stdout and "pip uninstall deepmerge" in done.stdout
    assert done.stderr.startswith("deepmerge: missing or not working: deepmerge, PyPI's 'deepmerge'")


def test_packages(monkeypatch):
    check = doctor.package("numpy", "numpy")
    assert check == Check("numpy", "ok", importlib.metadata.version("numpy"), details=check.details)
    check = doctor.package("no-such-thing", "no_such_thing")
    assert (check.state, check.found, check.remedy) == ("missing", "not installed", "pip install 'no-such-thing'")


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ModuleNotFoundError("No module named 'flatbuffers'", name="flatbuffers"), "No module named 'flatbuffers'"),
        (ImportError("libcudart.so:\n cannot open"), "cannot be imported: libcudart.so: cannot open"),
        (AttributeError("module numpy has no float"), "module numpy has no float"),
    ],
)
def test_a_package_that_is_there_and_broken(monkeypatch, error, found):
    def fail(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    check = doctor.package("onnxruntime", "onnxruntime")
    assert check.state == "missing" and found in check.found and "--force-reinstall" in check.remedy


def test_the_versions_wanted_are_our_own_metadata(monkeypatch):
    wanted = ["onnx>=1.14", "protobuf<8,>=4.21", 'tomli>=1.1; python_version < "3.11"', 'lmdb>=1.3; extra == "test"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    assert [packages.wanted_versions(name) for name in ("onnx", "protobuf", "onnxruntime", "lmdb")] == [
        ">=1.14",
        "<8,>=4.21",
        "",
        "",
    ]


def test_optional_packages(monkeypatch):
    check = doctor.optional_package("no_such_thing", "photos")
    assert (check.state, check.found) == ("absent", "not installed; for photos")


def test_schema(monkeypatch):
    check = doctor.schema()
    assert check.state == "ok" and check.details["layer_fields"] > 40

    def fail(*_):
        raise DeepmergeError("caffe.desc: the compiled proto/caffe.proto is not there; build it with `make`")

    monkeypatch.setattr("deepmerge.formats.schema.fields", fail)
    check = doctor.schema()
    assert check.state == "missing" and "is not there" in check.found


def test_ort(monkeypatch):
    check = doctor.ort()
    assert check.state == "ok" and "CPUExecutionProvider" in check.details["providers"]

    def fail():
        raise RuntimeError("Unsupported model IR version: 99,\n max supported IR version: 9")

    monkeypatch.setattr(engines, "run_one_layer", fail)
    check = doctor.ort()
    assert check.state == "missing" and "\n" not in check.found and "IR version: 99" in check.found


def test_real_caffe(caffe_python):
    check = doctor.caffe()
    assert check.state == "ok" and check.details["interpreter"] == str(caffe_python)
    assert check.details["layer_types"] > 50 and "Convolution" in check.details["types"]


def test_no_real_caffe(monkeypatch):
    monkeypatch.setattr("deepmerge.engines.find_caffe.find_python", lambda: None)
    check = doctor.caffe()
    assert check.state == "absent" and "make caffe" in check.remedy and "DEEPMERGE_CAFFE_PYTHON" in check.remedy


def test_a_wrong_setting_for_real_caffe(monkeypatch):
    def fail():
        raise EngineError("DEEPMERGE_CAFFE_PYTHON=/x: does not exist")

    monkeypatch.setattr("deepmerge.engines.find_caffe.find_python", fail)
    check = doctor.caffe()
    assert check.state == "warning" and "does not exist" in check.found and "unset it" in check.remedy


def test_torch_is_not_imported_where_it_is_not(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    check = doctor.torch()
    assert check.state == "absent" and check.remedy == "pip install 'deepmerge-caffe[torch]'"


def test_torch_runs_a_network():
    torch = pytest.importorskip("torch")
    check = doctor.torch()
    assert check.state == "ok" and check.found.startswith(f"runs a network; PyTorch {torch.__version__}, ")
    assert check.details["devices"] == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def test_torch_that_does_not_run(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("deepmerge.engines.ENGINES", {})
    check = doctor.torch()
    assert check.state == "warning" and check.found.startswith("does not run: ") and "--force-reinstall" in check.remedy


def fake_smi(tmp_path, monkeypatch, script):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def test_cuda(tmp_path, monkeypatch):
    fake_smi(tmp_path, monkeypatch, "echo 'A card, 1024 MiB, 550.1'")
    check = doctor.cuda()
    assert (check.state, check.found, check.details) == ("ok", "A card, 1024 MiB, 550.1", {"devices": [check.found]})
    fake_smi(tmp_path, monkeypatch, "echo 'Driver mismatch' >&2; exit 9")
    check = doctor.cuda()
    assert check.state == "warning" and "Driver mismatch" in check.found
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert doctor.cuda().state == "absent"


def test_the_machine():
    check = doctor.cpu()
    assert check.details["cores"] >= check.details["usable_cores"] >= 1 and check.details["model"]
    assert doctor.memory().state in ("ok", "absent")
