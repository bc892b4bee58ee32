"""Turns IR text into machine code: verified, compiled to an object, loaded, called."""

from __future__ import annotations

import ctypes
from functools import cache

from llvmlite import binding

from runtime_ep_cpu.codegen.target import Target


@cache
def _initialise() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()


@cache
def _machine(target: Target, jit: bool = True) -> binding.TargetMachine:
    _initialise()
    found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,
        codemodel="jitdefault" if jit else "default",
        jit=jit,
    )


def compiled(text: str, target: Target) -> bytes:
    """Return the object code of a module.

    Raises ``RuntimeError`` with LLVM's words for IR that is not well formed.
    """
    _initialise()
    module = binding.parse_assembly(text)
    module.verify()
    return bytes(_machine(target).emit_object(module))


def assembly(text: str, target: Target) -> str:
    """Return the assembly of a module, to be read or searched for spills."""
    _initialise()
    return str(_machine(target).emit_assembly(binding.parse_assembly(text)))


class Code:
    """Object code in memory; alive as long as somebody may call it."""

    def __init__(self, data: bytes, target: Target) -> None:
        _initialise()
        empty = binding.parse_assembly("")
        machine = binding.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu,
            features=target.features,
            opt=2,
            codemodel="jitdefault",
            jit=True,
        )
        self._engine = binding.create_mcjit_compiler(empty, machine)
        self._engine.add_object_file(binding.ObjectFileRef.from_data(data))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Return where a function lies; raises ``KeyError`` where there is none."""
        found = int(self._engine.get_function_address(name))
        if not found:
            raise KeyError(f"the object code has no function {name!r}")
        return found


def function(address: int, *parameters: type, returns: type | None = None) -> object:
    """Return a native function that releases the interpreter's lock while it runs."""
    return ctypes.CFUNCTYPE(returns, *parameters)(address)
