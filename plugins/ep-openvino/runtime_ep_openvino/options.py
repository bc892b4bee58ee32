"""A session's options as OpenVINO's: device, properties, and what is done to inputs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import OptionError, ProviderUnavailable, near
from runtime.settings import Settings

from runtime_ep_openvino import spellings
from runtime_ep_openvino.tensors import engine

logger = logging.getLogger("runtime.openvino")


@dataclass(frozen=True, slots=True)
class Choice:
    """What one session asked for.

    ``precision`` is FP32, FP16, BF16 or ACCURACY; ``shapes`` are bounds of dims by input.
    """

    device: str
    precision: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, list[tuple[int, int]]] = field(default_factory=dict)
    layouts: Mapping[str, str] = field(default_factory=dict)
    static: bool = False
    cache: str = ""


def chosen(settings: Settings) -> Choice:
    """Return what a session's settings ask for.

    Raises `ProviderUnavailable` for a device that is not there and `OptionError` for a
    property that a device does not have.
    """
    options = settings.options
    target = _target(options)
    _check_present(target)
    precision = _precision(options, target)
    return Choice(
        target.device,
        precision,
        _properties(target, precision, settings),
        spellings.read_shapes(options["reshape_input"]),
        spellings.read_layouts(options["layout"]),
        options["disable_dynamic_shapes"],
        options["cache_dir"],
    )


def _target(options: Mapping[str, Any]) -> spellings.Target:
    target = spellings.read_device(options["device_type"])
    number = options["device_id"]
    if target.precision:
        _deprecated(
            f"device_type={options['device_type']!r}",
            f"device_type={target.device!r} with precision={target.precision!r}",
        )
    if number:
        whole = f"{target.device}.{number}"
        if target.device in ("GPU", "NPU"):
            _deprecated(f"device_id={number!r}", f"device_type={whole!r}")
            target = target._replace(device=whole)
        elif number not in ("0", target.device):
            raise OptionError(
                f"device_id={number!r} does not go with device_type={target.device!r}; "
                "leave it out"
            )
    return target


def _deprecated(old: str, new: str) -> None:
    message = f"OpenVINOExecutionProvider: {old} is deprecated; write {new}"
    logger.info(message)
    warnings.warn(message, DeprecationWarning, stacklevel=2)


def _check_present(target: spellings.Target) -> None:
    there = engine().available_devices
    for name in target.members:
        if not any(name == have or have.startswith(f"{name}.") for have in there):
            first = name == "GPU.0" and "GPU" in there
            if first:
                continue
            raise ProviderUnavailable(
                f"there is no device {name!r} on this machine (there is "
                f"{', '.join(there) or 'none'}); choose another device_type, or install "
                "the device's driver"
            )


def _precision(options: Mapping[str, Any], target: spellings.Target) -> str:
    asked = options["precision"] or target.precision
    if asked and target.precision and asked != target.precision:
        raise OptionError(
            f"device_type={options['device_type']!r} and precision={asked!r} contradict "
            "each other"
        )
    npu = all(name.startswith("NPU") for name in target.members or [""])
    return asked or ("FP16" if npu else "FP32")


_HINTS = {"FP32": "f32", "FP16": "f16", "BF16": "bf16"}


def _properties(
    target: spellings.Target, precision: str, settings: Settings
) -> dict[str, Any]:
    """Return what ``compile_model`` is given; members of a group get their own."""
    extra = spellings.read_config(settings.options["load_config"])
    if target.device in target.members:
        own = _member(target.device, precision, settings)
        own.update(_configured(target.device, extra))
        return own
    mode = target.device.partition(":")[0]
    shared: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    shared["MODEL_PRIORITY"] = settings.options["model_priority"]
    properties = _known(mode, shared, precision)
    properties.update(_configured(mode, extra))
    inner = {}
    for name in target.members or ["CPU"]:
        inner[name] = _member(name, precision, settings)
        inner[name].update(_configured(name, extra))
    if mode != "BATCH":
        properties["DEVICE_PROPERTIES"] = inner
    return properties


def _member(device: str, precision: str, settings: Settings) -> dict[str, Any]:
    options = settings.options
    threads = options["num_of_threads"] or settings.intra_op_threads
    wanted: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": options["num_streams"],
        "MODEL_PRIORITY": options["model_priority"],
        "ENABLE_CPU_PINNING": _whole_machine(threads),
        "INFERENCE_NUM_THREADS": threads,
    }
    if options["enable_opencl_throttling"]:
        wanted["GPU_QUEUE_THROTTLE"] = "LOW"
    return _known(device, wanted, precision)


def _whole_machine(threads: int) -> bool:
    """Whether a run uses every core there is.

    Pinned threads of sessions that use a part would all crowd the same first cores.
    """
    cores = os.cpu_count() or 1
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return min(threads or granted, granted) >= cores


def _known(device: str, wanted: dict[str, Any], precision: str) -> dict[str, Any]:
    """Return those properties that a device has; defaults are left out."""
    have = _writable(device)
    if wanted.get("MODEL_PRIORITY") == "DEFAULT":
        del wanted["MODEL_PRIORITY"]
    if not wanted.get("INFERENCE_NUM_THREADS"):
        wanted.pop("INFERENCE_NUM_THREADS", None)
    if precision == "ACCURACY":
        wanted["EXECUTION_MODE_HINT"] = "ACCURACY"
    else:
        wanted["INFERENCE_PRECISION_HINT"] = _HINTS[precision]
    return {name: value for name, value in wanted.items() if name in have}


def _writable(device: str) -> set[str]:
    found = engine().get_property(device, "SUPPORTED_PROPERTIES")
    return {str(name) for name, access in found.items() if access != "RO"}


def _configured(
    device: str, extra: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    given = extra.get(device) or extra.get(device.partition(".")[0]) or {}
    have = _writable(device) if given else set()
    for name in given:
        if name not in have:
            raise OptionError(
                f"load_config: the device {device} has no property {name!r}"
                f"{near(name, have)}"
            )
    return given
