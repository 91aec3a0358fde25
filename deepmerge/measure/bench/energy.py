"""Energy, read from the machine's own counters: RAPL on Linux, NVML on NVIDIA's cards. Nothing is estimated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


class Meter(Protocol):
    """An energy counter. name: what is read. joules: used since some moment; only differences mean anything."""

    name: str

    def joules(self) -> float:
        """Read the counter."""
        ...


class NoMeter(Exception):  # noqa: N818  (says why there is none; it is not a failure)
    """There is no meter, or it cannot be read; the message says why."""

    def __init__(self, reason: str):
        super().__init__(f"not available on this machine, because {reason}")


def find_meter(device: str = "cpu") -> Meter:
    """Return the meter of the CPU's packages, or of the first GPU that CUDA sees. Raises NoMeter if there is none."""
    return Rapl() if device == "cpu" else Nvml()


class Rapl:
    """RAPL's counters of all CPU packages, through Linux's powercap (Intel's and AMD's processors).

    They count the whole package, with everything that runs on it.
    Source: Linux, Documentation/power/powercap/powercap.rst: energy_uj, in microjoules, starts again from 0 after
    max_energy_range_uj.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        if not folder.is_dir():
            raise NoMeter(
                f"it has no {folder} (RAPL): it is a virtual machine, not Linux, or its processor has no meter"
            )
        zones = [zone for zone in folder.glob("*:*") if zone.name.count(":") == 1 and _name(zone).startswith("package")]
        zones.sort(key=lambda zone: ("-mmio" not in zone.name, zone.name))  # which shows the same package once more
        self._zones = list({_name(zone): zone for zone in zones}.values())
        if not self._zones:
            raise NoMeter(f"{folder} counts no CPU package: it is a virtual machine, or RAPL's driver is not loaded")
        self.name = "RAPL: " + ", ".join(map(_name, self._zones))
        self._last = [_read(zone, "energy_uj") for zone in self._zones]
        self._total = 0

    def joules(self) -> float:
        """Read the counters and return their sum."""
        for index, zone in enumerate(self._zones):
            now = _read(zone, "energy_uj")
            used = now - self._last[index]
            self._total += used if used >= 0 else used + _read(zone, "max_energy_range_uj")
            self._last[index] = now
        return self._total * MICRO


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _read(zone: Path, field: str) -> int:
    try:
        return int((zone / field).read_text())
    except PermissionError:
        raise NoMeter(f"{zone / field} may not be read; let root run this, or chmod a+r it") from None
    except (OSError, ValueError) as error:
        raise NoMeter(f"{zone / field} cannot be read: {error}") from None


class Nvml:
    """The energy counter of the first NVIDIA card that CUDA sees (Volta and newer), read by nvidia-ml-py.

    Source: NVML, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError:
            raise NoMeter("NVML needs nvidia-ml-py: pip install 'deepmerge-caffe[nvml]'") from None
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            card, self._card = _first_card(pynvml)
        except pynvml.NVMLError as error:
            raise NoMeter(f"NVML finds no GPU: {error}") from None
        self.name = f"NVML: {card}"
        self.joules()

    def joules(self) -> float:
        """Read the counter."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card) * MILLI
        except self._nvml.NVMLError as error:
            raise NoMeter(f"NVML cannot read the GPU's energy counter: {error}") from None


def _first_card(nvml: Any) -> tuple[str, Any]:
    """Return the name and NVML's handle of the card that CUDA counts as its first.

    NVML sees all cards, whatever CUDA_VISIBLE_DEVICES says, and counts them by the bus; CUDA begins with the fastest
    unless CUDA_DEVICE_ORDER says otherwise. NoMeter where several cards leave open which one is the first.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    first = visible.split(",")[0].strip()
    if first.startswith("GPU-"):
        return first, nvml.nvmlDeviceGetHandleByUUID(first)
    alike = nvml.nvmlDeviceGetCount() == 1 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if alike and (not first or first.isdecimal()):
        return f"GPU {first or 0}", nvml.nvmlDeviceGetHandleByIndex(int(first or 0))
    raise NoMeter("NVML cannot tell which card is CUDA's first; give its UUID in CUDA_VISIBLE_DEVICES (nvidia-smi -L)")
