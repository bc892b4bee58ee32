"""Kernels by specification: written, compiled once per process, kept in a cache on disk.

A kernel is a native function ``void (ptr arguments, i64 chunk, ptr scratch)``. Its
`Spec` says which generator writes it and with which parameters; sizes and strides are
arguments, so one kernel serves every shape. Kernels depend on no weights and no model.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime_ep_cpu.codegen.builder import Module
from runtime_ep_cpu.codegen.target import Target

if TYPE_CHECKING:
    from runtime_ep_cpu.codegen.machine import Code


@cache
def version() -> str:
    """Return what changes whenever a generator's source does, and kernels with it."""
    folder = Path(__file__).parent
    stats = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in (*sorted(folder.glob("*.py")), folder.parent / "formulas.py")
    ]
    return hashlib.blake2b(repr(stats).encode(), digest_size=16).hexdigest()


def llvm() -> str:
    """Return LLVM's version."""
    from llvmlite import binding

    return ".".join(map(str, binding.llvm_version_info))


USUAL = frozenset(
    ("tile", "runs", "depthwise_tile", "pack", "copy_rows", "copy_repeated",
     "copy_reversed", "copy_transposed", "copy_strided")
)  # fmt: skip
"""Families that nearly every model needs in the same forms."""

MODULES = 8
"""Into how many modules kernels are divided, so that threads can compile them."""

Writer = Callable[..., None]
"""``write(module, target, name, **parameters)`` adds the function ``name`` to a module."""

FAMILIES: dict[str, Writer] = {}
"""Generators by name; each module of kernels registers its own with `family`."""


def family(name: str) -> Callable[[Writer], Writer]:
    """Register a generator."""

    def register(write: Writer) -> Writer:
        FAMILIES[name] = write
        return write

    return register


@dataclass(frozen=True, slots=True)
class Spec:
    """A kernel: its generator's name and parameters, hashable and printable."""

    family: str
    parameters: tuple[tuple[str, Any], ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the hash, which is asked for whenever a kernel is planned."""
        object.__setattr__(self, "_hash", hash((self.family, self.parameters)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(cls, family: str, **parameters: Any) -> Spec:
        """Return the specification with parameters in a fixed order."""
        return cls(family, tuple(sorted(parameters.items())))

    @property
    def symbol(self) -> str:
        """The function's name: the family and a hash of the parameters."""
        text = repr(self.parameters).encode()
        return f"{self.family}_{hashlib.blake2b(text, digest_size=8).hexdigest()}"


class Store(Protocol):
    """Where object code is kept between processes, e.g. `runtime.cache.CompileCache`."""

    def get(self, key: str) -> bytes | None:
        """Return an entry, or ``None``."""

    def put(self, key: str, data: bytes) -> None:
        """Keep an entry."""


def written(specs: Iterable[Spec], target: Target) -> str:
    """Return the IR of some kernels."""
    import runtime_ep_cpu.codegen.families  # noqa: F401  registers every generator

    module = Module()
    for spec in specs:
        FAMILIES[spec.family](module, target, spec.symbol, **dict(spec.parameters))
    return module.text()


class Library:
    """The kernels of one target that this process has loaded. Thread-safe."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.compiled = 0
        """How many kernels were compiled here and not found in a cache."""
        self._addresses: dict[Spec, int] = {}
        self._codes: list[Any] = []
        self._lock = threading.Lock()

    def load(
        self, specs: Iterable[Spec], store: Store | None = None, threads: int = 1
    ) -> None:
        """Make kernels ready to be called; raises ``RuntimeError`` with LLVM's words.

        Those that most models need are kept apart from the others, so that a model that
        is new here finds them in the cache. So many ``threads`` compile.
        """
        with self._lock:
            missing = {spec for spec in specs if spec not in self._addresses}
            usual = {spec for spec in missing if spec.family in USUAL}
            for group in (usual, missing - usual):
                if group:
                    ordered = sorted(group, key=lambda spec: spec.symbol)
                    self._load(ordered, store, threads)

    def _load(self, specs: list[Spec], store: Store | None, threads: int) -> None:
        names = [spec.symbol for spec in specs]
        modules = [
            partial(written, specs[i::MODULES], self.target)
            for i in range(min(MODULES, len(specs)))
        ]
        code = self.code(names, modules, store, threads)
        self._codes.append(code)
        for spec in specs:
            self._addresses[spec] = code.address(spec.symbol)

    def code(
        self,
        names: Sequence[str],
        modules: Sequence[Callable[[], str]],
        store: Store | None,
        threads: int = 1,
    ) -> Code:
        """Return some modules' code, from the cache or compiled and put there.

        ``names`` are what they are known by; their texts are asked for only if need be.
        """
        from runtime_ep_cpu.codegen.machine import Code, joined, parted

        key = self._key(names)
        data = store.get(key) if store is not None else None
        if data is not None:
            return Code(self.target, *parted(data))
        objects = self._compiled(modules, threads)
        self.compiled += len(names)
        if store is not None:
            store.put(key, joined(objects))
        return Code(self.target, *objects)

    def _compiled(
        self, modules: Sequence[Callable[[], str]], threads: int
    ) -> list[bytes]:
        """Return the object code of each module."""
        from concurrent.futures import ThreadPoolExecutor

        from runtime_ep_cpu.codegen.machine import compiled

        def made(text: Callable[[], str]) -> bytes:
            return compiled(text(), self.target)

        if threads <= 1 or len(modules) <= 1:
            return [made(text) for text in modules]
        with ThreadPoolExecutor(min(threads, len(modules))) as workers:
            return list(workers.map(made, modules))

    def has(self, spec: Spec) -> bool:
        """Whether a kernel is loaded."""
        return spec in self._addresses

    def address(self, spec: Spec) -> int:
        """Return where a loaded kernel lies."""
        return self._addresses[spec]

    def _key(self, names: Sequence[str]) -> str:
        digest = hashlib.blake2b(digest_size=20)
        digest.update(repr((version(), llvm(), self.target, *names)).encode())
        return digest.hexdigest()


@cache
def library(target: Target) -> Library:
    """Return the process's library for a target."""
    return Library(target)
