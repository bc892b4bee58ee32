"""Turns IR text into machine code: verified, compiled to an object, loaded, called."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from llvmlite import binding
from llvmlite.binding import ffi

from runtime_ep_cpu.codegen.target import Target


@cache
def _initialise() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()


@cache
def _initialise_all() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def _machine(target: Target) -> binding.TargetMachine:
    _initialise()
    if target.triple != binding.get_process_triple():
        _initialise_all()
    found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,
        codemodel="jitdefault",
        jit=True,
    )


def compiled(text: str, target: Target) -> bytes:
    """Return the object code of a module; several threads compile at the same time.

    Raises ``RuntimeError`` with LLVM's words for IR that is not well formed.
    """
    _initialise()
    module = binding.parse_assembly(text, binding.create_context())
    module.verify()
    return _emitted(_machine(target), module)


@cache
def _emit() -> ctypes._NamedFuncPointer:
    """Return LLVM's code generation as a function that takes no lock.

    llvmlite holds one lock around all of its calls. LLVM needs none where every module
    has a context and a target machine of its own. Where the library cannot be found
    behind the lock, the function is the one that takes it.
    """
    locked: ctypes._NamedFuncPointer = ffi.lib.LLVMPY_TargetMachineEmitToMemory
    try:
        free = ctypes.CDLL(ffi.lib._name).LLVMPY_TargetMachineEmitToMemory
    except (AttributeError, OSError):
        return locked
    free.argtypes, free.restype = locked.argtypes, locked.restype
    return free


def _emitted(machine: binding.TargetMachine, module: binding.ModuleRef) -> bytes:
    with ffi.OutputString() as problem:
        buffer = _emit()(machine, module, 1, problem)
        if not buffer:
            raise RuntimeError(str(problem))
    try:
        start = ffi.lib.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def assembly(text: str, target: Target, remarks: bool = False) -> str:
    """Return the assembly of a module, to be read or searched for spills.

    With ``remarks`` LLVM says what are loops, and which instructions spill and reload.
    """
    machine = _machine(target)
    machine.set_asm_verbosity(remarks)
    return str(machine.emit_assembly(binding.parse_assembly(text)))


def joined(objects: Sequence[bytes]) -> bytes:
    """Return objects as one entry of a cache: each one's size in 8 bytes, then itself."""
    parts = (len(each).to_bytes(8, "little") + each for each in objects)
    return b"".join(parts)


def parted(data: bytes) -> list[bytes]:
    """Return the objects of an entry."""
    found, place = [], 0
    while place < len(data):
        start = place + 8
        place = start + int.from_bytes(data[place:start], "little")
        found.append(data[start:place])
    return found


class Code:
    """Object code in memory; alive as long as somebody may call it."""

    def __init__(self, target: Target, *objects: bytes) -> None:
        _initialise()
        empty = binding.parse_assembly("")
        self._engine = binding.create_mcjit_compiler(empty, _machine(target))
        for data in objects:
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
