"""OrtMemoryInfo and OrtArenaCfg: descriptions of memory that programs hand around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.api.enums import (
    OrtAllocatorType,
    OrtDeviceMemoryType,
    OrtMemoryInfoDeviceType,
    OrtMemType,
)
from runtime.errors import near


@dataclass(slots=True)
class OrtMemoryInfo:
    """Where a value's memory comes from."""

    name: str
    allocator_type: OrtAllocatorType
    device_id: int
    mem_type: OrtMemType
    device_mem_type: OrtDeviceMemoryType = OrtDeviceMemoryType.DEFAULT
    device_vendor_id: int = 0

    @staticmethod
    def create_v2(
        name: str,
        device_type: OrtMemoryInfoDeviceType,
        vendor_id: int,
        device_id: int,
        device_mem_type: OrtDeviceMemoryType,
        alignment: int,
        allocator_type: OrtAllocatorType,
    ) -> OrtMemoryInfo:
        """Describe memory of a device; the alignment is the provider's own."""
        return OrtMemoryInfo(
            name,
            allocator_type,
            device_id,
            OrtMemType.DEFAULT,
            device_mem_type,
            vendor_id,
        )


_ARENA = {
    "max_mem": 0,
    "arena_extend_strategy": -1,
    "initial_chunk_size_bytes": -1,
    "max_dead_bytes_per_chunk": -1,
    "initial_growth_chunk_size_bytes": -1,
    "max_power_of_two_extend_bytes": -1,
}


class OrtArenaCfg:
    """How an arena would grow: four numbers, or a dict of them by name.

    Kept as given. Memory of intermediate results is planned here and not grown.
    """

    max_mem: int
    arena_extend_strategy: int
    initial_chunk_size_bytes: int
    max_dead_bytes_per_chunk: int
    initial_growth_chunk_size_bytes: int
    max_power_of_two_extend_bytes: int

    def __init__(self, *given: Any) -> None:
        if len(given) == 1 and isinstance(given[0], dict):
            named = given[0]
        elif len(given) == 4:
            named = dict(zip(_ARENA, given, strict=False))
        else:
            raise TypeError("OrtArenaCfg takes four numbers, or a dict of them by name")
        for name in named:
            if name not in _ARENA:
                raise RuntimeError(
                    f"Invalid OrtArenaCfg option: {name}{near(name, _ARENA)}"
                )
        for name, default in _ARENA.items():
            setattr(self, name, int(named.get(name, default)))


def create_and_register_allocator(
    mem_info: OrtMemoryInfo, arena_cfg: OrtArenaCfg | None = None
) -> None:
    """Do nothing: memory is shared by every session of the process already."""


def create_and_register_allocator_v2(
    provider_type: str,
    mem_info: OrtMemoryInfo,
    provider_options: dict[str, str],
    arena_cfg: OrtArenaCfg | None = None,
) -> None:
    """Do nothing: memory is shared by every session of the process already."""


def host_memory() -> OrtMemoryInfo:
    """Return the description of memory on the host."""
    return OrtMemoryInfo(
        "Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT
    )
