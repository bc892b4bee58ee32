"""OrtDevice, device names, and copies between devices without a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime.api.inner import Inner, itself
from runtime.errors import TransferUnavailable
from runtime.explain import Event, Report, warn_once
from runtime.plugin import HOST, Device
from runtime.providers import Installed, Providers, Request, registry
from runtime.settings import Settings

_TYPES = {
    "cpu": 0,
    "cuda": 1,
    "gpu": 1,
    "webgpu": 1,
    "fpga": 2,
    "npu": 3,
    "cann": 3,
    "dml": 1,
}


_VENDORS = {"cuda": 0x10DE, "cann": 0x19E5, "dml": 0x1414}
"""Who makes the devices of a kind, by PCI number."""


_NUMBERS = {
    "cuda": 1,
    "gpu": 1,
    "webgpu": 1,
    "fpga": 2,
    "npu": 3,
    "cann": 3,
    "dml": 4,
    "default_memory": 0,
}
"""What the extension module's functions of these names return."""

_KINDS = {0: "cpu", 1: "cuda", 2: "fpga", 3: "npu", 4: "dml"}
"""Whose devices clients mean by a number of a type, where they name no vendor."""


class OrtDevice:
    """A device by kind, number and vendor.

    It is made of these, or as in the extension module: of the numbers of its type, its
    memory, its vendor where that is told, and its own; or of another OrtDevice.
    """

    _kind: str
    _id: int
    _vendor: int
    _ort_device = Inner(itself)

    def __init__(
        self,
        kind: str | int | OrtDevice,
        device_id: int = 0,
        vendor_id: int = -1,
        *last: int,
    ) -> None:
        if isinstance(kind, OrtDevice):
            device_id, vendor_id, kind = kind._id, kind._vendor, kind._kind
        elif isinstance(kind, int):  # then the second number is the memory's
            device_id, vendor_id = (last[0], vendor_id) if last else (vendor_id, 0)
            kind = _KINDS[kind]
        self._kind = kind
        self._id = device_id
        self._vendor = _VENDORS.get(kind, 0) if vendor_id == -1 else vendor_id

    @staticmethod
    def make(name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        """Return the device of a name such as ``cuda``."""
        return OrtDevice(device_of(name, device_id).kind, device_id, vendor_id)

    @staticmethod
    def cpu() -> int:
        """Return the device type of the host."""
        return 0

    def device_id(self) -> int:
        """Return the device's number."""
        return self._id

    def device_type(self) -> int:
        """Return the kind as onnxruntime numbers it."""
        return _TYPES.get(self._kind, 3)

    def device_vendor_id(self) -> int:
        """Return the PCI vendor; 0 is nobody in particular."""
        return self._vendor

    def device_mem_type(self) -> int:
        """Return 0, the device's default memory."""
        return 0

    def _get_c_device(self) -> OrtDevice:
        return self


for _name, _number in _NUMBERS.items():
    setattr(OrtDevice, _name, staticmethod(partial(int, _number)))


def device_of(name: str, index: int = 0) -> Device:
    """Return the device of a lower-case name.

    Raises ``ValueError`` for a name that neither onnxruntime nor an installed provider
    knows.
    """
    kinds = {kind for e in registry.all().values() for kind in e.info.device_kinds}
    if name not in kinds and name not in _TYPES:
        raise ValueError(f"Unsupported device type: {name}")
    return HOST if name == "cpu" else Device(name, index)


def transfer(source: Device, target: Device) -> Callable[[Any], Any]:
    """Return a copy function by any installed provider that owns one of the devices.

    Raises ``RuntimeError`` saying what is missing.
    """
    if source == target:
        return lambda value: value
    try:
        return _providers(frozenset({source.kind, target.kind})).transfer(
            source, target
        )
    except TransferUnavailable as error:
        foreign = source if source != HOST else target
        raise RuntimeError(
            f"no usable provider here owns the device {foreign}; "
            "runtime doctor tells what is installed and what it lacks"
        ) from error


def reachable(device: Device) -> Device:
    """Return a device that can be used from here: itself, or loudly the host.

    Raises ``RuntimeError`` instead where ``RUNTIME_STRICT`` is set.
    """
    try:
        transfer(HOST, device)
    except RuntimeError as error:
        if is_strict():
            raise
        missing(device, str(error))
        return HOST
    return device


def missing(device: Device, reason: str) -> None:
    """Warn that values asked for on a device are on the host instead."""
    warn_once(Event(f"device {device}", "request", reason, "values are on the host"))


def is_strict() -> bool:
    """Whether the environment forbids falling back."""
    return os.environ.get("RUNTIME_STRICT", "") not in ("", "0")


_held: dict[tuple[int, ...], tuple[list[Installed], Providers]] = {}
"""Opened providers by what is registered, which is kept so that it is known again."""


def _providers(kinds: frozenset[str]) -> Providers:
    """Return the providers that own devices of some kinds and can be used now."""
    entries = [
        entry
        for entry in registry.all().values()
        if kinds & set(entry.info.device_kinds) and entry.probe().usable
    ]
    key = tuple(map(id, entries))
    if key not in _held:
        requests = [Request(entry.name) for entry in entries]
        _held[key] = entries, Providers.open(requests, Settings(), Report())
    return _held[key][1]
