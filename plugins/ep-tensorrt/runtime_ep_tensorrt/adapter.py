"""TensorRT's Python API: nothing else in this package touches it.

What versions 10 and 11 do not share is in `TABLE`; the rest of what is used here, both have
alike. The tests read this file's syntax tree and look up every class, method, keyword,
property and enumeration's member in the surfaces of the real bindings. So that they can,
objects of TensorRT's have one name each throughout: ``builder``, ``config``, ``engine`` …
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np
from runtime.errors import ExecutionError

from runtime_ep_tensorrt.heard import Caught, Said
from runtime_ep_tensorrt.options import Build, warn
from runtime_ep_tensorrt.orders import (
    Binding,
    BuildFailed,
    Built,
    Notify,
    Order,
    Progress,
    Ranges,
    Reallocate,
)
from runtime_ep_tensorrt.probe import PACKAGES
from runtime_ep_tensorrt.spellings import Range

TABLE: Mapping[str, tuple[bool, bool]] = {
    "TacticSource.CUBLAS": (True, False),
    "TacticSource.CUBLAS_LT": (True, False),
    "TacticSource.CUDNN": (True, False),
    "TacticSource.EDGE_MASK_CONVOLUTIONS": (True, True),
    "TacticSource.JIT_CONVOLUTIONS": (True, True),
    "PreviewFeature.PROFILE_SHARING_0806": (True, False),
    "PreviewFeature.MULTIDEVICE_RUNTIME_10_16": (True, False),
    "PreviewFeature.ALIASED_PLUGIN_IO_10_03": (True, True),
    "PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10": (True, True),
}
"""Members that a user may name → whether TensorRT 10 has them, and 11."""

_DTYPES = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
    "FP8": np.dtype(ml_dtypes.float8_e4m3fn),
}
_building = threading.Lock()


def bindings() -> Any:
    """Import the bindings, whichever package has them."""
    for name in PACKAGES:
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise ModuleNotFoundError(f"none of {', '.join(PACKAGES)} is installed")


@cache
def opened() -> Api:
    """Return TensorRT, imported when it is first asked for."""
    return Api(bindings())


class Api:
    """TensorRT as the rest of this package uses it."""

    def __init__(self, module: Any) -> None:
        self._trt = trt = module
        self.version = str(trt.__version__)
        self._caught = Caught()
        self._said = Said()
        self._logger = _logger(trt, self._said, self._caught)
        self._loaded: set[str] = set()
        trt.init_libnvinfer_plugins(self._logger, "")

    def load_plugins(self, paths: Iterable[str]) -> None:
        """Load libraries of plugins, each once. Raises `BuildFailed`."""
        trt = self._trt
        registry = trt.get_plugin_registry()
        for path in paths:
            if path not in self._loaded:
                if registry.load_library(path) is None:
                    raise BuildFailed(f"the plugin library {path} cannot be loaded")
                self._loaded.add(path)

    def supports(self, model: bytes) -> list[tuple[bool, list[int]]]:
        """Return regions of a model by the places of their nodes, and which are taken."""
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = self._network(builder)
        parser = trt.OnnxParser(network, self._logger)
        parser.supports_model_v2(model)
        self._caught.again()
        return [
            (bool(parser.is_subgraph_supported(i)), list(parser.get_subgraph_nodes(i)))
            for i in range(parser.num_subgraphs)
        ]

    def _network(self, builder: Any) -> Any:
        """Return a strongly typed network, which is the only kind that 11 has."""
        trt = self._trt
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return builder.create_network(typed)

    # building

    def build(self, order: Order) -> Built:
        """Build an engine, one at a time. Raises `BuildFailed`."""
        trt = self._trt
        with _building:
            self._said.forget()
            builder = trt.Builder(self._logger)
            network = self._network(builder)
            parser = trt.OnnxParser(network, self._logger)
            self._parse(parser, order)
            config = builder.create_builder_config()
            self._configure(config, order)
            for profile in self._profiles(builder, network, order.profiles):
                if config.add_optimization_profile(profile) < 0:
                    raise BuildFailed(self._said.why("a profile does not fit"))
            cached = self._set_timing(config, order)
            memory = builder.build_serialized_network(network, config)
            self._caught.again()
            if memory is None:
                raise BuildFailed(self._said.why("the engine could not be built"))
            timing = bytes(cached.serialize()) if cached is not None else None
            return Built(bytes(memory), timing)

    def _parse(self, parser: Any, order: Order) -> None:
        if order.weights:
            taken = parser.load_model_proto(order.model)
            for name, array in order.weights.items():
                data = array.ctypes.data
                taken = taken and parser.load_initializer(name, data, array.nbytes)
            taken = taken and parser.parse_model_proto()
        else:
            taken = parser.parse(order.model)
        if not taken:
            raise BuildFailed(self._told(parser, "the model was not parsed"))

    def _told(self, parser: Any, otherwise: str) -> str:
        """Return what a parser has against a model."""
        found = []
        for index in range(parser.num_errors):
            error = parser.get_error(index)
            at = f"{error.node_operator()}({error.node_name()})"
            found.append(f"{at}: {error.desc()}")
        return "; ".join(found) or self._said.why(otherwise)

    def _configure(self, config: Any, order: Order) -> None:
        trt, build = self._trt, order.build
        config.builder_optimization_level = build.level
        if build.workspace:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, build.workspace)
        if build.streams >= 0:
            config.max_aux_streams = build.streams
        if build.sparse:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if build.any_version:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if build.stripped:
            config.set_flag(trt.BuilderFlag.STRIP_PLAN)
            config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)
        if build.any_hardware:
            level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
            config.hardware_compatibility_level = level
        if build.detailed:
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if build.dla is not None:
            config.default_device_type = trt.DeviceType.DLA
            config.DLA_core = build.dla
            config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        self._prefer(config, build)
        if order.progress is not None:
            config.progress_monitor = _monitor(trt, order.progress, self._caught)

    def _prefer(self, config: Any, build: Build) -> None:
        """Set what a user names: those that this version lacks are left out, loudly."""
        trt = self._trt
        sources = config.get_tactic_sources()
        for name, wanted in build.tactics:
            if (source := self._member(trt.TacticSource, name)) is not None:
                bit = 1 << int(source)
                sources = sources | bit if wanted else sources & ~bit
        if build.tactics:
            config.set_tactic_sources(sources)
        for name in build.previews:
            if (feature := self._member(trt.PreviewFeature, name)) is not None:
                config.set_preview_feature(feature, True)

    def _member(self, kind: Any, name: str) -> Any:
        found = kind.__members__.get(name)
        if found is None:
            warn(f"TensorRT {self.version} has no {name}; it is left out")
        return found

    def _profiles(
        self, builder: Any, network: Any, profiles: Sequence[Ranges]
    ) -> Iterable[Any]:
        tensors = [network.get_input(i) for i in range(network.num_inputs)]
        for ranges in profiles:
            profile = builder.create_optimization_profile()
            for tensor in tensors:
                name = tensor.name
                if tensor.is_shape_tensor:
                    if name not in ranges.values:
                        raise BuildFailed(
                            f"the input {name!r} is a shape of no known values"
                        )
                    span = ranges.values[name]
                    profile.set_shape_input(name, span.least, span.usual, span.most)
                elif name in ranges.shapes:
                    span = ranges.shapes[name]
                    profile.set_shape(name, span.least, span.usual, span.most)
            yield profile

    def _set_timing(self, config: Any, order: Order) -> Any:
        if order.timing is None:
            return None
        cached = config.create_timing_cache(order.timing)
        if cached is not None and config.set_timing_cache(cached, order.any_timing):
            return cached
        told = (
            "was made on another GPU or version" if cached is not None else "is damaged"
        )
        warn(f"the timing cache {told}; it is begun anew")
        cached = config.create_timing_cache(b"")
        config.set_timing_cache(cached, order.any_timing)
        return cached

    # running

    def load(
        self, data: bytes, model: bytes | None = None, is_trusted: bool = False
    ) -> Engine:
        """Load an engine, and put weights into it from a model where it has none.

        Engines for any version bring code that runs on the host; it must be trusted.
        Raises `BuildFailed`.
        """
        trt = self._trt
        self._said.forget()
        runtime = trt.Runtime(self._logger)
        runtime.engine_host_code_allowed = is_trusted
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise BuildFailed(self._said.why("the engine was not taken"))
        if model is not None:
            refitter = trt.Refitter(engine, self._logger)
            refit = trt.OnnxParserRefitter(refitter, self._logger)
            if not (refit.refit_from_bytes(model) and refitter.refit_cuda_engine()):
                raise BuildFailed(self._said.why("the weights were not taken"))
        return Engine(trt, engine, (runtime, self._logger))


def _logger(trt: Any, said: Said, caught: Caught) -> Any:
    """Return a logger that hands on to Python's, and keeps errors."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            caught.call(None, said.hear, severity.name, msg)

    return Logger()


def _monitor(trt: Any, progress: Progress, caught: Caught) -> Any:
    """Return what TensorRT tells how a build goes on; what raises there ends it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(
            self, phase_name: str, parent_phase: Any, num_steps: int
        ) -> None:
            told = phase_name, parent_phase or "", num_steps
            caught.call(None, progress.begin, *told)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return bool(caught.call(False, progress.step, phase_name, step))

        def phase_finish(self, phase_name: str) -> None:
            caught.call(None, progress.end, phase_name)

    return Monitor()


class Engine:
    """A loaded engine. ``memory`` are the bytes that each of its contexts works in."""

    def __init__(self, trt: Any, engine: Any, keep: Any) -> None:
        self._trt = trt
        self._engine = engine
        self._keep = keep
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self.bindings = {name: self._binding(engine, name) for name in names}
        self.memory = int(engine.device_memory_size_v2)
        self.profiles = int(engine.num_optimization_profiles)

    def _binding(self, engine: Any, name: str) -> Binding:
        trt = self._trt
        mode, place = engine.get_tensor_mode(name), engine.get_tensor_location(name)
        kind = engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise BuildFailed(f"{name!r} is {kind}, which no array here has")
        return Binding(
            name,
            mode == trt.TensorIOMode.INPUT,
            _DTYPES[kind],
            tuple(engine.get_tensor_shape(name)),
            place == trt.TensorLocation.HOST,
        )

    def ranges(self) -> list[Ranges]:
        """Return what each profile admits, of inputs that are not of one shape."""
        engine, found = self._engine, []
        given = [each for each in self.bindings.values() if each.is_input]
        for index in range(self.profiles):
            shapes, values = {}, {}
            for each in given:
                if any(dim < 0 for dim in each.shape):
                    dims = engine.get_tensor_profile_shape(each.name, index)
                    shapes[each.name] = Range(*map(tuple, dims))
                if each.on_host:
                    sizes = engine.get_tensor_profile_values(each.name, index)
                    values[each.name] = Range(*map(tuple, sizes))
            found.append(Ranges(shapes, values))
        return found

    def context(self) -> Run:
        """Return something that runs it; each has one run at a time."""
        trt, engine = self._trt, self._engine
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = engine.create_execution_context(managed)
        if context is None:
            raise ExecutionError("TensorRT made no execution context; is memory left?")
        return Run(trt, context, engine)


class Run:
    """An execution context: what one run at a time is set up in."""

    def __init__(self, trt: Any, context: Any, engine: Any) -> None:
        self._trt = trt
        self._context = context
        self._keep: dict[str, Any] = {"": engine}
        self._caught = Caught()

    def use_memory(self, address: int, size: int) -> None:
        """Work in memory of a caller's, aligned to 256 bytes."""
        context = self._context
        context.set_device_memory(address, size)

    def use_profile(self, index: int, stream: int) -> None:
        """Switch to a profile."""
        context = self._context
        if context.active_optimization_profile != index and not (
            context.set_optimization_profile_async(index, stream)
        ):
            raise ExecutionError(f"TensorRT did not switch to the profile {index}")

    def give(self, name: str, address: int, shape: Sequence[int] | None = None) -> None:
        """Bind a tensor to its address; an input with the shape it has this time."""
        context = self._context
        if shape is not None and not context.set_input_shape(name, tuple(shape)):
            raise ExecutionError(f"TensorRT did not take {list(shape)} for {name!r}")
        if self._keep.pop(name, None) is not None:
            context.set_output_allocator(name, None)
        if not context.set_tensor_address(name, address):
            raise ExecutionError(f"TensorRT did not take the address of {name!r}")

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a tensor's shape this time, or ``None`` where only running tells."""
        context = self._context
        dims = tuple(context.get_tensor_shape(name))
        return None if any(dim < 0 for dim in dims) else dims

    def settle(self) -> None:
        """Work out all shapes that inputs tell. Raises `ExecutionError`."""
        context = self._context
        if missing := context.infer_shapes():
            raise ExecutionError(f"TensorRT lacks the shapes of {', '.join(missing)}")

    def allocate(self, name: str, reallocate: Reallocate, notify: Notify) -> None:
        """Have an output's memory asked for while it runs."""
        context, trt = self._context, self._trt
        if name not in self._keep:
            made = _allocator(trt, reallocate, notify, self._caught)
            self._keep[name] = made
            if not context.set_output_allocator(name, self._keep[name]):
                raise ExecutionError(f"TensorRT takes no allocator for {name!r}")

    def go(self, stream: int) -> None:
        """Begin the run in a stream.

        Raises `ExecutionError`, and what an output's allocator has raised.
        """
        context = self._context
        begun = context.execute_async_v3(stream)
        self._caught.again()
        if not begun:
            raise ExecutionError("TensorRT did not run the engine; its log says why")


def _allocator(trt: Any, reallocate: Reallocate, notify: Notify, caught: Caught) -> Any:
    """Return what TensorRT asks for an output's memory, and tells its shape."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def reallocate_output_async(
            self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            told = tensor_name, size, alignment
            return int(caught.call(0, reallocate, *told))

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            caught.call(None, lambda: notify(tensor_name, tuple(shape)))

    return Allocator()
