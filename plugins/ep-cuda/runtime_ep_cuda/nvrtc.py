"""NVRTC: kernels become machine code for one kind of GPU, in batches, kept on disk.

Headers take longer to read than a kernel to compile, so that several kernels share a
program. The cache has an entry for each kernel, which names the batch it was compiled
with; a batch is found again whichever of its kernels are wanted.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as cached
from typing import Any

from runtime_ep_cuda.codegen.kernel import Kernel
from runtime_ep_cuda.codegen.prelude import PRELUDE
from runtime_ep_cuda.libraries import Libraries

OPTIONS = ("-std=c++17", "-default-device")
LEAST = 4
"""As many kernels are worth a program, and a thread, of their own."""
MOST = 24
"""More kernels than that are compiled by several programs even without more threads."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a kernel takes of a multiprocessor, as the assembler tells.

    ``spills`` are the bytes stored to and loaded from local memory for want of registers,
    ``stack`` those of arrays that are not in registers, ``shared`` static shared memory.
    """

    registers: int
    spills: int
    stack: int
    shared: int


def compiled(
    kernels: Iterable[Kernel], sm: int, cache: Any = None
) -> list[tuple[bytes, list[str]]]:
    """Return programs for a GPU, each with the names of those kernels wanted of it."""
    wanted = {kernel.name: kernel for kernel in kernels}
    keys = {name: _key(kernel, sm) for name, kernel in wanted.items()}
    programs: dict[bytes, list[str]] = {}
    missing = []
    for name, kernel in wanted.items():
        program = _found(keys[name], cache)
        if program is None:
            missing.append(kernel)
        else:
            programs.setdefault(program, []).append(name)
    batches = list(_batches(missing))
    with ThreadPoolExecutor(max(1, len(batches))) as pool:
        made = pool.map(lambda batch: program_of(batch, sm), batches)
        for batch, program in zip(batches, made, strict=True):
            programs.setdefault(program, []).extend(kernel.name for kernel in batch)
            _keep(program, [keys[kernel.name] for kernel in batch], cache)
    return list(programs.items())


def program_of(kernels: Sequence[Kernel], sm: int) -> bytes:
    """Return a program with some kernels, compiled for a GPU."""
    return _compile(text_of(kernels), sm)[0]


def report(kernel: Kernel, sm: int) -> Report:
    """Compile a kernel for a GPU and return what it takes."""
    _, log = _compile(text_of([kernel]), sm, "--ptxas-options=-v")

    def total(pattern: str) -> int:
        return sum(int(number) for number in re.findall(pattern, log))

    return Report(
        total(r"Used (\d+) registers"),
        total(r"(\d+) bytes spill (?:stores|loads)"),
        total(r"(\d+) bytes stack frame"),
        total(r"(\d+) bytes smem"),
    )


_DEFINED = re.compile(r"^\s*#\s*define\s+(\w+)", re.MULTILINE)


def text_of(kernels: Sequence[Kernel]) -> str:
    """Return one program's text; helpers of one name may be in several kernels.

    Each has a namespace of its own, and with it its guards: what one kernel has defined
    is not defined for the next.
    """
    parts = [PRELUDE]
    for number, kernel in enumerate(kernels):
        parts += [f"namespace kernel_{number} {{", f'#line 1 "{kernel.name}"']
        parts += [kernel.text, "}"]
        parts += [f"#undef {name}" for name in _DEFINED.findall(kernel.text)]
    return "\n".join(parts) + "\n"


def version() -> str:
    """Return NVRTC's version."""
    from cupy.cuda import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


def _batches(kernels: Sequence[Kernel]) -> Iterator[list[Kernel]]:
    """Share kernels out among threads, long texts evenly."""
    threads = min(os.cpu_count() or 1, -(-len(kernels) // LEAST))
    count = max(threads, -(-len(kernels) // MOST))
    ordered = sorted(kernels, key=lambda kernel: len(kernel.text))
    for first in range(count):
        batch = ordered[first::count]
        if batch:
            yield batch


@cached
def _headers() -> tuple[str, ...]:
    return tuple(f"-I{folder}" for folder in Libraries().headers())


@cached
def _target(sm: int) -> str:
    """Return what to compile for: the GPU, or what its driver can translate for it."""
    from cupy.cuda import nvrtc

    known = [int(each) for each in nvrtc.getSupportedArchs()]
    if sm in known:
        return f"sm_{sm}"
    older = [each for each in known if each < sm]
    if not older:
        raise RuntimeError(
            f"NVRTC {version()} compiles for compute capability {min(known) / 10} and "
            f"newer, and this GPU has {sm / 10}"
        )
    return f"compute_{max(older)}"


def _compile(text: str, sm: int, *more: str) -> tuple[bytes, str]:
    """Return machine code, or PTX for a GPU newer than NVRTC, and the log."""
    from cupy.cuda import nvrtc

    target = _target(sm)
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        options = [*OPTIONS, f"-arch={target}", *_headers(), *more]
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(program)
            raise RuntimeError(f"NVRTC does not compile for {target}: {log}") from error
        log = nvrtc.getProgramLog(program)
        get = nvrtc.getCUBIN if target.startswith("sm_") else nvrtc.getPTX
        made = get(program)
        data = made.encode() if isinstance(made, str) else bytes(made)
        return data + b"\0", log  # CuPy leaves the last byte out
    finally:
        nvrtc.destroyProgram(program)


def _key(kernel: Kernel, sm: int) -> str:
    parts = ("nvrtc", version(), sm, OPTIONS, PRELUDE, kernel.name, kernel.text)
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()


def _found(key: str, cache: Any) -> bytes | None:
    named = None if cache is None else cache.get(key)
    return None if named is None else cache.get(named.decode())


def _keep(program: bytes, keys: Sequence[str], cache: Any) -> None:
    if cache is None:
        return
    batch = hashlib.blake2b(program, digest_size=20).hexdigest()
    cache.put(batch, program)
    for key in keys:
        cache.put(key, batch.encode())


def reports(kernels: Iterable[Kernel], sm: int) -> Mapping[str, Report]:
    """Return what each of some kernels takes."""
    return {kernel.name: report(kernel, sm) for kernel in kernels}
