"""The same names again, under the path by which onnxruntime's own modules import them."""

from runtime.capi.onnxruntime_pybind11_state import *  # noqa: F403
from runtime.capi.onnxruntime_pybind11_state import __dir__ as __dir__
from runtime.capi.onnxruntime_pybind11_state import __getattr__ as __getattr__
