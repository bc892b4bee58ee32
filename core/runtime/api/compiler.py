"""ModelCompiler: a model written out as its providers compiled it.

A partition whose executable can be saved (`runtime.abilities.Exportable`) becomes one
``EPContext`` node that carries what the provider needs to rebuild it; all else is written
as it is, simplified as far as asked, and its compiled code is in the compile cache from
then on. The layout of the node is onnxruntime's, so that a provider claims it as it would
any node: by ``source``, which is the provider's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.abilities import Exportable
from runtime.api.enums import GraphOptimizationLevel, OrtCompileApiFlags
from runtime.api.exceptions import Fail, InvalidArgument, NoSuchFile
from runtime.api.options import SessionOptions
from runtime.api.session import InferenceSession
from runtime.api.values import OrtValue

if TYPE_CHECKING:
    import onnx

    from runtime.build import Runnable
    from runtime.calling import Placed

DOMAIN = "com.microsoft"


class OrtExternalInitializerInfo:
    """Where an initializer's bytes lie: a file, the offset in it, and how many."""

    def __init__(self, filepath: str, file_offset: int, byte_size: int) -> None:
        self.filepath = os.fspath(filepath)
        self.file_offset = int(file_offset)
        self.byte_size = int(byte_size)


Locate = Callable[
    [str, OrtValue, OrtExternalInitializerInfo | None],
    OrtExternalInitializerInfo | None,
]


class ModelCompiler:
    """Compiles a model for the providers of its options, and writes it out.

    Args:
        sess_options: providers, in fallback order, and everything else about building.
        input_model_path_or_bytes: the model.
        embed_compiled_data_into_model: compiled data is always written into the model.
        external_initializers_file_path: a file for the larger initializers.
        external_initializers_size_threshold: how many bytes make one go there.
        flags: a union of `OrtCompileApiFlags`.
        graph_optimization_level: how far what no provider compiled is simplified.
        get_initializer_location_func: called with each initializer's name, value and
            ``None``; returns where the caller has put its bytes, or ``None`` to keep them.

    Raises the exceptions a session raises.
    """

    def __init__(
        self,
        sess_options: SessionOptions,
        input_model_path_or_bytes: str | os.PathLike[str] | bytes,
        embed_compiled_data_into_model: bool = False,
        external_initializers_file_path: str | os.PathLike[str] | None = None,
        external_initializers_size_threshold: int = 1024,
        flags: int = OrtCompileApiFlags.NONE,
        graph_optimization_level: GraphOptimizationLevel = (
            GraphOptimizationLevel.ORT_DISABLE_ALL
        ),
        get_initializer_location_func: Locate | None = None,
    ) -> None:
        source = input_model_path_or_bytes
        if not isinstance(source, (str, bytes, os.PathLike)):
            raise TypeError(f"Unable to load from type '{type(source)}'")
        if external_initializers_file_path and get_initializer_location_func:
            raise ValueError(
                "give external_initializers_file_path or get_initializer_location_func, "
                "not both"
            )
        self._source = source
        self._options = sess_options.__copy__()
        self._options.graph_optimization_level = graph_optimization_level
        self._external = external_initializers_file_path
        self._threshold = external_initializers_size_threshold
        self._flags = int(flags)
        self._locate = get_initializer_location_func

    def compile_to_bytes(self) -> bytes:
        """Return the compiled model."""
        data: bytes = self._proto(Path()).SerializeToString()
        return data

    def compile_to_stream(self, write_function: Callable[[bytes], None]) -> None:
        """Hand the compiled model to a function that writes bytes."""
        write_function(self.compile_to_bytes())

    def compile_to_file(
        self, output_model_path: str | os.PathLike[str] | None = None
    ) -> None:
        """Write the compiled model; by default beside the model, as ``<model>_ctx.onnx``."""
        path = (
            Path(output_model_path) if output_model_path else context_path(self._source)
        )
        exists = self._flags & OrtCompileApiFlags.ERROR_IF_OUTPUT_FILE_EXISTS
        if exists and path.exists():
            raise Fail(
                f"{path} exists; remove it, or leave out the flag that forbids it"
            )
        if path.is_dir() or not path.parent.is_dir():
            raise NoSuchFile(f"{path} cannot be written: it is a folder, or has none")
        path.write_bytes(self._proto(path.parent).SerializeToString())

    def set_ep_context_data_write_func(self, write_func: Callable[..., Any]) -> None:
        """Do nothing: compiled data is written into the model."""

    def clear_ep_context_data_write_func(self) -> None:
        """Do nothing: compiled data is written into the model."""

    def set_ep_context_binary_information(
        self, output_directory: str | os.PathLike[str], model_name: str
    ) -> None:
        """Check the arguments, which name where providers put files beside the model.

        They put none: compiled data is written into the model.
        """
        if not os.fspath(output_directory) or not model_name:
            raise InvalidArgument("output_directory and model_name are not empty")

    def _proto(self, folder: Path) -> onnx.ModelProto:
        with InferenceSession(self._source, self._options) as session:
            runnable = session._runnable
            if self._flags & OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED:
                _must_be_some(_compiled(runnable), runnable)
            proto = compiled_proto(runnable)
        self._place_weights(proto, folder)
        return proto

    def _place_weights(self, proto: onnx.ModelProto, folder: Path) -> None:
        """Move initializers out of the model, as the caller asked."""
        from onnx.external_data_helper import convert_model_to_external_data

        if self._locate is not None:
            for tensor in proto.graph.initializer:
                _move(tensor, self._locate)
        if self._external:
            name = os.fspath(self._external)
            (folder / name).unlink(missing_ok=True)
            convert_model_to_external_data(
                proto, location=name, size_threshold=self._threshold
            )
            _write_external(proto, folder)


def compiled_proto(runnable: Runnable) -> onnx.ModelProto:
    """Return a session's model with what its providers compiled and can save."""
    from runtime.export import to_proto

    proto = to_proto(runnable.model, "inline")
    compiled = _compiled(runnable)
    for number, (placed, data) in enumerate(compiled.items()):
        _put_in_place(proto, placed, data, number)
    if compiled:
        _put_in_order(proto)
    return proto


def context_path(source: str | os.PathLike[str] | bytes) -> Path:
    """Return where a model's compiled form lies by default: beside it.

    Raises `InvalidArgument` for a model given as bytes.
    """
    if isinstance(source, bytes):
        raise InvalidArgument(
            "a model given as bytes has no folder for its compiled form: give an "
            "output_model_path, or the config entry ep.context_file_path"
        )
    path = Path(source)
    return path.with_name(f"{path.stem}_ctx.onnx")


def _compiled(runnable: Runnable) -> dict[Placed, bytes]:
    """Return what the providers saved, by partition."""
    return {
        placed: placed.executable.export()
        for placed in runnable.section.placed
        if isinstance(placed.executable, Exportable)
    }


def _must_be_some(compiled: Mapping[Placed, bytes], runnable: Runnable) -> None:
    if not compiled:
        names = ", ".join(runnable.providers.names)
        raise Fail(
            f"Unable to compile any nodes: none of {names} saves what it compiles; name a "
            "provider that does, or leave out ERROR_IF_NO_NODES_COMPILED"
        )


def _put_in_place(
    proto: onnx.ModelProto, placed: Placed, data: bytes, number: int
) -> None:
    """Replace a partition's nodes by the node that carries it compiled."""
    from onnx import helper

    part = placed.partition
    outputs = {value.name for value in part.outputs}
    made = {value.name for node in part.nodes for value in node.outputs if value.name}
    kept = [node for node in proto.graph.node if not made & {*node.output}]
    context = helper.make_node(
        "EPContext",
        [value.name for value in part.inputs],
        sorted(outputs, key=[value.name for value in part.outputs].index),
        name=f"{part.provider}_{number}",
        domain=DOMAIN,
        main_context=1,
        embed_mode=1,
        ep_cache_context=data,
        source=part.provider,
        partition_name=f"{part.provider}_{number}",
    )
    del proto.graph.node[:]
    proto.graph.node.extend([*kept, context])
    read = {name for node in proto.graph.node for name in _reads(node)}
    weights = [each for each in proto.graph.initializer if each.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(weights)
    if all(entry.domain != DOMAIN for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the names a node reads, its bodies' included."""
    found = {*node.input}
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            found.update(name for inner in body.node for name in _reads(inner))
            found.update(value.name for value in body.output)
    return found


def _put_in_order(proto: onnx.ModelProto) -> None:
    """Sort nodes so that each stands after those it reads from."""
    waiting, made = list(proto.graph.node), set[str]()
    producible = {name for node in waiting for name in node.output}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [n for n in waiting if not (_reads(n) & producible) - made]
        if not ready:
            raise Fail("the partitions that were compiled wait for each other")
        for node in ready:
            made.update(node.output)
        ordered += ready
        waiting = [node for node in waiting if node not in ready]
    del proto.graph.node[:]
    proto.graph.node.extend(ordered)


def _move(tensor: onnx.TensorProto, locate: Locate) -> None:
    """Have the caller say where an initializer's bytes are, if not in the model."""
    from onnx import numpy_helper
    from onnx.external_data_helper import set_external_data

    array = numpy_helper.to_array(tensor)
    info = locate(tensor.name, OrtValue.ortvalue_from_numpy(array), None)
    if info is None:
        return
    raw = numpy_helper.from_array(array, tensor.name)
    tensor.CopyFrom(raw)
    set_external_data(tensor, info.filepath, info.file_offset, info.byte_size)
    tensor.ClearField("raw_data")


def _write_external(proto: onnx.ModelProto, folder: Path) -> None:
    from onnx.external_data_helper import save_external_data, uses_external_data

    for tensor in proto.graph.initializer:
        if uses_external_data(tensor):
            save_external_data(tensor, str(folder))
            tensor.ClearField("raw_data")
