"""ONNX's backend interface: ``prepare``, ``run_model`` and what belongs to them."""

from runtime.backend.backend import (
    is_compatible,
    prepare,
    run,
    run_model,
    supports_device,
)

__all__ = ["is_compatible", "prepare", "run", "run_model", "supports_device"]
