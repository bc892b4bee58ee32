"""The backend that ONNX's test suite and converters call, over sessions."""

from __future__ import annotations

import os
from typing import Any

import onnx
from onnx.backend.base import Backend

import runtime
from runtime.api.options import _Options
from runtime.backend.backend_rep import RuntimeBackendRep

_SETTABLE = frozenset(
    {
        "enable_cpu_mem_arena",
        "enable_mem_pattern",
        "enable_mem_reuse",
        "execution_mode",
        "execution_order",
        "graph_optimization_level",
        "inter_op_num_threads",
        "intra_op_num_threads",
        "log_severity_level",
        "log_verbosity_level",
        "logid",
        "use_deterministic_compute",
        "use_per_session_threads",
    }
)
"""Session options a caller may set; the others write files."""


class RuntimeBackend(Backend):  # type: ignore[misc]
    """Runs models, by path, bytes, proto, session or prepared."""

    @classmethod
    def is_compatible(cls, model: Any, device: str | None = None, **_: Any) -> bool:
        """Whether a model could run on a device."""
        return device is None or cls.supports_device(device)

    @classmethod
    def is_opset_supported(cls, model: onnx.ModelProto) -> tuple[bool, str]:
        """Whether the opsets are known here, or why not."""
        for entry in model.opset_import:
            if (entry.domain or "ai.onnx") != "ai.onnx":
                continue
            newest = onnx.defs.onnx_opset_version()
            if entry.version > newest:
                return False, f"opset {entry.version} is newer than {newest}"
        return True, ""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a provider here runs on ``CPU``, ``GPU`` or ``CUDA``."""
        kind = device.partition(":")[0].upper()
        return kind == "CPU" or (
            kind in ("GPU", "CUDA") and runtime.get_device() == "GPU"
        )

    @classmethod
    def prepare(
        cls, model: Any, device: str | None = None, **options: Any
    ) -> RuntimeBackendRep:
        """Return a model made ready; keywords are session options.

        Raises ``RuntimeError`` for an option that may not be set here, and for a device
        that nobody runs on.
        """
        if isinstance(model, RuntimeBackendRep):
            return model
        if isinstance(model, runtime.InferenceSession):
            return RuntimeBackendRep(model)
        if device is not None and not cls.supports_device(device):
            found = runtime.get_device()
            raise RuntimeError(
                f"Incompatible device expected '{device}', got '{found}'"
            )
        if isinstance(model, onnx.ModelProto):
            model = model.SerializeToString()
        left_out = os.environ.get("ORT_ONNX_BACKEND_EXCLUDE_PROVIDERS", "").split(",")
        names = [n for n in runtime.get_available_providers() if n not in left_out]
        made = runtime.SessionOptions()
        apply(made, options, _SETTABLE)
        session = runtime.InferenceSession(model, made, providers=names)
        session.disable_fallback()
        return RuntimeBackendRep(session)

    @classmethod
    def run_model(
        cls, model: Any, inputs: Any, device: str | None = None, **options: Any
    ) -> Any:
        """Prepare a model and run it once."""
        return cls.prepare(model, device, **options).run(inputs, **options)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str | None = None,
        outputs_info: Any = None,
        **options: Any,
    ) -> Any:
        """Refuse: the model around a node tells its types."""
        raise NotImplementedError(
            "a single node says too little of its types; put it into a model, "
            "onnx.helper.make_model, and use run_model"
        )


def apply(target: _Options, wanted: dict[str, Any], settable: frozenset[str]) -> None:
    """Set those options that may be; keywords that are no option belong to others."""
    for name, value in wanted.items():
        if name in settable:
            setattr(target, name, value)
        elif name in target._defaults:
            raise RuntimeError(
                f"{type(target).__name__} attribute '{name}' is not permitted via the "
                f"backend API; allowed: {', '.join(sorted(settable))}"
            )


is_compatible = RuntimeBackend.is_compatible
prepare = RuntimeBackend.prepare
run = run_model = RuntimeBackend.run_model
supports_device = RuntimeBackend.supports_device
