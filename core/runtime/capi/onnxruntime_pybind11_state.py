"""The names of onnxruntime's extension module, under the path clients import them from."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import runtime
from runtime.api.exceptions import (
    DeviceReset,
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    ModelLoaded,
    ModelRequiresCompilation,
    NoModel,
    NoSuchFile,
    NotFound,
    NotImplemented,
    RuntimeException,
)

_HOME = {
    "runtime.api.enums": (
        "ArenaExtendStrategy OrtCompiledModelCompatibility "
        "OrtDeviceEpIncompatibilityReason"
    ),
    "runtime.api.hardware": (
        "get_hardware_devices get_hardware_device_ep_incompatibility_details "
        "get_model_compatibility_for_ep_devices get_compatibility_info_from_model "
        "get_compatibility_info_from_model_bytes"
    ),
    "runtime.api.sparse": "SparseCooView SparseCsrView SparseBlockSparseView",
    "runtime.api.refused": (
        "opkernel get_all_opkernel_def get_registered_ep_kernel_defs "
        "quantize_matmul_2bits quantize_matmul_4bits quantize_matmul_8bits "
        "quantize_matmul_bnb4 quantize_qdq_matmul_2bits quantize_qdq_matmul_4bits "
        "pack_fp4_weights_for_cuda_moe_gemm"
    ),
}
_WHERE = {name: home for home, names in _HOME.items() for name in names.split()}
_OWN = {
    "FallbackWarning",
    "Placement",
    "Predictor",
    "__version__",
    "register_execution_provider",
    "unregister_execution_provider",
}

kNextPowerOfTwo, kSameAsRequested = 0, 1  # noqa: N816

__all__ = [
    "DeviceReset",
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelLoadCanceled",
    "ModelLoaded",
    "ModelRequiresCompilation",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "NotImplemented",
    "RuntimeException",
]


class SessionObjectInitializer:
    """Has no use but to be handed around."""


def get_session_initializer() -> SessionObjectInitializer:
    """Return what raw sessions were once made with."""
    return SessionObjectInitializer()


def get_default_session_options() -> Any:
    """Return fresh session options."""
    return runtime.SessionOptions()


def get_all_operator_schema() -> list[Any]:
    """Return the schemas of the operators the standard has."""
    import onnx

    return list(onnx.defs.get_all_schemas())


def is_dlpack_uint8_tensor(capsule: Any) -> bool:
    """Whether a capsule holds unsigned bytes; it stays usable."""
    from runtime.api import dlpack

    return dlpack.peeked(capsule) == 2


def __getattr__(name: str) -> Any:
    if name == "schemadef":
        return import_module("onnx.defs")
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in runtime.__all__ and name not in _OWN:
        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    public = {name for name in globals() if not name.startswith("_")}
    hidden = {"Any", "annotations", "import_module", "runtime"}
    return sorted((public | {*_WHERE, *runtime.__all__, "schemadef"}) - hidden - _OWN)
