"""Meters as Linux shows them, in a folder of our own; what is said where there is none."""

from __future__ import annotations

import sys
import types

import pytest

from deepmerge.measure.bench import energy
from deepmerge.measure.bench.energy import NoMeter, Nvml, Rapl, find_meter


def zone(folder, name, called, used, most=1000000):
    one = folder / name
    one.mkdir(parents=True)
    (one / "name").write_text(called + "\n")
    (one / "energy_uj").write_text(str(used))
    (one / "max_energy_range_uj").write_text(str(most))
    return one


def test_packages_are_summed_and_their_counters_go_round(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 999_900)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)  # a part of package-0
    zone(tmp_path, "intel-rapl:2", "psys", 5)  # the whole board, the packages included
    meter = Rapl(tmp_path)
    assert meter.name == "RAPL: package-0, package-1" and meter.joules() == 0
    (first / "energy_uj").write_text("600")
    (second / "energy_uj").write_text("150")
    assert meter.joules() == pytest.approx((500 + 250) * 1e-6)
    assert meter.joules() == pytest.approx((500 + 250) * 1e-6)


def test_no_meter_is_said_not_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    with pytest.raises(NoMeter, match="it has no .*none"):
        Rapl(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoMeter, match="counts no CPU package"):
        Rapl(tmp_path / "empty")
    (zone(tmp_path / "broken", "intel-rapl:0", "package-0", 1) / "energy_uj").unlink()
    with pytest.raises(NoMeter, match="energy_uj cannot be read"):
        Rapl(tmp_path / "broken")


def test_a_counter_for_root_alone(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)

    def refuse(path, *_, **__):
        raise PermissionError if path.name == "energy_uj" else FileNotFoundError

    meter = Rapl(tmp_path)
    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(NoMeter, match="may not be read; let root run this"):
        meter.joules()


def test_a_machines_own():
    try:
        assert find_meter().joules() >= 0
    except NoMeter as error:
        assert str(error).startswith("not available on this machine, because")


class FakeNvml(types.ModuleType):
    """The library, with 5 J on the counter of card 0, 9 J on that of card 2, and 7 J on that of the card GPU-7."""

    cards = 1

    class NVMLError(Exception):
        pass

    fails_at = ""

    def nvmlInit(self):
        self.answer("nvmlInit")

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.answer(f"card {index}")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return self.answer(f"card {uuid}")

    def nvmlDeviceGetTotalEnergyConsumption(self, card):
        self.answer("nvmlDeviceGetTotalEnergyConsumption")
        return {"card 0": 5000, "card GPU-7": 7000, "card 2": 9000}[card]

    def answer(self, name):
        if name == self.fails_at:
            raise self.NVMLError("Not Supported")
        return name


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return fake


def test_nvml(nvml):
    assert Nvml().joules() == 5.0 and find_meter("cuda").name == "NVML: GPU 0"
    nvml.fails_at = "nvmlDeviceGetTotalEnergyConsumption"
    with pytest.raises(NoMeter, match="because NVML cannot read the GPU's energy counter: Not Supported"):
        find_meter("cuda")
    nvml.fails_at = "nvmlInit"
    with pytest.raises(NoMeter, match="because NVML finds no GPU: Not Supported"):
        find_meter("cuda")


@pytest.mark.parametrize(
    ("cards", "visible", "order", "joules", "name"),
    [
        (1, "", "", 5.0, "NVML: GPU 0"),
        (1, "0", "", 5.0, "NVML: GPU 0"),
        (3, "GPU-7,GPU-8", "", 7.0, "NVML: GPU-7"),
        (3, "2,0", "PCI_BUS_ID", 9.0, "NVML: GPU 2"),
    ],
)
def test_nvml_reads_the_first_card_that_cuda_sees(nvml, monkeypatch, cards, visible, order, joules, name):
    nvml.cards = cards
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    meter = Nvml()
    assert (meter.joules(), meter.name) == (joules, name)


@pytest.mark.parametrize(("cards", "visible"), [(2, ""), (2, "0"), (2, "1"), (1, "MIG-4")])
def test_a_card_that_nvml_cannot_tell_is_not_read(nvml, monkeypatch, cards, visible):
    """CUDA counts the fastest card first, NVML by the bus."""
    nvml.cards = cards
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NoMeter, match="cannot tell which card is CUDA's first; give its UUID in CUDA_VISIBLE_DEVICES"):
        Nvml()


def test_nvml_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoMeter, match="NVML needs nvidia-ml-py: pip install 'deepmerge-caffe.nvml.'"):
        find_meter("cuda")


def test_a_package_that_is_shown_twice_counts_once(tmp_path):
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 7)
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    meter = Rapl(tmp_path)
    (first / "energy_uj").write_text("600")
    assert meter.name == "RAPL: package-0" and meter.joules() == pytest.approx(500e-6)
