"""The compile cache: what providers built, on disk, keyed by everything it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import CacheError
from runtime.graph import AttributeKind, Graph, Node, SparseTensor, Tensor, Value
from runtime.plugin import Partition
from runtime.settings import Settings
from runtime.valuetypes import TensorType

logger = logging.getLogger("runtime")

_MAGIC = b"RTC1"
_SMALL = 64


def structure_key(partition: Partition, *extra: object) -> str:
    """Return a hash of operators, attributes, types, ranks and small constants.

    ``extra`` adds what else the result depends on: options, provider, driver and device
    versions. Weights do not enter; a provider that bakes them in adds
    `runtime.weights.fingerprint` of them.
    """
    digest = hashlib.blake2b(digest_size=20)
    numbers: dict[Value, int] = {}
    for value in (*partition.inputs, *partition.constants):
        digest.update(_value(value, numbers).encode())
    for node in partition.nodes:
        _node(node, numbers, digest)
    outputs = [numbers.get(value, -1) for value in partition.outputs]
    digest.update(repr((outputs, partition.provider, extra)).encode())
    return digest.hexdigest()


def _value(value: Value, numbers: dict[Value, int]) -> str:
    number = numbers.setdefault(value, len(numbers))
    kind = value.type
    text = str(kind)
    if isinstance(kind, TensorType):
        text += f"/{None if kind.shape is None else len(kind.shape)}"
    if value.is_constant and isinstance(value.const, SparseTensor):
        text += f"={value.const.numpy().tolist()!r}"
    if value.is_constant and isinstance(value.const, Tensor):
        text += f"={value.const.shape}"
        if value.const.size <= _SMALL:
            text += repr(value.const.numpy().tolist())
    return f"{number}:{text};"


def _node(node: Node, numbers: dict[Value, int], digest: Any) -> None:
    digest.update(f"{node.domain}:{node.op_type}:{node.version}(".encode())
    for value in node.inputs:
        known = "-" if value is None else numbers.get(value)
        digest.update(f"{known},".encode())
    for name in sorted(node.attributes):
        entry = node.attributes[name]
        digest.update(f"{name}={int(entry.kind)}:".encode())
        _attribute(entry.kind, entry.value, numbers, digest)
    digest.update(node.overload.encode())
    for value in node.outputs:
        digest.update(_value(value, numbers).encode())
        digest.update(b"+" if value.name or value.uses else b"-")


def _attribute(
    kind: AttributeKind, value: Any, numbers: dict[Value, int], digest: Any
) -> None:
    if isinstance(value, Graph):
        inner = dict(numbers)
        for each in (*value.inputs, *value.initializers.values()):
            digest.update(_value(each, inner).encode())
        for node in value:
            _node(node, inner, digest)
        digest.update(repr([inner.get(each) for each in value.outputs]).encode())
    elif isinstance(value, tuple) and kind.name.endswith("S"):
        for item in value:
            _attribute(kind, item, numbers, digest)
            digest.update(b",")
    elif isinstance(value, (Tensor, SparseTensor)):
        array = value.numpy()
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode())
    else:
        digest.update(repr(value).encode())


def default_directory() -> Path:
    """Return the user's cache folder for compiled code, ``RUNTIME_CACHE_DIR`` first."""
    named = os.environ.get("RUNTIME_CACHE_DIR")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "runtime"


class CompileCache:
    """Checksummed entries in a private folder; a broken one is as good as none.

    Nothing raises: a folder that cannot be used means that every look-up misses, logged
    once with the reason.
    """

    def __init__(self, directory: str | os.PathLike[str] = "", enabled: bool = True):
        self.directory = Path(directory) if directory else default_directory()
        self.enabled = enabled
        self._complained = False

    @classmethod
    def of(cls, settings: Settings) -> CompileCache:
        """Return the cache a session's settings ask for."""
        return cls(settings.cache_directory, settings.cache)

    def path(self, key: str) -> Path:
        """Return where an entry lies, or would."""
        return self.directory / key[:2] / f"{key}.bin"

    def get(self, key: str) -> bytes | None:
        """Return an entry's bytes, or ``None``; a corrupted entry is removed."""
        if not self.enabled:
            return None
        path = self.path(key)
        try:
            return verified(path.read_bytes())
        except FileNotFoundError:
            return None
        except CacheError as error:
            _warn(f"compile cache entry {path} dropped: {error}")
            with contextlib.suppress(OSError):
                path.unlink()
        except OSError as error:
            self._complain(error)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Write an entry atomically: readers see all of it or nothing."""
        if not self.enabled:
            return
        path = self.path(key)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + hashlib.blake2b(data).digest() + data)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            self._complain(error)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold off other processes that compile the same entry, where the system can."""
        path = self.path(key).with_suffix(".lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = open(path, "w") if self.enabled else None  # noqa: SIM115
        except OSError as error:
            self._complain(error)
            file = None
        try:
            if file is not None:
                _lock_file(file)
            yield
        finally:
            if file is not None:
                file.close()

    def entries(self) -> list[Path]:
        """Return every entry's file."""
        return sorted(self.directory.glob("??/*.bin"))

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _warn(
                f"the compile cache in {self.directory} cannot be used ({error}); "
                "everything is compiled anew; set RUNTIME_CACHE_DIR to a folder that can "
                "be written"
            )


def _warn(message: str) -> None:
    logger.warning("%s", message)
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def verified(entry: bytes) -> bytes:
    """Return what an entry's file holds; `CacheError` where it is damaged."""
    head = len(_MAGIC) + 64
    data = entry[head:]
    if entry[: len(_MAGIC)] != _MAGIC:
        raise CacheError("it is of another format")
    if hashlib.blake2b(data).digest() != entry[len(_MAGIC) : head]:
        raise CacheError("its checksum is wrong")
    return data


def _lock_file(file: Any) -> None:
    try:
        import fcntl
    except ImportError:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
