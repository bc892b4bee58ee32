"""Kernels by specification: written, compiled once per process, kept in a cache on disk.

A kernel is a native function ``void (ptr arguments, i64 chunk, ptr scratch)``. Its
`Spec` says which generator writes it and with which parameters; sizes and strides are
arguments, so one kernel serves every shape. Kernels depend on no weights and no model.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
        """Return the specification with parameters in a fixed order; equal ones are one."""
        made = cls(family, tuple(sorted(parameters.items())))
        return _specs.setdefault(made, made)

    @property
    def symbol(self) -> str:
        """The function's name: the family and a hash of the parameters."""
        text = repr(self.parameters).encode()
        return f"{self.family}_{hashlib.blake2b(text, digest_size=8).hexdigest()}"


_specs: dict[Spec, Spec] = {}


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


class _Entry(NamedTuple):
    """Modules that are kept together in a store: what they are called, their texts."""

    names: Sequence[str]
    modules: Sequence[Callable[[], str]]


class Library:
    """The kernels of one target that this process has loaded. Thread-safe.

    What one thread is making ready another one does not, but waits for.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.compiled = 0
        """How many kernels were compiled here and not found in a cache."""
        self._addresses: dict[Spec, int] = {}
        self._codes: list[Any] = []
        self._forget()
        _libraries.add(self)

    def _forget(self) -> None:
        """Take nothing for being made; also in a child process, where nobody makes it."""
        self._underway: set[Spec] = set()
        self._changed = threading.Condition()

    def load(
        self, specs: Iterable[Spec], store: Store | None = None, threads: int = 1
    ) -> None:
        """Make kernels ready to be called; raises ``RuntimeError`` with LLVM's words.

        Those that most models need are kept apart from the others, so that a model that
        is new here finds them in the cache; of a batch of `usual` kernels all are made.
        So many ``threads`` compile.
        """
        wanted = self._with_batches(specs)
        while own := self._claimed(wanted):
            try:
                missing = self._recalled(own, store)
                self._make(missing, store, threads)
            finally:
                self._let_go(own)

    def recall(self, specs: Iterable[Spec], store: Store | None = None) -> set[Spec]:
        """Make ready what a store has; return what is left for `load` to compile.

        What others are making ready is not waited for, and not among it.
        """
        wanted = self._with_batches(specs)
        with self._changed:
            own = wanted - self._addresses.keys() - self._underway
            self._underway |= own
        try:
            return set().union(*self._recalled(own, store))
        finally:
            self._let_go(own)

    def _with_batches(self, specs: Iterable[Spec]) -> set[Spec]:
        """Return kernels with the whole of every usual batch that some are of."""
        from runtime_ep_cpu.codegen import usual

        wanted = set(specs)
        for batch in usual.batches(self.target):
            if not wanted.isdisjoint(batch):
                wanted |= batch
        return wanted

    def _let_go(self, specs: set[Spec]) -> None:
        with self._changed:
            self._underway -= specs
            self._changed.notify_all()

    def _claimed(self, wanted: set[Spec]) -> set[Spec]:
        """Return kernels for the caller to make, none when all are ready.

        Where others make what is missing it waits: what they fail at is the caller's.
        """
        with self._changed:
            while missing := wanted - self._addresses.keys():
                if own := missing - self._underway:
                    self._underway |= own
                    return own
                self._changed.wait()
        return set()

    def _recalled(self, specs: set[Spec], store: Store | None) -> list[list[Spec]]:
        """Make ready what a store has; return the groups of which it has nothing."""
        missing = []
        for group in self._grouped(specs):
            code = self._kept([spec.symbol for spec in group], store)
            if code is None:
                missing.append(group)
            else:
                self._add(group, code)
        return missing

    def _make(
        self, groups: Sequence[Sequence[Spec]], store: Store | None, threads: int
    ) -> None:
        """Compile groups of kernels, all at once, and keep each."""
        entries = [
            _Entry([spec.symbol for spec in group], self._modules(group))
            for group in groups
        ]
        made = self._made(entries, store, threads)
        for group, code in zip(groups, made, strict=True):
            self._add(group, code)

    def _add(self, specs: Sequence[Spec], code: Code) -> None:
        found = {spec: code.address(spec.symbol) for spec in specs}
        with self._changed:
            self._codes.append(code)
            self._addresses |= found

    def _grouped(self, specs: set[Spec]) -> list[list[Spec]]:
        """Return kernels by the entry of a store they belong to, the heaviest first."""
        from runtime_ep_cpu.codegen import usual

        batches = [specs & batch for batch in usual.batches(self.target)]
        left = specs.difference(*batches)
        often = {spec for spec in left if spec.family in USUAL}
        return [
            sorted(group, key=lambda spec: spec.symbol)
            for group in (left - often, often, *batches)
            if group
        ]

    def _modules(self, specs: Sequence[Spec]) -> list[Callable[[], str]]:
        return [
            partial(written, specs[i::MODULES], self.target)
            for i in range(min(MODULES, len(specs)))
        ]

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
        code = self._kept(names, store)
        if code is None:
            (code,) = self._made([_Entry(names, modules)], store, threads)
        return code

    def _kept(self, names: Sequence[str], store: Store | None) -> Code | None:
        """Return the code a store has of modules known by these names."""
        from runtime_ep_cpu.codegen.machine import Code, parted

        data = None if store is None else store.get(self._key(names))
        return None if data is None else Code(self.target, *parted(data))

    def _made(
        self, entries: Sequence[_Entry], store: Store | None, threads: int
    ) -> list[Code]:
        """Return the code of each entry, compiled now and kept."""
        from runtime_ep_cpu.codegen.machine import Code, joined

        made = iter(self._compiled([m for e in entries for m in e.modules], threads))
        codes = []
        for entry in entries:
            objects = list(islice(made, len(entry.modules)))
            if store is not None:
                store.put(self._key(entry.names), joined(objects))
            codes.append(Code(self.target, *objects))
        with self._changed:
            self.compiled += sum(len(entry.names) for entry in entries)
        return codes

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


_libraries: weakref.WeakSet[Library] = weakref.WeakSet()


@cache
def library(target: Target) -> Library:
    """Return the process's library for a target."""
    return Library(target)


def _after_fork() -> None:
    """Leave to the parent what its threads are making."""
    for made in _libraries:
        made._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
