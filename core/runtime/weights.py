"""Where weights lie: in files, mapped or read piece by piece, and in parsed bytes.

Embedded weights never pass through protobuf: `split` walks the wire format of a model,
takes the large ``raw_data`` fields out, and returns them as views of the original bytes.
Arrays of the same bytes are shared, and read-only.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import ExternalDataError, ModelUnreadable
from runtime.locks import ProcessLock
from runtime.pieces import FilePieces, Piece
from runtime.valuetypes import ELEMENT_TYPES, nbytes, numpy_dtype

Array = np.ndarray[Any, Any]
Buffer = memoryview

LARGE = 1024
"""Bytes from which an embedded tensor is viewed instead of parsed."""

PIECES_FROM = 1 << 20
"""Bytes from which a model file is read piece by piece."""

MAPPED_FROM = 1 << 28
"""Bytes from which a model file is mapped instead of read."""

COPIED_BELOW = 1 << 16
"""Bytes up to which a tensor of a mapped file is copied: to read it there may take 2 MiB
of memory, the size of a large page."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


class WeightStore:
    """The process's mapped files and the arrays that view them, each made once.

    Two sessions of one file share the pages and the very array objects, so that what a
    provider derives from an array (packed weights) can be shared by identity too.
    """

    def __init__(self) -> None:
        self._files: weakref.WeakValueDictionary[Any, Any] = (
            weakref.WeakValueDictionary()
        )
        self._arrays: weakref.WeakValueDictionary[Any, Array] = (
            weakref.WeakValueDictionary()
        )
        self._mapped: weakref.WeakKeyDictionary[mmap.mmap, Any] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = ProcessLock()

    def open(self, path: str | os.PathLike[str]) -> Buffer | FilePieces:
        """Return the bytes of a model file, or that which reads them when asked for.

        Up to `MAPPED_FROM` bytes a session does not notice when its model is written
        anew. Larger files are mapped: they must not change while a session lives.
        """
        size = os.stat(path).st_size
        if PIECES_FROM <= size <= MAPPED_FROM:
            return FilePieces(path)
        return self.read(path)

    def read(self, path: str | os.PathLike[str], mapped: bool = False) -> Buffer:
        """Return a file's bytes, read once per process while somebody holds them.

        Files above `MAPPED_FROM` bytes, and those asked for, are mapped.
        """
        with open(path, "rb") as file:
            stat = os.fstat(file.fileno())
            if stat.st_size == 0:
                return memoryview(b"")
            key = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            with self._lock:
                data: Any = self._files.get(key)
                if data is None:
                    if mapped or stat.st_size > MAPPED_FROM:
                        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                        self._mapped[data] = key
                    else:
                        data = np.fromfile(file, np.uint8)
                        data.flags.writeable = False
                    self._files[key] = data
        return memoryview(data)

    def array(self, view: Buffer, dtype: int, shape: tuple[int, ...]) -> Array:
        """Return the read-only array over a view, the same object for the same bytes.

        Types below a byte are unpacked, so their arrays hold no view and are not shared.
        """
        if ELEMENT_TYPES[dtype].bits < 8:
            return decode(view, dtype, shape)
        key = (self._place(view), dtype, shape)
        with self._lock:
            found = self._arrays.get(key)
            if found is not None and found.size:
                return found
            if len(view) < COPIED_BELOW and isinstance(view.obj, mmap.mmap):
                view = memoryview(bytes(view))
            made = decode(view, dtype, shape)
            self._arrays[key] = made
            return made

    def _place(self, view: Buffer) -> tuple[Any, int]:
        """Say what a view is of, and where it begins.

        A mapping may go while a copy of some of it stays, and another take its address:
        so it is known by its file.
        """
        flat = np.frombuffer(view, np.uint8)
        address: int = flat.__array_interface__["data"][0] if flat.size else 0
        whole = view.obj if isinstance(view, memoryview) else None
        if not isinstance(whole, mmap.mmap) or whole not in self._mapped:
            return id(whole), address
        start: int = np.frombuffer(whole, np.uint8).__array_interface__["data"][0]
        return self._mapped[whole], address - start

    def copied(self, piece: Piece, dtype: int, shape: tuple[int, ...]) -> Array:
        """Return an array of what a piece holds, the same one while somebody holds it."""
        key = (piece.key, dtype, shape)
        with self._lock:
            found = self._arrays.get(key)
        if found is not None:
            return found
        made = decode(piece.read(), dtype, shape)
        with self._lock:
            return self._arrays.setdefault(key, made)


STORE = WeightStore()


def decode(view: Buffer | Array, dtype: int, shape: tuple[int, ...]) -> Array:
    """Return raw little-endian tensor bytes as an array; a view from 8 bits on.

    Raises `ExternalDataError` when the number of bytes does not fit shape and type.
    """
    expected = nbytes(dtype, shape)
    if len(view) != expected:
        raise ExternalDataError(
            f"a tensor of type {ELEMENT_TYPES[dtype].name} and shape {list(shape)} "
            f"needs {expected} bytes, found {len(view)}"
        )
    if ELEMENT_TYPES[dtype].bits >= 8:
        array = np.frombuffer(view, numpy_dtype(dtype)).reshape(shape)
    else:
        array = _unpack(view, dtype, shape)
    array.flags.writeable = False
    return array


def _unpack(view: Buffer | Array, dtype: int, shape: tuple[int, ...]) -> Array:
    import onnx

    proto = onnx.TensorProto(data_type=dtype, dims=shape, raw_data=bytes(view))
    unpacked: Array = onnx.numpy_helper.to_array(proto)
    return unpacked


View = Buffer | Piece


def split(model: Buffer | FilePieces) -> tuple[bytes, list[View | None]]:
    """Separate a serialized ModelProto from its large initializers.

    Returns the model without their ``raw_data``, and per initializer of the main graph
    the view of it, or ``None`` where it was left in place. Raises `ModelUnreadable` for
    bytes that are no protobuf message.
    """
    try:
        fields = list(_fields(model, 0, len(model)))
        graphs = [field for field in fields if field[0] == _GRAPH and field[1] == 2]
        if len(graphs) != 1:
            return bytes(model[:]), []
        _, _, _, start, end = graphs[0]
        chunks, views = _split_graph(model, start, end)
    except (IndexError, ValueError) as error:
        raise ModelUnreadable(
            "the bytes are not an ONNX model: protobuf parsing failed; "
            "was the file cut short, or is it of another format?"
        ) from error
    size = sum(len(chunk) for chunk in chunks)
    parts = [bytes(model[: graphs[0][2]]), _tag(_GRAPH), _varint(size), *chunks]
    return b"".join((*parts, bytes(model[end:]))), views


def _split_graph(
    model: Buffer | FilePieces, start: int, end: int
) -> tuple[list[bytes], list[View | None]]:
    chunks: list[bytes] = []
    views: list[View | None] = []
    done = start
    for number, wire, begin, first, last in _fields(model, start, end):
        if number != _INITIALIZER or wire != 2:
            continue
        raw = None
        if last - first >= LARGE:
            raw = _raw_data(model, first, last)
        if raw is None:
            views.append(None)
            continue
        opening, body, closing = raw
        rest = bytes(model[first:opening]) + bytes(model[closing:last])
        chunks += (
            bytes(model[done:begin]),
            _tag(_INITIALIZER),
            _varint(len(rest)),
            rest,
        )
        views.append(model[body:closing])
        done = last
    chunks.append(bytes(model[done:end]))
    return chunks, views


def _raw_data(
    model: Buffer | FilePieces, first: int, last: int
) -> tuple[int, int, int] | None:
    for number, wire, begin, body, closing in _fields(model, first, last):
        if number == _RAW_DATA and wire == 2 and closing - body >= LARGE:
            return begin, body, closing
    return None


def _fields(data: Buffer | FilePieces, position: int, end: int) -> Any:
    """Yield (number, wire type, start of tag, start of payload, end of payload)."""
    while position < end:
        begin = position
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        first = position
        if wire == 2:
            length, first = _read_varint(data, position)
            position = first + length
        elif wire == 0:
            _, position = _read_varint(data, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position > end:
            raise ValueError("a field reaches beyond its message")
        yield number, wire, begin, first, position


def _read_varint(data: Buffer | FilePieces, position: int) -> tuple[int, int]:
    byte = data[position]
    if byte < 128:
        return byte, position + 1
    result, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("a number longer than 64 bits")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _tag(number: int) -> bytes:
    return _varint(number << 3 | 2)


class ExternalData:
    """Resolves external tensors below one folder, and nowhere else."""

    def __init__(
        self,
        folder: str,
        buffers: Mapping[str, Any],
        model: str = "",
        replaced: Container[str] = (),
    ) -> None:
        self._folder = folder
        self._replaced = replaced
        self._model = model
        self._buffers = buffers
        self._files: dict[str, Buffer] = {}

    def view(self, tensor: str, entries: Mapping[str, str], size: int) -> Buffer:
        """Return the bytes of an external tensor that needs ``size`` of them.

        One that the caller replaces is not looked for: it is zeros. Raises
        `ExternalDataError` for a file that is missing, too short, or outside the model's
        folder.
        """
        if tensor in self._replaced:
            return memoryview(bytes(size))
        location = entries.get("location", "")
        data = self._files.get(location)
        if data is None:
            data = self._files[location] = self._open(tensor, location)
        try:
            offset = int(entries.get("offset") or 0)
            length = int(entries.get("length") or 0) or size
        except ValueError as error:
            raise ExternalDataError(
                f"initializer {tensor!r}: offset and length of its external data must "
                f"be integers, found {dict(entries)}"
            ) from error
        if offset < 0 or length < 0 or offset + length > len(data):
            raise ExternalDataError(
                f"initializer {tensor!r} lies at bytes {offset} to {offset + length} of "
                f"{location!r}, which has only {len(data)}; the file is cut short"
            )
        if length != size:
            raise ExternalDataError(
                f"initializer {tensor!r} needs {size} bytes by its shape and type, but "
                f"its external data declares {length}"
            )
        return data[offset : offset + length]

    def _open(self, tensor: str, location: str) -> Buffer:
        if location in self._buffers:
            return memoryview(self._buffers[location]).cast("B")
        where = self._inside(tensor, location)
        if not where.is_file():
            raise ExternalDataError(
                f"external data of initializer {tensor!r} not found: {location!r} is "
                f"missing in {self._folder or '.'!r}; put it beside the model"
            )
        return STORE.read(where, mapped=True)

    def _inside(self, tensor: str, location: str) -> Path:
        base = Path(self._folder or ".")
        path = Path(location)
        bad = (
            not location or path.is_absolute() or ".." in path.parts or "\0" in location
        )
        if not bad:
            target = (base / path).resolve()
            bad = not any(target.is_relative_to(home) for home in self._homes(base))
        if bad:
            raise ExternalDataError(
                f"initializer {tensor!r} points to {location!r}, outside the model's "
                "folder; external data must lie in that folder or below"
            )
        return base / path

    def _homes(self, base: Path) -> set[Path]:
        """Return the model's folder and, where the model is a link, that of its target."""
        homes = {base.resolve()}
        if self._model:
            homes.add(Path(self._model).resolve().parent)
        return homes


def drop_pages(array: Array) -> None:
    """Tell the system that an array's mapped pages may go; they are read again on use."""
    mapped = _mapping(array)
    if mapped is None:
        return
    start = array.__array_interface__["data"][0]
    origin = np.frombuffer(mapped, np.uint8, 1).__array_interface__["data"][0]
    page = mmap.PAGESIZE
    first = -(-(start - origin) // page) * page
    last = (start - origin + array.nbytes) // page * page
    if last > first:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def drop_files(arrays: Iterable[Array]) -> None:
    """Do the same for all of the files that arrays view."""
    found = {id(mapped): mapped for mapped in map(_mapping, arrays)}
    for mapped in found.values():
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def _mapping(array: Array) -> mmap.mmap | None:
    """Return the mapped file that an array views, if pages of it can be let go."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    can = isinstance(base, mmap.mmap) and hasattr(base, "madvise")
    return base if can else None


def fingerprint(arrays: Mapping[str, Callable[[], Array]]) -> str:
    """Return a hash over names and contents, for caches of code that bakes weights in."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]()
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
