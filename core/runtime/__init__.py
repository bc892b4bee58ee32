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

version = __version__  # onnxruntime's name for it; the module is found all the same

_HOME = {
    "runtime.api.session": "InferenceSession",
    "runtime.api.options": "SessionOptions RunOptions",
    "runtime.api.binding": "IOBinding SessionIOBinding",
    "runtime.api.values": "OrtValue",
    "runtime.api.vector": "OrtValueVector",
    "runtime.api.sparse": "SparseTensor",
    "runtime.api.devices": "OrtDevice",
    "runtime.api.memory": (
        "OrtMemoryInfo OrtArenaCfg create_and_register_allocator "
        "create_and_register_allocator_v2"
    ),
    "runtime.api.hardware": (
        "OrtHardwareDevice OrtEpDevice OrtSyncStream get_ep_devices"
    ),
    "runtime.api.assignment": "OrtEpAssignedNode OrtEpAssignedSubgraph",
    "runtime.api.metadata": "NodeArg ModelMetadata",
    "runtime.api.compiler": "ModelCompiler OrtExternalInitializerInfo",
    "runtime.api.context_data": "OrtEpContextData OrtEpContextDataBuffer",
    "runtime.api.predictor": "Predictor",
    "runtime.api.libraries": "preload_dlls print_debug_info",
    "runtime.api.package": "package_name cuda_version import_capi_exception",
    "runtime.api.enums": (
        "ExecutionMode ExecutionOrder GraphOptimizationLevel OrtAllocatorType OrtMemType "
        "OrtDeviceMemoryType OrtMemoryInfoDeviceType OrtHardwareDeviceType "
        "OrtSparseFormat OrtExecutionProviderDevicePolicy OrtCompileApiFlags "
        "OrtDeviceVendorId ModelPackageWriteMode"
    ),
    "runtime.api.environment": (
        "get_available_providers get_all_providers get_device "
        "register_execution_provider unregister_execution_provider "
        "register_execution_provider_library unregister_execution_provider_library "
        "set_default_logger_severity set_default_logger_verbosity "
        "set_default_logger_callback set_global_thread_pool_sizes set_seed "
        "get_version_string get_build_info enable_telemetry_events "
        "disable_telemetry_events has_collective_ops copy_tensors"
    ),
    "runtime.api.refused": (
        "AdapterFormat LoraAdapter ModelPackage ModelPackageComponentContext "
        "ModelPackageContext ModelPackageOptions"
    ),
    "runtime.errors": "FallbackWarning",
    "runtime.explain": "Placement",
}
_WHERE = {name: home for home, names in _HOME.items() for name in names.split()}
_MODULES = {
    "api": "runtime.api",
    "as_onnxruntime": "runtime.as_onnxruntime",
    "backend": "runtime.backend",
    "capi": "runtime.capi",
    "datasets": "runtime.datasets",
    "errors": "runtime.errors",
    "onnxruntime_validation": "runtime.capi.onnxruntime_validation",
    "plugin": "runtime.plugin",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    home = _WHERE.get(name)
    if home is None:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    public = {name for name in globals() if name.startswith("__")}
    return sorted({*public, *_WHERE, *_MODULES})
