"""Probes of the module itself: functions, enumerations, devices, compiling, exceptions."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from outcomes import Probe, state
from samples import (
    BAD,
    BRANCHES,
    FIXED,
    MODEL,
    X,
    compiler,
    options,
    session,
    value,
    written,
)

EXCEPTIONS = (
    "DeviceReset", "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph",
    "InvalidProtobuf", "ModelLoadCanceled", "ModelLoaded", "ModelRequiresCompilation",
    "NoModel", "NoSuchFile", "NotFound", "NotImplemented", "RuntimeException",
)  # fmt: skip


def _severity(ort: Any) -> Any:
    ort.set_default_logger_severity(3)
    ort.set_default_logger_severity(2)
    ort.set_default_logger_severity(7)


def _called(ort: Any) -> Any:
    told: list[Any] = []
    ort.set_default_logger_callback(lambda *entry: told.append(entry), 0)
    try:
        session(ort, log_severity_level=0)
        logging.getLogger("runtime").debug("something")
    finally:
        ort.set_default_logger_callback(None)
        ort.set_default_logger_severity(2)
    severity, category, logid, place, text = told[0]
    return [type(each).__name__ for each in (severity, category, logid, place, text)]


def alone(ort: Any, code: str) -> str:
    """Return what a program prints that knows the runtime as ``ort``, in a new process."""
    program = f"import {ort.__name__} as ort\n{code}"
    run = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        run, capture_output=True, text=True, check=True
    ).stdout.strip()


def _pools(ort: Any) -> Any:
    return alone(
        ort,
        "ort.set_global_thread_pool_sizes(2, 1)\n"
        "options = ort.SessionOptions()\n"
        "options.use_per_session_threads = False\n"
        f"session = ort.InferenceSession({FIXED!r}, options)\n"
        "print(session.get_outputs()[0].name)",
    )


def _copied(ort: Any) -> Any:
    target = value(ort, np.zeros_like(X))
    ort.copy_tensors([value(ort)], [target])
    return target.numpy()


def _host(ort: Any) -> Any:
    found = [d for d in ort.get_ep_devices() if d.ep_name == "CPUExecutionProvider"]
    return found[-1]


FUNCTIONS: dict[str, Probe] = {
    "get_available_providers": lambda ort: ort.get_available_providers()[-1],
    "get_all_providers": lambda ort: [
        name
        for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
        if name in ort.get_all_providers()
    ],
    "get_device": lambda ort: ort.get_device(),
    "get_build_info": lambda ort: isinstance(ort.get_build_info(), str),
    "get_version_string": lambda ort: ort.get_version_string() == ort.version,
    "has_collective_ops": lambda ort: ort.has_collective_ops(),
    "set_seed": lambda ort: ort.set_seed(7),
    "set_default_logger_severity": _severity,
    "set_default_logger_verbosity": lambda ort: ort.set_default_logger_verbosity(0),
    "set_default_logger_callback": _called,
    "set_global_thread_pool_sizes": _pools,
    "enable_telemetry_events": lambda ort: ort.enable_telemetry_events(),
    "disable_telemetry_events": lambda ort: ort.disable_telemetry_events(),
    "register_execution_provider_library": lambda ort: (
        ort.register_execution_provider_library("Mine", written("ep.so", b"x"))
    ),
    "unregister_execution_provider_library": lambda ort: (
        ort.unregister_execution_provider_library("Mine")
    ),
    "copy_tensors": _copied,
    "preload_dlls": lambda ort: ort.preload_dlls(directory=""),
    "print_debug_info": lambda ort: ort.print_debug_info(),
    "capi": lambda ort: import_module(f"{ort.__name__}.capi").__name__.split(".")[-1],
    "onnxruntime_validation": lambda ort: (
        ort.onnxruntime_validation.get_package_name_and_version_info()[1] == ort.version
    ),
    "package_name": lambda ort: isinstance(ort.package_name, str),
    "version": lambda ort: ort.version == ort.__version__,
    "cuda_version": lambda ort: isinstance(ort.cuda_version, str),
    "import_capi_exception": lambda ort: ort.import_capi_exception,
}

DEVICES: dict[str, Probe] = {
    "get_ep_devices": lambda ort: ort.get_ep_devices()[-1].ep_name,
    "OrtEpDevice": lambda ort: isinstance(_host(ort), ort.OrtEpDevice),
    "OrtEpDevice.ep_name": lambda ort: _host(ort).ep_name,
    "OrtEpDevice.ep_vendor": lambda ort: isinstance(_host(ort).ep_vendor, str),
    "OrtEpDevice.ep_metadata": lambda ort: "version" in _host(ort).ep_metadata,
    "OrtEpDevice.ep_options": lambda ort: _host(ort).ep_options,
    "OrtEpDevice.device": lambda ort: _host(ort).device,
    "OrtEpDevice.memory_info": lambda ort: _host(ort).memory_info(
        ort.OrtDeviceMemoryType.DEFAULT
    ),
    "OrtEpDevice.create_sync_stream": lambda ort: _host(ort).create_sync_stream(),
    "OrtHardwareDevice": lambda ort: isinstance(
        _host(ort).device, ort.OrtHardwareDevice
    ),
    **{
        f"OrtHardwareDevice.{name}": (
            lambda ort, name=name: getattr(_host(ort).device, name)
        )
        for name in ("type", "vendor", "vendor_id", "device_id")
    },
    "OrtHardwareDevice.metadata": lambda ort: dict(_host(ort).device.metadata),
    "OrtSyncStream": lambda ort: ort.OrtSyncStream(),
    "OrtSyncStream.get_handle": lambda ort: callable(ort.OrtSyncStream.get_handle),
    "capi.get_hardware_devices": lambda ort: state(ort).get_hardware_devices()[0].type,
    "capi.get_hardware_device_ep_incompatibility_details": lambda ort: state(
        ort
    ).get_hardware_device_ep_incompatibility_details(
        "CPUExecutionProvider", _host(ort).device
    ),
    "capi.get_model_compatibility_for_ep_devices": lambda ort: state(
        ort
    ).get_model_compatibility_for_ep_devices([_host(ort)], "any"),
    "capi.get_compatibility_info_from_model": lambda ort: state(
        ort
    ).get_compatibility_info_from_model(
        written("m.onnx", MODEL), "CPUExecutionProvider"
    ),
    "capi.get_compatibility_info_from_model_bytes": lambda ort: state(
        ort
    ).get_compatibility_info_from_model_bytes(MODEL, "CPUExecutionProvider"),
}


def _runs(ort: Any, data: bytes) -> Any:
    return ort.InferenceSession(data, options(ort)).run(None, {"x": X})


def _to_file(ort: Any) -> Any:
    path = written("out.onnx", b"")
    compiler(ort).compile_to_file(path)
    return _runs(ort, Path(path).read_bytes())


def _to_stream(ort: Any) -> Any:
    pieces: list[bytes] = []
    compiler(ort).compile_to_stream(pieces.append)
    return _runs(ort, b"".join(pieces))


def _compiled(ort: Any, use: Any) -> Any:
    made = compiler(ort)
    kept = use(made)
    return _runs(ort, made.compile_to_bytes()), kept


def _located(ort: Any) -> Any:
    seen = []

    def locate(name: str, given: Any, info: Any) -> None:
        seen.append((name, given.shape(), info))

    compiler(ort, get_initializer_location_func=locate).compile_to_bytes()
    return seen


COMPILING: dict[str, Probe] = {
    "ModelCompiler": _located,
    "ModelCompiler.compile_to_bytes": lambda ort: _runs(
        ort, compiler(ort).compile_to_bytes()
    ),
    "ModelCompiler.compile_to_file": _to_file,
    "ModelCompiler.compile_to_stream": _to_stream,
    "ModelCompiler.set_ep_context_data_write_func": lambda ort: _compiled(
        ort, lambda c: c.set_ep_context_data_write_func(print)
    ),
    "ModelCompiler.clear_ep_context_data_write_func": lambda ort: _compiled(
        ort, lambda c: c.clear_ep_context_data_write_func()
    ),
    "ModelCompiler.set_ep_context_binary_information": lambda ort: compiler(
        ort
    ).set_ep_context_binary_information("", ""),
    "OrtExternalInitializerInfo": lambda ort: ort.OrtExternalInitializerInfo("f"),
    **{
        f"OrtExternalInitializerInfo.{name}": lambda ort, name=name: getattr(
            ort.OrtExternalInitializerInfo("file", 4, 8), name
        )
        for name in ("filepath", "file_offset", "byte_size")
    },
    "OrtEpContextData": lambda ort: ort.OrtEpContextData(),
    "OrtEpContextDataBuffer": lambda ort: ort.OrtEpContextDataBuffer(),
}
for _class, _names in {
    "OrtEpContextData": ("read", "size"),
    "OrtEpContextDataBuffer": (
        "allocate", "is_allocated", "max_size", "size", "write",
    ),
}.items():  # fmt: skip
    for _name in _names:
        COMPILING[f"{_class}.{_name}"] = lambda ort, c=_class, n=_name: hasattr(
            getattr(ort, c), n
        )


def _raising(ort: Any, source: Any, feed: Any = None) -> Any:
    return session(ort, source).run(None, feed or {"x": X})


def _model_with(op: str, **fields: Any) -> bytes:
    proto = onnx.ModelProto.FromString(FIXED)
    proto.graph.node[0].op_type = op
    for name, given in fields.items():
        setattr(proto.graph.node[0], name, given)
    return proto.SerializeToString()


CAPI: dict[str, Probe] = {
    **{
        f"capi.{name}": lambda ort, name=name: issubclass(
            getattr(state(ort), name), Exception
        )
        for name in EXCEPTIONS
    },
    "capi.InvalidArgument": lambda ort: _raising(ort, MODEL, {"x": BAD}),
    "capi.InvalidGraph": lambda ort: _raising(ort, _model_with("NoSuch")),
    "capi.InvalidProtobuf": lambda ort: _raising(ort, b"garbage \xff\xff\xff"),
    "capi.NoSuchFile": lambda ort: _raising(ort, "/nowhere/model.onnx"),
    "capi.Fail": lambda ort: _raising(
        ort, BRANCHES, {"x": np.ones(4, np.float32), "shape": np.array([3])}
    ),
    "capi.SessionObjectInitializer": lambda ort: (
        type(state(ort).get_session_initializer()).__name__
    ),
    "capi.get_session_initializer": lambda ort: (
        type(state(ort).get_session_initializer()).__name__
    ),
    "capi.get_default_session_options": lambda ort: isinstance(
        state(ort).get_default_session_options(), ort.SessionOptions
    ),
    "capi.get_all_operator_schema": lambda ort: (
        len(state(ort).get_all_operator_schema()) > 200
    ),
    "capi.schemadef": lambda ort: hasattr(state(ort).schemadef, "OpSchema"),
    "capi.opkernel": lambda ort: state(ort).opkernel.KernelDef.__name__,
    "capi.get_all_opkernel_def": lambda ort: bool(state(ort).get_all_opkernel_def()),
    "capi.get_registered_ep_kernel_defs": lambda ort: state(
        ort
    ).get_registered_ep_kernel_defs("Mine"),
    "capi.kNextPowerOfTwo": lambda ort: int(state(ort).kNextPowerOfTwo),
    "capi.kSameAsRequested": lambda ort: int(state(ort).kSameAsRequested),
}
for _name in (
    "quantize_matmul_2bits", "quantize_matmul_4bits", "quantize_matmul_8bits",
    "quantize_matmul_bnb4", "quantize_qdq_matmul_2bits", "quantize_qdq_matmul_4bits",
    "pack_fp4_weights_for_cuda_moe_gemm",
):  # fmt: skip
    CAPI[f"capi.{_name}"] = lambda ort, name=_name: getattr(state(ort), name)()


def _example(ort: Any) -> Any:
    datasets = import_module(f"{ort.__name__}.datasets")
    runs = {}
    for name, feed in (
        ("mul_1.onnx", {"X": np.ones((3, 2), np.float32)}),
        ("sigmoid.onnx", {"x": np.zeros((3, 4, 5), np.float32)}),
    ):
        runs[name] = session(ort, datasets.get_example(name)).run(None, feed)
    return runs


def _backend(ort: Any) -> Any:
    return import_module(f"{ort.__name__}.backend")


SUBMODULES: dict[str, Probe] = {
    "backend.is_compatible": lambda ort: [
        _backend(ort).is_compatible(FIXED, device) for device in (None, "CPU", "FPGA")
    ],
    "backend.supports_device": lambda ort: [
        _backend(ort).supports_device(device) for device in ("CPU", "CUDA", "FPGA")
    ],
    "backend.prepare": lambda ort: (
        _backend(ort).prepare(onnx.ModelProto.FromString(FIXED), "CPU").run([X]),
        _backend(ort).prepare(session(ort, FIXED)).run(X),
    ),
    "backend.run": lambda ort: _backend(ort).run(FIXED, [X], intra_op_num_threads=1),
    "datasets.get_example": _example,
}

FOREIGN: dict[str, Probe] = {
    "AdapterFormat": lambda ort: ort.AdapterFormat(),
    "LoraAdapter": lambda ort: ort.LoraAdapter(),
    "ModelPackage": lambda ort: ort.ModelPackage(),
    "ModelPackageComponentContext": lambda ort: ort.ModelPackageComponentContext(),
    "ModelPackageContext": lambda ort: ort.ModelPackageContext(),
    "ModelPackageOptions": lambda ort: ort.ModelPackageOptions(),
}

PROBES = SUBMODULES | FUNCTIONS | DEVICES | COMPILING | CAPI | FOREIGN


def generic(name: str, theirs: Any) -> Probe | None:
    """Return a probe made from the name alone: of an enumeration, or a refused member."""
    parts = name.removeprefix("capi.").split(".")
    if parts[0] in FOREIGN and len(parts) == 2:
        return lambda ort: bool(getattr(getattr(ort, parts[0]), parts[1]))
    kind = _found(theirs, name)
    owner = _found(theirs, name.rpartition(".")[0]) if len(parts) == 2 else None
    if inspect.isclass(kind) and _is_enumeration(kind):
        return lambda ort: {n: int(v) for n, v in members(_found(ort, name))}
    if owner is not None and inspect.isclass(owner) and _is_enumeration(owner):
        if parts[1] in ("name", "value"):
            return lambda ort: [
                getattr(v, parts[1])
                for _, v in members(_found(ort, name.rpartition(".")[0]))
            ]
        return lambda ort: int(_found(ort, name))
    return None


def _found(ort: Any, name: str) -> Any:
    thing = state(ort) if name.startswith("capi.") else ort
    for part in name.removeprefix("capi.").split("."):
        thing = getattr(thing, part)
    return thing


def _is_enumeration(kind: type) -> bool:
    return hasattr(kind, "__members__")


def members(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield an enumeration's members by name, in the order of their names."""
    yield from sorted(kind.__members__.items())
