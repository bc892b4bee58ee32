"""The processors code is generated for: their vector width, registers and features."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")
AVX2 = ("avx2", "fma", "f16c")


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
    def is_x86(self) -> bool:
        """Whether x86's own instructions may be written."""
        return self.triple.partition("-")[0] in ("x86_64", "amd64")


_SHAPES = {
    "avx512": (512, 32, True),
    "avx2": (256, 16, True),
    "neon": (128, 32, True),
    "generic": (128, 16, False),
}
NAMES = tuple(_SHAPES)

_BEYOND_AVX2 = ("avx512", "avx10")
_IMPLY_AVX = ("fma", "f16c", "xop", "vaes", "vpclmulqdq", "sha512", "sm3", "sm4")
"""How features begin that a lesser target must not have; LLVM takes one of the second
kind for a promise of AVX."""


@cache
def host() -> Target:
    """Return the best target the processor at hand runs."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    if all(features.get(name) for name in AVX512):
        name = "avx512"
    elif all(features.get(name) for name in AVX2):
        name = "avx2"
    elif platform.machine().lower() in ("aarch64", "arm64"):
        name = "neon"
    else:
        name = "generic"
    return named(name)


@cache
def named(name: str) -> Target:
    """Return a target by name, for the machine at hand.

    Features beyond the target's are switched off, so that a narrower one can be tested
    on a wider machine. Raises ``ValueError`` for a name that is none of `NAMES`.
    """
    from llvmlite import binding

    if name not in _SHAPES:
        raise ValueError(f"no target {name!r}; the targets are {', '.join(NAMES)}")
    features = binding.get_host_cpu_features()
    beyond = {"avx512": (), "generic": ("avx", *_IMPLY_AVX)}.get(name, _BEYOND_AVX2)
    wide = [feature for feature in features if feature.startswith(beyond)]
    features.update(dict.fromkeys(wide, False))
    triple = binding.get_process_triple()
    if triple.partition("-")[0] in ("x86_64", "amd64"):
        features["idivq-to-divl"] = False  # a branch around each division of a nest
    cpu = binding.get_host_cpu_name() if name in ("avx512", "neon") else ""
    return Target(name, *_SHAPES[name], triple, cpu, features.flatten())
