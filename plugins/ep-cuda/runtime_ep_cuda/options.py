"""A session's options as the planner's: device, memory, precision, what libraries may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import OptionError
from runtime.settings import Settings

Search = Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]

MOST_WORKSPACE = 1 << 40
"""More scratch memory than any library asks for: no limit of ours."""
SMALL_WORKSPACE = 32 << 20
"""Scratch memory where ``cudnn_conv_use_max_workspace`` is off, as onnxruntime has it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What one session asked for.

    ``precision`` is ``""`` (the model's own types), ``fp16`` or ``bf16``; ``limit`` are
    bytes of the session's memory, 0 for none; ``workspace`` are bytes of scratch memory
    that a library may have. ``stream`` is a caller's, and ``allocator`` the addresses of
    its functions: allocate, free and, or 0, to empty its cache.
    """

    device: int = 0
    precision: Literal["", "fp16", "bf16"] = ""
    tf32: bool = True
    limit: int = 0
    strategy: str = "kNextPowerOfTwo"
    search: Search = "EXHAUSTIVE"
    workspace: int = MOST_WORKSPACE
    graphs: bool = True
    channels_last: bool = True
    cudnn: bool = True
    stream: int | None = None
    allocator: tuple[int, int, int] | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What plans depend on, whatever their memory and stream."""
        return (
            self.precision, self.tf32, self.search, self.workspace, self.channels_last,
            self.cudnn,
        )  # fmt: skip


def chosen(settings: Settings) -> Choice:
    """Return what a session's settings ask for.

    Raises `OptionError` for options that contradict each other.
    """
    options = settings.options
    precision = options["precision"]
    return Choice(
        device=options["device_id"],
        precision=precision if precision in ("fp16", "bf16") else "",
        tf32=precision == "tf32" or (options["use_tf32"] and precision != "fp32"),
        limit=read_limit(options["gpu_mem_limit"]),
        strategy=options["arena_extend_strategy"],
        search=options["cudnn_conv_algo_search"],
        workspace=(
            MOST_WORKSPACE
            if options["cudnn_conv_use_max_workspace"]
            else SMALL_WORKSPACE
        ),
        graphs=options["enable_cuda_graph"],
        channels_last=options["prefer_nhwc"],
        cudnn=options["enable_cudnn"],
        stream=_stream(options),
        allocator=_allocator(options),
    )


NO_LIMIT = (1 << 64) - 1
"""What onnxruntime's default of ``gpu_mem_limit`` is, on every machine with 64 bits."""


def read_limit(value: int) -> int:
    """Return bytes, 0 where there is no limit."""
    return 0 if value >= NO_LIMIT >> 1 else value


def read_address(text: str) -> int:
    """Return an address that is written in decimal or hexadecimal digits; 0 for none.

    Raises ``ValueError`` for anything else.
    """
    value = int(text, 0) if text else 0
    if not 0 <= value < 1 << 64:
        raise ValueError("expected an address")
    return value


def _stream(options: Mapping[str, Any]) -> int | None:
    """Return a caller's stream; its default stream, 0, only where that is said."""
    stream = read_address(options["user_compute_stream"])
    return stream if stream or options["has_user_compute_stream"] else None


def _allocator(options: Mapping[str, Any]) -> tuple[int, int, int] | None:
    names = ("gpu_external_alloc", "gpu_external_free", "gpu_external_empty_cache")
    allocate, free, empty = (read_address(options[name]) for name in names)
    if not allocate and not free:
        return None
    if not (allocate and free):
        raise OptionError(
            "gpu_external_alloc and gpu_external_free go together; give both addresses, or "
            "neither"
        )
    return allocate, free, empty
