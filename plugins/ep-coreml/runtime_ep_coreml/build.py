"""Builds what runs a partition: its package, from the cache or made, and an engine."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from runtime.cache import CompileCache, structure_key
from runtime.graph import Tensor
from runtime.plugin import Partition
from runtime.settings import Settings
from runtime.weights import fingerprint
from runtime_ep_cpu.info import info as host

from runtime_ep_coreml.boundary import Boundary
from runtime_ep_coreml.dims import Sizes, sizes_of
from runtime_ep_coreml.engine import Loader
from runtime_ep_coreml.folder import Folder
from runtime_ep_coreml.info import info, system
from runtime_ep_coreml.options import Choice, chosen
from runtime_ep_coreml.package import Damaged, packed, unpack, write_package
from runtime_ep_coreml.program import Program
from runtime_ep_coreml.tools import coremltools

logger = logging.getLogger("runtime.coreml")

LOWERING = 2
"""Number of the way in which partitions are lowered; enters the cache's keys.

So do the versions of this package and of the CPU's, which computes matrices of Resize;
the number is for what changes between versions.
"""


def build(partition: Partition, settings: Settings, load: Loader) -> Program:
    """Return what runs a partition as a session's settings ask.

    Neither the package nor its entry in the cache depends on who makes it: what was made
    ahead of time, on Linux too, is found on a Mac. Raises `Unsupported` with the reason.
    """
    choice = chosen(settings)
    sizes = sizes_of(partition.graph, choice.dims)
    store = store_of(choice, settings)
    key = _key(partition, choice, sizes)
    folder = Folder()
    path = folder.package
    began = time.perf_counter()
    with store.lock(key) if store.enabled else nullcontext():
        source = _place(partition, choice, sizes, store, key, path)
        engine = load(path, choice, compiled(store, key))
    seconds = time.perf_counter() - began
    logger.info("%d nodes %s in %.3f s", len(partition.nodes), source, seconds)
    facts = {**_facts(choice), **engine.facts, "source": source}
    return Program(partition, Boundary(partition, sizes), engine, folder, facts)


def store_of(choice: Choice, settings: Settings) -> CompileCache:
    """Return where packages and compiled models are kept."""
    directory = choice.cache or settings.cache_directory
    return CompileCache(directory, settings.cache or bool(choice.cache))


def compiled(store: CompileCache, key: str) -> Path | None:
    """Return where the compiled model of a package is kept, if anything is.

    Each macOS compiles its own.
    """
    if not store.enabled:
        return None
    return store.path(key).with_name(f"{key}-macOS-{system()}.mlmodelc")


def _key(partition: Partition, choice: Choice, sizes: dict[str, Sizes]) -> str:
    constants = partition.constants
    arrays = {v.name: v.constant for v in constants if isinstance(v.const, Tensor)}
    values = [(v.name, v.shape) for v in (*partition.inputs, *partition.outputs)]
    parts = (
        LOWERING, info.version, host.version, coremltools().__version__, choice.package,
        values,
        sorted((name, repr(one)) for name, one in sizes.items()),
    )  # fmt: skip
    whole = replace(partition, provider=info.name)
    return structure_key(whole, *parts, fingerprint(arrays))  # type: ignore[arg-type]


def _place(
    partition: Partition,
    choice: Choice,
    sizes: dict[str, Sizes],
    store: CompileCache,
    key: str,
    path: Path,
) -> str:
    """Put the package into a folder; say where it came from."""
    data = store.get(key)
    if data is not None:
        try:
            unpack(data, path)
        except Damaged as error:
            logger.warning("a cached package is made anew: %s", error)
            shutil.rmtree(path, ignore_errors=True)
        else:
            return "loaded from the compile cache"
    write_package(partition, choice, sizes, path)
    store.put(key, packed(path))
    return "compiled"


def _facts(choice: Choice) -> dict[str, str]:
    return {
        "engine": f"Core ML by coremltools {coremltools().__version__}",
        "precision": choice.precision.lower(),
        "weights": choice.compression,
    }
