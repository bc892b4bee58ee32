"""Opens the same model in onnxruntime, with the same options, to compare with."""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from typing import Any

from runtime.cli.exits import Stop
from runtime.cli.sessions import full_name


def open_peer(args: Namespace) -> Any:
    """Return an onnxruntime session; on the providers asked for that it has, else CPU."""
    peer = imported()
    options = peer.SessionOptions()
    options.log_severity_level = 3
    levels = peer.GraphOptimizationLevel
    options.graph_optimization_level = {
        "none": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "all": levels.ORT_ENABLE_ALL,
    }[args.opt]
    if args.threads:
        options.intra_op_num_threads = args.threads
    if args.fix_dims:
        for symbol, size in args.dims:
            options.add_free_dimension_override_by_name(symbol, size)
    names = [full_name(asked.name) for asked in args.providers if asked.name != "auto"]
    theirs = peer.get_available_providers()
    chosen = [
        name for name in names if name in theirs and name != "CPUExecutionProvider"
    ]
    try:
        return peer.InferenceSession(
            args.model, options, providers=[*chosen, "CPUExecutionProvider"]
        )
    except Exception as error:
        raise Stop(f"onnxruntime does not load the model: {error}") from error


def imported() -> Any:
    """Return the onnxruntime module, or `Stop` where it is not installed."""
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise Stop(
            "onnxruntime is not installed; install it with: pip install onnxruntime"
        ) from error
