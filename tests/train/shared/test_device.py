"""Devices and threads."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
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


FAULTS = """
import ctypes
import resource
from deepmerge.train.shared.device import prepare

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault
prepare(threads=1)
for _ in range(2):  # the second round finds what the first has freed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * (1 << 26)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc's malloc")
def test_freed_memory_is_kept():
    """Without that, each of five allocations would be mapped anew, with a page fault for each of its pages."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < (1 << 26) // resource.getpagesize()


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
