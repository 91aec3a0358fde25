"""Energy, as the machine's own counters read it: RAPL on Linux, NVML on NVIDIA's cards. Nothing is estimated."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


class Meter(Protocol):
    """name: what is read. joules: used since some moment; only differences mean anything."""

    name: str

    def joules(self) -> float: ...


def find_meter(device: str = "cpu") -> Meter | str:
    """The meter of the CPU's packages, or of the first GPU; or why there is none, in words."""
    try:
        return Nvml() if device != "cpu" else Rapl()
    except NoMeter as error:
        return f"not available on this machine, because {error}"


class NoMeter(Exception):
    """Why there is no meter."""


class Rapl:
    """RAPL's counters of all CPU packages, through Linux's powercap (Intel's and AMD's processors).

    They count the whole package, whatever runs on it. Source: Linux, Documentation/power/powercap/powercap.rst: energy_uj, in
    microjoules, begins anew behind max_energy_range_uj.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        if not folder.is_dir():
            raise NoMeter(
                f"it has no {folder} (RAPL): it is a virtual machine, no Linux, or has a processor without a meter"
            )
        self._zones = [
            zone
            for zone in sorted(folder.glob("*:*"))
            if zone.name.count(":") == 1 and _name(zone).startswith("package")
        ]
        if not self._zones:
            raise NoMeter(f"{folder} counts no CPU package: it is a virtual machine, or RAPL's driver is not loaded")
        self.name = "RAPL: " + ", ".join(map(_name, self._zones))
        self._last = [_read(zone, "energy_uj") for zone in self._zones]
        self._total = 0

    def joules(self) -> float:
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
    """The energy counter of the first NVIDIA card (Volta and newer), by the driver's own library.

    Source: NVML, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded.
    """

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError:
            raise NoMeter(f"it has no {library} (NVML), which comes with NVIDIA's driver") from None
        self._card = ctypes.c_void_p()
        self._ask("nvmlInit_v2")
        self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(0), ctypes.byref(self._card))
        self.joules()
        self.name = "NVML: GPU 0"

    def joules(self) -> float:
        used = ctypes.c_ulonglong()
        self._ask("nvmlDeviceGetTotalEnergyConsumption", self._card, ctypes.byref(used))
        return used.value * MILLI

    def _ask(self, function: str, *arguments) -> None:
        code = getattr(self._nvml, function)(*arguments)
        if code:
            raise NoMeter(f"NVML's {function} answers with error {code}")
