"""The classes of onnxruntime that are written in Python, under the path they have there."""

from runtime.api.binding import IOBinding
from runtime.api.compiler import ModelCompiler
from runtime.api.devices import OrtDevice
from runtime.api.enums import OrtDeviceVendorId
from runtime.api.environment import copy_tensors
from runtime.api.refused import __getattr__ as __getattr__
from runtime.api.requests import requests_of as _requests_of
from runtime.api.session import InferenceSession
from runtime.api.sparse import SparseTensor
from runtime.api.values import OrtValue

Session = InferenceSession

__all__ = [
    "IOBinding",
    "InferenceSession",
    "ModelCompiler",
    "OrtDevice",
    "OrtDeviceVendorId",
    "OrtValue",
    "Session",
    "SparseTensor",
    "check_and_normalize_provider_args",
    "copy_tensors",
]


def check_and_normalize_provider_args(
    providers: object, provider_options: object, available_provider_names: object
) -> tuple[list[str], list[dict[str, str]]]:
    """Return providers and their options as two lists of one length, options as strings."""
    pairs = _requests_of(providers, provider_options)  # type: ignore[arg-type]
    options = [{k: str(v) for k, v in each.items()} for _, each in pairs]
    return [name for name, _ in pairs], options
