"""What a program may ask of the package itself, under onnxruntime's names."""

from __future__ import annotations

from typing import Any

from runtime.version import __version__

package_name = "runtime"
version = __version__
cuda_version = ""
"""Empty: providers bring the CUDA they need."""
import_capi_exception: Any = None
"""There is no extension module that could fail to load."""
PARITY = "1.31.1"
"""The release of onnxruntime whose names all answer here."""
