"""Engines with what must be known of them before they are loaded, as bytes and as files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runtime.cache import CompileCache

from runtime_ep_tensorrt.orders import Ranges
from runtime_ep_tensorrt.spellings import Range

logger = logging.getLogger("runtime.tensorrt")

MAGIC = b"RTTE1"


class Damaged(Exception):
    """Bytes that are no record of an engine; says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """An engine; ``key`` is of all it depends on but the ranges it was built for."""

    key: str
    version: str
    capability: str
    ranges: Sequence[Ranges]
    engine: bytes

    def head(self) -> dict[str, Any]:
        """Return all but the engine, with its checksum, for JSON."""
        return {
            "key": self.key,
            "tensorrt": self.version,
            "capability": self.capability,
            "profiles": [_plain(each) for each in self.ranges],
            "checksum": hashlib.blake2b(self.engine).hexdigest(),
        }

    @classmethod
    def read(cls, head: Mapping[str, Any], engine: bytes) -> Record:
        """Return a record. Raises `Damaged`."""
        try:
            checksum = hashlib.blake2b(engine).hexdigest()
            if head["checksum"] != checksum:
                raise Damaged("its checksum is wrong")
            ranges = [_ranges(each) for each in head["profiles"]]
            key, version, sm = (
                str(head[name]) for name in ("key", "tensorrt", "capability")
            )
            return cls(key, version, sm, ranges, engine)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(f"its description is not readable: {error!r}") from error


def packed(record: Record) -> bytes:
    """Return a record as bytes."""
    head = json.dumps(record.head()).encode()
    return MAGIC + len(head).to_bytes(4, "little") + head + record.engine


def unpacked(data: bytes) -> Record:
    """Return the record that bytes hold. Raises `Damaged`."""
    begin = len(MAGIC) + 4
    if data[: len(MAGIC)] != MAGIC:
        raise Damaged("it is of another format")
    end = begin + int.from_bytes(data[len(MAGIC) : begin], "little")
    try:
        head = json.loads(data[begin:end])
    except ValueError as error:
        raise Damaged(f"its description is not readable: {error}") from error
    return Record.read(head, data[end:])


def _plain(ranges: Ranges) -> dict[str, Any]:
    return {
        kind: {
            name: [list(span.least), list(span.usual), list(span.most)]
            for name, span in getattr(ranges, kind).items()
        }
        for kind in ("shapes", "values")
    }


def _ranges(plain: Mapping[str, Any]) -> Ranges:
    return Ranges(
        *(
            {
                name: Range(*(tuple(map(int, shape)) for shape in span))
                for name, span in plain[kind].items()
            }
            for kind in ("shapes", "values")
        )
    )


class Store(Protocol):
    """Where an engine is kept."""

    def get(self) -> Record | None:
        """Return it, or ``None`` where there is none that is whole."""

    def put(self, record: Record) -> None:
        """Keep it in place of what was there."""


class Entry:
    """An entry of the runtime's compile cache."""

    def __init__(self, cache: CompileCache, key: str) -> None:
        self._cache = cache
        self._key = key

    def get(self) -> Record | None:
        """Return the engine."""
        data = self._cache.get(self._key)
        try:
            return None if data is None else unpacked(data)
        except Damaged as error:
            logger.warning("an engine in the compile cache is built anew: %s", error)
            return None

    def put(self, record: Record) -> None:
        """Keep an engine."""
        self._cache.put(self._key, packed(record))


class Files:
    """``NAME.engine``, as TensorRT takes it, and ``NAME.profile``, which describes it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.engine = folder / f"{name}.engine"
        self.profile = folder / f"{name}.profile"

    def get(self) -> Record | None:
        """Return the engine; files of which one is missing or wrong are none."""
        try:
            head = json.loads(self.profile.read_text("utf-8"))
            return Record.read(head, self.engine.read_bytes())
        except FileNotFoundError:
            return None
        except (Damaged, ValueError, OSError) as error:
            logger.warning("%s is built anew: %s", self.engine, error)
            return None

    def put(self, record: Record) -> None:
        """Write the engine first, so that a description never tells of one that is not."""
        head = json.dumps(record.head(), indent=1).encode()
        write(self.engine, record.engine)
        write(self.profile, head)


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; what cannot be written is logged."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        logger.warning("%s is not kept: %s", path, error)
