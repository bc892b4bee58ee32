"""Which providers a session takes when its options name devices or a preference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.api.enums import OrtExecutionProviderDevicePolicy as Policy
from runtime.api.enums import OrtHardwareDeviceType as Kind
from runtime.api.exceptions import InvalidArgument
from runtime.api.hardware import OrtEpDevice, get_ep_devices

Delegate = Callable[
    [list[OrtEpDevice], Mapping[str, str], Mapping[str, str], int],
    Sequence[OrtEpDevice],
]
"""Chooses among devices, given the model's metadata and the most that may be chosen."""

_PREFERS = {
    Policy.DEFAULT: Kind.CPU,
    Policy.PREFER_CPU: Kind.CPU,
    Policy.PREFER_NPU: Kind.NPU,
    Policy.PREFER_GPU: Kind.GPU,
    Policy.MAX_PERFORMANCE: Kind.GPU,
    Policy.MAX_EFFICIENCY: Kind.NPU,
    Policy.MIN_OVERALL_POWER: Kind.NPU,
}
_MOST = 8

Chosen = list[tuple[str, dict[str, str]]]


def requests_for(
    devices: Sequence[OrtEpDevice], options: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Return the provider of some devices and its options.

    Raises `InvalidArgument` for no device, and for devices of several providers.
    """
    names = {device.ep_name for device in devices}
    if not devices:
        raise InvalidArgument("Must provide one or more OrtEpDevice instances.")
    if len(names) > 1:
        raise InvalidArgument(
            f"all OrtEpDevice instances are of one provider, found {sorted(names)}"
        )
    index = devices[0].device.device_id
    number = {"device_id": str(index)} if index else {}
    return devices[0].ep_name, {**number, **options}


def preferred(policy: Policy) -> Chosen:
    """Return the first device of the kind a policy prefers, then the host."""
    devices = get_ep_devices()
    kind = _PREFERS[policy]
    liked = [each for each in devices if each.device.type == kind != Kind.CPU]
    host = [each for each in devices if each.device.type == Kind.CPU][-1:]
    return _distinct([*liked[:1], *host])


def delegated(delegate: Delegate, metadata: Mapping[str, str]) -> Chosen:
    """Return what the caller's function chooses.

    Raises `InvalidArgument` where it chooses nothing, or something else than devices.
    """
    chosen = list(delegate(get_ep_devices(), metadata, {}, _MOST))
    if not chosen or not all(isinstance(each, OrtEpDevice) for each in chosen):
        raise InvalidArgument(
            "the selection delegate returns a list of one or more of the devices it was "
            f"given, found {chosen!r:.80}"
        )
    return _distinct(chosen[:_MOST])


def described(meta: Any) -> dict[str, str]:
    """Return a model's metadata as delegates get it: all of it strings."""
    return {
        "producer_name": meta.producer_name,
        "graph_name": meta.graph_name,
        "domain": meta.domain,
        "doc_string": meta.description,
        "graph_description": meta.graph_description,
        "model_version": str(meta.version),
        **meta.custom_metadata_map,
    }


def _distinct(devices: Sequence[OrtEpDevice]) -> Chosen:
    found: dict[str, list[OrtEpDevice]] = {}
    for device in devices:
        found.setdefault(device.ep_name, []).append(device)
    return [requests_for(each, {}) for each in found.values()]
