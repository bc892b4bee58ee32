"""Whether a partition gets native code: if it is wanted, possible and worth it."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from runtime.cache import CompileCache
from runtime.errors import OptionError
from runtime.explain import Event, warn_once
from runtime.kernels import KernelTable
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings

from runtime_ep_cpu.threads import granted

if TYPE_CHECKING:
    from runtime_ep_cpu.codegen.target import Target
    from runtime_ep_cpu.native.program import Program


OLDEST_LLVM = 22
"""The generators write the text of this version of LLVM, which older ones do not read."""


@cache
def obstacle() -> str:
    """Return why native code cannot be generated here, or ``""``; looked up once."""
    try:
        import llvmlite
        from llvmlite import binding

        found = binding.llvm_version_info
    except Exception as error:
        return f"llvmlite cannot be loaded ({type(error).__name__}: {error})"
    if found[0] < OLDEST_LLVM:
        told = f"llvmlite {llvmlite.__version__} has LLVM {found[0]}"
        return f"{told}, and {OLDEST_LLVM} or newer is needed"
    return ""


def outlook() -> str:
    """Return what native code is generated for here, or why there is none."""
    if reason := obstacle():
        return f"none, NumPy's kernels answer: {reason}; {_REMEDY}"
    from runtime_ep_cpu.codegen.library import llvm
    from runtime_ep_cpu.codegen.target import host

    return f"for {host().name}, by LLVM {llvm()}"


def warm_up(settings: Settings) -> None:
    """Begin to make what most models need, where native code is wanted and possible.

    A target that the processor lacks is refused later, when code is asked for.
    """
    if not _is_wanted(settings) or obstacle():
        return
    from runtime_ep_cpu.native import ahead

    with suppress(OptionError):
        ahead.begin(*_engine(settings), CompileCache.of(settings))


def _is_wanted(settings: Settings) -> bool:
    return settings.options.get("native", "auto") != "off" and not (
        settings.runs_once or settings.maximum_bytes
    )


def _engine(settings: Settings) -> tuple[Target, int]:
    """Return the target code is generated for, and how many threads run it.

    Raises `OptionError` for a target whose code the processor does not run.
    """
    from runtime_ep_cpu.codegen import target as targets

    name = settings.options.get("target", "auto")
    try:
        target = targets.host() if name == "auto" else targets.named(name)
    except ValueError as error:
        raise OptionError(f"CPUExecutionProvider, target={name!r}: {error}") from None
    return target, settings.intra_op_threads or granted()


def native_program(
    partition: Partition, settings: Settings, table: KernelTable
) -> Program | None:
    """Return a partition as native code, or ``None`` where NumPy's kernels shall run it.

    Where generating fails a warning gives the reason and NumPy answers; where native code is
    required it is raised.
    """
    if not _is_wanted(settings):
        return None
    wanted = settings.options.get("native", "auto")
    if reason := obstacle():
        if wanted == "required":
            raise Unsupported(f"native code is required, but {reason}")
        remedy = f"{_NUMPY}; {_REMEDY}"
        reason = f"no native code: {reason}"
        warn_once(Event(partition.provider, "compile", reason, remedy))
        return None
    from runtime_ep_cpu.native import ahead
    from runtime_ep_cpu.native.dump import dump
    from runtime_ep_cpu.native.program import Program

    target, threads = _engine(settings)
    try:
        made = Program(partition, settings, table, target, threads)
    except Exception as error:
        if wanted == "required":
            raise
        reason = f"no native code ({type(error).__name__}: {error})"
        labels = tuple(node.label for node in partition.nodes)
        warn_once(Event(partition.provider, "compile", reason, _NUMPY, labels))
        return None
    finally:
        ahead.finish()
    if not made.stages:
        return None
    dump(made, target)
    return made


_NUMPY = "NumPy's kernels answer, more slowly"
_REMEDY = 'install it with: pip install "llvmlite>=0.48"'
