"""Names of onnxruntime that answer with why not, and with the nearest way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from runtime.api import exceptions


class Refusal(NamedTuple):
    """Why a name does nothing here, and what comes nearest to it."""

    reason: str
    instead: str


_ADAPTER = Refusal(
    "adapters in onnxruntime's own file format are not read",
    "feed their tensors as inputs of the model, or replace initializers with "
    "SessionOptions.add_initializer",
)
_PACKAGE = Refusal(
    "model packages are onnxruntime's own container",
    "keep one .onnx file for each variant and name its providers",
)
_LIBRARY = Refusal(
    "providers that are native libraries of onnxruntime's C interface are not loaded",
    "install a provider as a distribution, or call register_execution_provider",
)
_KERNELS = Refusal(
    "kernels belong to providers, which tell them by what they claim",
    "session.explain(), or `runtime ep info PROVIDER`",
)
_QUANTIZE = Refusal(
    "quantising is done by tools, not by the runtime",
    "write the quantised model with a converter; MatMulNBits and QDQ models run here",
)

REFUSED: Mapping[str, Refusal] = {
    "AdapterFormat": _ADAPTER,
    "LoraAdapter": _ADAPTER,
    "RunOptions.add_active_adapter": _ADAPTER,
    "ModelPackage": _PACKAGE,
    "ModelPackageComponentContext": _PACKAGE,
    "ModelPackageContext": _PACKAGE,
    "ModelPackageOptions": _PACKAGE,
    "register_execution_provider_library": _LIBRARY,
    "SessionOptions.register_custom_ops_library": Refusal(
        "native custom-operator libraries cannot be hosted",
        "write a provider with the operators (runtime.plugin)",
    ),
    "opkernel": _KERNELS,
    "get_all_opkernel_def": _KERNELS,
    "get_registered_ep_kernel_defs": _KERNELS,
    "quantize_matmul_2bits": _QUANTIZE,
    "quantize_matmul_4bits": _QUANTIZE,
    "quantize_matmul_8bits": _QUANTIZE,
    "quantize_matmul_bnb4": _QUANTIZE,
    "quantize_qdq_matmul_2bits": _QUANTIZE,
    "quantize_qdq_matmul_4bits": _QUANTIZE,
    "pack_fp4_weights_for_cuda_moe_gemm": _QUANTIZE,
}
"""Name → why; a member's name has its class's before it."""


def refuse(name: str) -> NoReturn:
    """Raise what a refused name answers with."""
    row = REFUSED[name]
    raise exceptions.NotImplemented(
        f"{name} is not offered: {row.reason}; instead: {row.instead}"
    )


class _Refused(type):
    """Makes a name that can be imported, and that answers when it is used."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> NoReturn:
        refuse(cls.__name__)

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(cls.__name__)


def __getattr__(name: str) -> Any:
    if name not in REFUSED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _Refused(name, (), {"__doc__": REFUSED[name].reason})
    globals()[name] = made
    return made
