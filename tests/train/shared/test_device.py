"""Devices and threads."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from deepmerge.errors import EngineError
from deepmerge.train.shared.device import cores, has_fast_bf16, prepare

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_cpu_is_seeded():
    assert prepare("cpu", 1, seed=3).type == "cpu" and torch.get_num_threads() == 1
    first = torch.rand(3)
    prepare("cpu", 1, seed=3)
    assert torch.equal(torch.rand(3), first)


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="Linux on x86 says so")
def test_the_processors_own_flags_say_whether_it_has_bfloat16():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert has_fast_bf16(torch.device("cpu")) == bool(flags & {"avx512_bf16", "amx_tile"})


def test_every_core_by_default():
    prepare()
    assert torch.get_num_threads() == cores() >= 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda_is_an_error():
    with pytest.raises(EngineError, match="finds no CUDA device.*; use --device cpu"):
        prepare("cuda")


def test_other_devices_are_errors():
    with pytest.raises(EngineError, match="'tpu' is not one of cpu, cuda"):
        prepare("tpu")
