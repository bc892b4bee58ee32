"""What machinery there is and which providers run on it: OrtEpDevice and its like."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from runtime.api.enums import (
    OrtAllocatorType,
    OrtCompiledModelCompatibility,
    OrtDeviceMemoryType,
    OrtHardwareDeviceType,
    OrtMemType,
)
from runtime.api.memory import OrtMemoryInfo
from runtime.plugin import HOST, Device
from runtime.providers import HOST_ALIAS, Installed, registry, resolve

_NPUS = frozenset({"npu", "cann", "ane", "qnn"})
_VENDORS = {
    "AuthenticAMD": ("AMD", 0x1022),
    "GenuineIntel": ("Intel", 0x8086),
    "Apple": ("Apple", 0x106B),
    "ARM": ("ARM", 0x13B5),
}
_OF_KIND = {"cuda": ("NVIDIA", 0x10DE), "hip": ("AMD", 0x1002)}


@dataclass(frozen=True, slots=True)
class OrtHardwareDevice:
    """A piece of hardware that providers can run on."""

    type: OrtHardwareDeviceType
    vendor: str
    vendor_id: int
    device_id: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrtSyncStream:
    """A stream of work on a device; values here come finished, so there is none to wait for."""

    device: Device

    def get_handle(self) -> int:
        """Return 0, the device's default stream."""
        return 0


@dataclass(frozen=True, slots=True)
class OrtEpDevice:
    """A provider on one of the devices it can use here."""

    ep_name: str
    ep_vendor: str
    ep_metadata: Mapping[str, str]
    ep_options: Mapping[str, str]
    device: OrtHardwareDevice
    _place: Device = HOST

    def memory_info(self, memory_type: OrtDeviceMemoryType) -> OrtMemoryInfo | None:
        """Return the device's own memory; ``None`` for the host, which needs none."""
        if self._place == HOST or memory_type != OrtDeviceMemoryType.DEFAULT:
            return None
        return OrtMemoryInfo(
            self._place.kind,
            OrtAllocatorType.ORT_DEVICE_ALLOCATOR,
            self._place.index,
            OrtMemType.DEFAULT,
            memory_type,
            self.device.vendor_id,
        )

    def create_sync_stream(self) -> OrtSyncStream:
        """Return the device's default stream; the host has none, a RuntimeError."""
        if self._place == HOST:
            raise RuntimeError(
                f"{self.ep_name} runs on the host, which has no streams; values there "
                "are finished when a run returns"
            )
        return OrtSyncStream(self._place)


def get_ep_devices() -> list[OrtEpDevice]:
    """Return every installed provider on every device it can use, the host's last."""
    found = [
        _ep_device(entry, device)
        for entry in registry.all().values()
        if entry.probe().usable
        for device in entry.probe().devices
    ]
    host = resolve(HOST_ALIAS)
    last = "" if host is None else host.name
    return sorted(found, key=lambda each: each.ep_name == last)


def get_hardware_devices() -> list[OrtHardwareDevice]:
    """Return the hardware that installed providers can use."""
    found: list[OrtHardwareDevice] = []
    for each in reversed(get_ep_devices()):
        if each.device not in found:
            found.append(each.device)
    return found


def _ep_device(entry: Installed, device: Device) -> OrtEpDevice:
    metadata = {"version": entry.info.version} if entry.info.version else {}
    return OrtEpDevice(
        entry.name, entry.info.vendor, metadata, {}, hardware_of(device), device
    )


@cache
def hardware_of(device: Device) -> OrtHardwareDevice:
    """Return the hardware behind a device."""
    if device == HOST:
        vendor, number = _VENDORS.get(_processor(), (_processor(), 0))
        return OrtHardwareDevice(OrtHardwareDeviceType.CPU, vendor, number, 0)
    kind = (
        OrtHardwareDeviceType.NPU if device.kind in _NPUS else OrtHardwareDeviceType.GPU
    )
    vendor, number = _OF_KIND.get(device.kind, ("", 0))
    return OrtHardwareDevice(kind, vendor, number, device.index, {"kind": device.kind})


def _processor() -> str:
    """Return who made the processor, as it says itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "vendor_id":
            return value.strip()
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "Apple" if platform.system() == "Darwin" else "ARM"
    return platform.processor().split(" ")[0]


def get_hardware_device_ep_incompatibility_details(
    ep_name: str, hardware_device: OrtHardwareDevice
) -> dict[str, Any]:
    """Return why a provider cannot run here: ``reasons_bitmask`` is 0 where it can."""
    entry = resolve(ep_name)
    if entry is None:
        raise RuntimeError(
            f"there is no provider {ep_name!r} here; runtime doctor lists those installed"
        )
    probe = entry.probe()
    if probe.usable:
        return {"reasons_bitmask": 0, "notes": None, "error_code": 0}
    notes = "; ".join(filter(None, (probe.reason, probe.remedy)))
    return {"reasons_bitmask": 4, "notes": notes, "error_code": 1}


def get_model_compatibility_for_ep_devices(
    ep_devices: Sequence[OrtEpDevice], compatibility_info: str
) -> OrtCompiledModelCompatibility:
    """Return that compiled models say for themselves whom they fit, when they are opened."""
    return OrtCompiledModelCompatibility.EP_NOT_APPLICABLE


def get_compatibility_info_from_model(path: str, ep_name: str) -> str | None:
    """Return what a compiled model's file says for a provider, or ``None``."""
    return _compatibility(path, ep_name)


def get_compatibility_info_from_model_bytes(data: bytes, ep_name: str) -> str | None:
    """Return what a compiled model says for a provider, or ``None``."""
    return _compatibility(bytes(data), ep_name)


def _compatibility(source: Any, ep_name: str) -> str | None:
    from runtime.api.exceptions import translation
    from runtime.model import load

    with translation():
        metadata = load(source).metadata
    return dict(metadata).get(f"ep_compatibility_info.{ep_name}")
