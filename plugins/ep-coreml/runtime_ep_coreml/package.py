"""Makes the package of a partition, and carries packages as bytes."""

from __future__ import annotations

import io
import shutil
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.graph import Value
from runtime.plugin import Partition, Unsupported

from runtime_ep_coreml.dims import Sizes
from runtime_ep_coreml.mil import MilEmitter, convert, function, program
from runtime_ep_coreml.options import Choice
from runtime_ep_coreml.scope import NUMPY, Refused
from runtime_ep_coreml.tools import coremltools, first_line, writing
from runtime_ep_coreml.writer import Writer, input_name, interface, output_name

SUFFIX = ".mlpackage"
MANIFEST = "Manifest.json"
"""The file that every package has at its top."""


class Damaged(Exception):
    """Raised for bytes that are no package; says why."""


def write_package(
    partition: Partition, choice: Choice, sizes: Mapping[str, Sizes], path: Path
) -> None:
    """Write the package of a partition to a folder, whose name ends in ``.mlpackage``.

    Raises `Unsupported` with the reason.
    """
    try:
        with writing(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # coremltools' own folders
            model = _model(partition, choice, sizes)
            model.save(str(path))
            del model
    except Refused as reason:
        raise Unsupported(str(reason)) from reason
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"coremltools: {first_line(error)}") from error


def _model(partition: Partition, choice: Choice, sizes: Mapping[str, Sizes]) -> Any:
    shapes = _Shapes(partition, choice, sizes)
    with function(shapes.placeholders, choice.target) as main:
        writer = Writer(MilEmitter(choice.target, choice.precision == "FP16"))
        for index, value in enumerate(partition.inputs):
            writer.read(value, main.inputs[input_name(index)])
        writer.lower(partition.nodes)
        outputs = [
            writer.give(value, output_name(index))
            for index, value in enumerate(partition.outputs)
        ]
        main.set_outputs(outputs)
    halves = choice.precision == "FP16"
    model = convert(program(main), shapes.types, choice.target, halves)
    model = _compressed(model, choice.compression)
    for index, value in enumerate(partition.inputs):
        model.input_description[input_name(index)] = value.name
    for index, value in enumerate(partition.outputs):
        model.output_description[output_name(index)] = value.name
    return model


class _Shapes:
    """The inputs of a program: sizes, ranges of sizes, or counted shapes."""

    def __init__(
        self, partition: Partition, choice: Choice, sizes: Mapping[str, Sizes]
    ) -> None:
        self._tools = coremltools()
        self._sizes = sizes
        self._ranges: dict[str, Any] = {}
        shapes = [self._shape(value) for value in partition.inputs]
        open_inputs = sum(any(map(self._is_open, shape)) for shape in shapes)
        counted = open_inputs == 1 or choice.target >= 18
        self.placeholders: dict[str, tuple[Any, str]] = {}
        self.types = []
        for index, (value, shape) in enumerate(
            zip(partition.inputs, shapes, strict=True)
        ):
            name, kind = input_name(index), interface(value)
            symbolic = tuple(d.symbol if self._is_open(d) else d for d in shape)
            self.placeholders[name] = (symbolic, kind)
            told = self._counted(value, shape) if counted else None
            self.types.append(
                self._tools.TensorType(name, shape=told or shape, dtype=NUMPY[kind])
            )

    def _is_open(self, dim: Any) -> bool:
        return isinstance(dim, self._tools.RangeDim)

    def _shape(self, value: Value) -> tuple[Any, ...]:
        if value.shape is None:
            raise Unsupported(f"the rank of {value.name!r} is unknown")
        return tuple(self._dim(value, dim) for dim in value.shape) or (1,)

    def _dim(self, value: Value, dim: int | str | None) -> Any:
        if isinstance(dim, int):
            return dim
        sizes = self._sizes.get(dim) if dim else None
        if sizes is None:
            raise Unsupported(
                f"the dim {dim or '?'} of {value.name!r} has no upper bound; give one with "
                f"DimBounds='{dim or 'name'}=1..N', or fix the dim"
            )
        if sizes.low == sizes.high:
            return sizes.low
        if dim not in self._ranges:
            self._ranges[str(dim)] = self._tools.RangeDim(
                sizes.low, sizes.high, default=sizes.low, symbol=f"d{len(self._ranges)}"
            )
        return self._ranges[str(dim)]

    def _counted(self, value: Value, shape: tuple[Any, ...]) -> Any:
        """Return the shapes of an input whose one open dim has counted sizes."""
        places = [axis for axis, dim in enumerate(shape) if self._is_open(dim)]
        if len(places) != 1:
            return None
        (axis,) = places
        only = self._sizes[str((value.shape or ())[axis])].only
        if not only:
            return None
        shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in only]
        return self._tools.EnumeratedShapes(shapes=shapes, default=shapes[0])


def _compressed(model: Any, compression: str) -> Any:
    """Return a model with its large weights in fewer bits."""
    if compression == "none":
        return model
    from coremltools.optimize import coreml as optimize

    if compression == "int8":
        linear = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
        config = optimize.OptimizationConfig(global_config=linear)
        return optimize.linear_quantize_weights(model, config)
    bits = int(compression.removeprefix("palettize"))
    palette = optimize.OpPalettizerConfig(mode="uniform", nbits=bits)
    config = optimize.OptimizationConfig(global_config=palette)
    return optimize.palettize_weights(model, config)


def packed(path: Path) -> bytes:
    """Return a folder's files as one block of bytes, the same for the same files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                entry = tarfile.TarInfo(str(file.relative_to(path).as_posix()))
                entry.size = file.stat().st_size
                with file.open("rb") as data:
                    archive.addfile(entry, data)
    return stream.getvalue()


def unpack(data: bytes, path: Path) -> None:
    """Write the files that `packed` returned to a folder.

    Raises `Damaged` for what is no such block, or holds anything but files of the folder.
    """
    path.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                _write(archive, member, path)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise Damaged(str(error)) from error
    if not (path / MANIFEST).is_file():
        raise Damaged(f"it has no {MANIFEST}")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    target = (path / member.name).resolve()
    data = archive.extractfile(member) if member.isreg() else None
    if data is None or not target.is_relative_to(path.resolve()):
        raise tarfile.ReadError(f"{member.name!r} is no file of a package")
    target.parent.mkdir(parents=True, exist_ok=True)
    with data, target.open("wb") as file:
        shutil.copyfileobj(data, file)
