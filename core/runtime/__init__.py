"""An ONNX runtime whose execution providers are plugins: ``import runtime as ort``.

Names are imported when first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime.version import __version__

if TYPE_CHECKING:
    from runtime.api.binding import IOBinding as IOBinding
    from runtime.api.devices import OrtDevice as OrtDevice
    from runtime.api.metadata import ModelMetadata as ModelMetadata
    from runtime.api.metadata import NodeArg as NodeArg
    from runtime.api.options import RunOptions as RunOptions
    from runtime.api.options import SessionOptions as SessionOptions
    from runtime.api.predictor import Predictor as Predictor
    from runtime.api.session import InferenceSession as InferenceSession
    from runtime.api.values import OrtValue as OrtValue

_HOME = {
    "runtime.api.session": "InferenceSession",
    "runtime.api.options": "SessionOptions RunOptions",
    "runtime.api.binding": "IOBinding",
    "runtime.api.values": "OrtValue",
    "runtime.api.devices": "OrtDevice",
    "runtime.api.metadata": "NodeArg ModelMetadata",
    "runtime.api.predictor": "Predictor",
    "runtime.api.enums": (
        "ExecutionMode ExecutionOrder GraphOptimizationLevel OrtAllocatorType OrtMemType "
        "OrtDeviceMemoryType OrtMemoryInfoDeviceType OrtHardwareDeviceType "
        "OrtSparseFormat OrtExecutionProviderDevicePolicy OrtCompileApiFlags "
        "OrtDeviceVendorId"
    ),
    "runtime.api.environment": (
        "get_available_providers get_all_providers get_device "
        "register_execution_provider unregister_execution_provider "
        "set_default_logger_severity set_default_logger_verbosity set_seed "
        "get_version_string get_build_info enable_telemetry_events "
        "disable_telemetry_events has_collective_ops"
    ),
    "runtime.errors": "FallbackWarning",
    "runtime.explain": "Placement",
}
_WHERE = {name: home for home, names in _HOME.items() for name in names.split()}
_MODULES = ("api", "capi", "errors", "plugin")

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"runtime.{name}")
    home = _WHERE.get(name)
    if home is None:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
