"""The processors code is generated for: their vector width, registers and features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_X86 = ("x86_64", "amd64")
_ARM = ("aarch64", "arm64")


@dataclass(frozen=True, slots=True)
class Target:
    """What generators ask of a processor.

    ``bits`` is the width of a vector register, ``registers`` their number, ``fma``
    whether a product and a sum are one instruction. ``cpu``, ``features`` and
    ``triple`` are LLVM's names; all of it is part of the compile cache's key.
    """

    name: str
    bits: int
    registers: int
    fma: bool
    triple: str
    cpu: str
    features: str

    @property
    def lanes(self) -> int:
        """How many float32 numbers a register holds."""
        return self.bits // 32

    @property
    def halves(self) -> bool:
        """Whether the units for 512 bits are of 256, twice as many operations a cycle.

        So is Zen 4 (AMD, Software Optimization Guide for the Zen4 Microarchitecture).
        """
        return self.bits == 512 and self.cpu == "znver4"

    @property
    def has_lanes(self) -> bool:
        """Whether a product may take one lane of a register for all."""
        return self.name == "neon"

    @property
    def is_x86(self) -> bool:
        """Whether x86's own instructions may be written."""
        return _architecture(self.triple) in _X86

    @property
    def is_arm(self) -> bool:
        """Whether it is Arm's, of 64 bits."""
        return _architecture(self.triple) in _ARM


def _architecture(triple: str) -> str:
    return triple.partition("-")[0]


_SHAPES = {
    "avx512": (512, 32, True),
    "avx2": (256, 16, True),
    "neon": (128, 32, True),
    "generic": (128, 16, False),
}
NAMES = tuple(_SHAPES)
"""The targets, the best first."""

_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "avx512": (_X86, ("avx512f", "avx512bw", "avx512dq", "avx512vl")),
    "avx2": (_X86, ("avx2", "fma", "f16c")),
    "neon": (_ARM, ()),
    "generic": ((), ()),
}
"""Architectures of a target, all where none is named, and the features it needs there."""

_BEYOND_AVX2 = ("avx512", "avx10")
_IMPLY_AVX = ("fma", "f16c", "xop", "vaes", "vpclmulqdq", "sha512", "sm3", "sm4")
"""How features begin that a lesser target must not have; LLVM takes one of the second
kind for a promise of AVX."""


@cache
def host() -> Target:
    """Return the best target the processor at hand runs."""
    return named(runnable()[0])


def runnable() -> list[str]:
    """Return the targets whose code the processor at hand runs, the best first."""
    return [name for name in NAMES if not missing(name)]


def missing(name: str) -> tuple[str, ...]:
    """Return what the processor at hand lacks to run a target's code."""
    from llvmlite import binding

    architectures, needed = _NEEDS[name]
    found = _architecture(binding.get_process_triple())
    if architectures and found not in architectures:
        return (architectures[0],)
    features = binding.get_host_cpu_features()
    return tuple(feature for feature in needed if not features.get(feature))


@cache
def named(name: str) -> Target:
    """Return a target by name, for the machine at hand.

    Features beyond the target's are switched off, so that a narrower one can be tested
    on a wider machine. Raises ``ValueError`` for a name that is none of `NAMES`, and for
    a target whose code the processor does not run.
    """
    from llvmlite import binding

    if name not in _SHAPES:
        raise ValueError(f"no target {name!r}; the targets are {', '.join(NAMES)}")
    if lacking := missing(name):
        raise ValueError(
            f"the processor does not run code for {name}, as it lacks "
            f"{', '.join(lacking)}; here the targets are {', '.join(runnable())}"
        )
    features = binding.get_host_cpu_features()
    beyond = {"avx512": (), "generic": ("avx", *_IMPLY_AVX)}.get(name, _BEYOND_AVX2)
    wide = [feature for feature in features if feature.startswith(beyond)]
    features.update(dict.fromkeys(wide, False))
    triple = binding.get_process_triple()
    if _architecture(triple) in _X86:
        features["idivq-to-divl"] = False  # a branch around each division of a nest
    cpu = binding.get_host_cpu_name() if name in ("avx512", "neon") else ""
    return Target(name, *_SHAPES[name], triple, cpu, features.flatten())


_BASE = {"riscv64": ("m", "a", "f", "d", "c")}
"""Features of an architecture without which Linux has no programs for it."""


def crossed(name: str, triple: str) -> Target:
    """Return a target of another machine: its code can be read here, but not be run."""
    architectures, needed = _NEEDS[name]
    architecture = _architecture(triple)
    if architectures and architecture not in architectures:
        raise ValueError(f"{name} is a target of {architectures[0]}, not of {triple}")
    features = ",".join(f"+{word}" for word in (*_BASE.get(architecture, ()), *needed))
    return Target(name, *_SHAPES[name], triple, "", features)
