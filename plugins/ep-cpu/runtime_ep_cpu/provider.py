"""The hooks of the CPU provider: it runs whatever its kernel table has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.graph import Node
from runtime.plugin import (
    Claim,
    Device,
    Executable,
    Partition,
    Refusal,
    hookimpl,
)
from runtime.settings import Settings

from runtime_ep_cpu import choice
from runtime_ep_cpu.choice import native_program, outlook
from runtime_ep_cpu.limits import Limited
from runtime_ep_cpu.ops import random, table
from runtime_ep_cpu.ops.contrib import MS, REFUSED
from runtime_ep_cpu.threads import Threaded


def _told(refusal: Refusal) -> Refusal:
    """Add why an operator of com.microsoft has no kernel."""
    node = refusal.node
    reason = REFUSED.get(node.op_type) if node.domain == MS else None
    return Refusal(node, f"{refusal.reason}: {reason}") if reason else refusal


class CpuProvider:
    """Claims every node there is a kernel for and runs it on the host."""

    @hookimpl
    def get_capability(self, nodes: Sequence[Node]) -> Iterator[Claim | Refusal]:
        """Claim by operator and opset; element types are the kernels' affair."""
        for offer in table.capability(nodes):
            yield _told(offer) if isinstance(offer, Refusal) else offer

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Executable:
        """Generate native code for what there is a generator for; NumPy runs the rest.

        Where results are limited in size NumPy runs everything, as it asks first.
        """
        if settings.maximum_bytes:
            plain = Limited(
                table.executable(partition, settings), settings.maximum_bytes
            )
            return Threaded(plain, settings.intra_op_threads)
        made = native_program(partition, settings, table)
        if made is None:
            made = Threaded(
                table.executable(partition, settings), settings.intra_op_threads
            )
        return made

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> None:
        """Nothing: values of this provider are on the host already."""

    def warm_up(self, settings: Settings) -> None:
        """Begin to make the native code that most models need."""
        choice.warm_up(settings)

    def details(self) -> dict[str, str]:
        """Tell `runtime doctor` of native code: what it is generated for, or why not."""
        return {"native code": outlook()}

    def set_seed(self, seed: int) -> None:
        """Seed the random operators that have no seed of their own."""
        random.set_seed(seed)


provider = CpuProvider()
