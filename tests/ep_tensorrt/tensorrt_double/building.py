"""Builder, network, parser, configuration and profiles of the double."""

from __future__ import annotations

import re
from typing import Any

import onnx
from onnx import ModelProto

from tensorrt_double import models, plans
from tensorrt_double.classes import say

__all__ = [
    "Builder",
    "IBuilderConfig",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITensor",
    "OnnxParser",
]


class Builder:
    """Makes networks and engines."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        say(logger, "a builder", "VERBOSE")

    def create_network(self, flags: int = 0) -> Any:
        return self._double.module.INetworkDefinition()._made(flags)

    def create_builder_config(self) -> Any:
        return self._double.module.IBuilderConfig()._made(self._logger)

    def create_optimization_profile(self) -> Any:
        return self._double.module.IOptimizationProfile()._made()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        double, model = self._double, network._model
        reason = double.fails or self._fault(network, config)
        if reason:
            say(self._logger, reason)
            return None
        with double.calling():
            if not _progressed(config.progress_monitor):
                return None
        double.counts["builds"] += 1
        self._time(model, config)
        flags = sorted(flag.name for flag in config._flags)
        if double.module.BuilderFlag.STRIP_PLAN in config._flags:
            flags.append("STRIP_PLAN")  # 10 calls it WEIGHTLESS as well
        head = {
            "version": double.version,
            "sm": double.driver().properties.sm,
            "level": config.hardware_compatibility_level.name,
            "flags": flags,
            "memory": double.working,
            "profiles": [each._shapes for each in config._profiles],
            "values": [each._values for each in config._profiles],
        }
        double.last = config
        if "STRIP_PLAN" in flags:
            model = _stripped(model)
        data = plans.written(head, model.SerializeToString())
        return double.module.IHostMemory()._holding(data)

    def _fault(self, network: Any, config: Any) -> str:
        if network._model is None:
            return "the network is empty"
        typed = self._double.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        if self._double.major == 10 and not network._flags >> int(typed) & 1:
            return "the network is not strongly typed"
        for value in network._model.graph.input:
            open_ = -1 in models.dims_of(value)
            if not open_ and value.name not in network._hosted:
                continue
            if not config._profiles:
                return f"{value.name}: dynamic or shape inputs, but no profile"
            for profile in config._profiles:
                if reason := profile._against(value, value.name in network._hosted):
                    return f"{value.name}: {reason}"
        return ""

    def _time(self, model: ModelProto, config: Any) -> None:
        cache = config.get_timing_cache()
        known = set() if cache is None else cache._known
        keys = {
            f"{node.op_type}:{len(node.input)}:{node.output[0].endswith('/half')}"
            for node in model.graph.node
        }
        self._double.counts["timed"] += len(keys - known)
        known |= keys


def _progressed(monitor: Any) -> bool:
    """Tell of two phases, one within the other; whether the build goes on."""
    if monitor is None:
        return True
    monitor.phase_start("Building Engine", None, 2)
    monitor.phase_start("Tactics", "Building Engine", 3)
    going = all(monitor.step_complete("Tactics", step) for step in range(3))
    monitor.phase_finish("Tactics")
    going = going and all(monitor.step_complete("Building Engine", s) for s in range(2))
    monitor.phase_finish("Building Engine")
    return going


def _stripped(model: ModelProto) -> ModelProto:
    copy = ModelProto.FromString(model.SerializeToString())
    for tensor in copy.graph.initializer:
        if len(tensor.raw_data) > 64:
            tensor.raw_data = b""
    return copy


class INetworkDefinition:
    """What the parser writes into."""

    def _made(self, flags: int) -> Any:
        self._flags = flags
        self._model: ModelProto | None = None
        self._hosted: set[str] = set()
        return self

    @property
    def num_inputs(self) -> int:
        return len(self._model.graph.input)

    def get_input(self, index: int) -> Any:
        value = self._model.graph.input[index]
        made = self._double.module.ITensor()
        return made._of(value.name, value.name in self._hosted)


class ITensor:
    """A tensor of a network."""

    def _of(self, name: str, hosted: bool) -> Any:
        self._told = name, hosted
        return self

    @property
    def name(self) -> str:
        return self._told[0]

    @property
    def is_shape_tensor(self) -> bool:
        return self._told[1]


class IOptimizationProfile:
    """Ranges of shapes, and of the values of shape tensors."""

    def _made(self) -> Any:
        self._shapes: dict[str, list[list[int]]] = {}
        self._values: dict[str, list[list[int]]] = {}
        return self

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._shapes[input] = _ordered(min, opt, max)

    def set_shape_input(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self._values[input] = _ordered(min, opt, max, -(2**63))

    def _against(self, value: onnx.ValueInfoProto, hosted: bool) -> str:
        if hosted:
            return "" if value.name in self._values else "its values have no range"
        span = self._shapes.get(value.name)
        if span is None:
            return "it is missing in a profile"
        dims = models.dims_of(value)
        if any(len(shape) != len(dims) for shape in span):
            return "its rank is another one"
        fixed = all(
            dim < 0 or low == dim == high
            for dim, low, high in zip(dims, span[0], span[2], strict=True)
        )
        return "" if fixed else "a fixed dim has a range"


def _ordered(least: Any, opt: Any, most: Any, lowest: int = 0) -> list[list[int]]:
    found = [[int(dim) for dim in shape] for shape in (least, opt, most)]
    low, usual, high = found
    if not len(low) == len(usual) == len(high) or any(
        not lowest <= a <= b <= c for a, b, c in zip(*found, strict=True)
    ):
        raise ValueError("inconsistent min, opt and max")
    return found


class IBuilderConfig:
    """How to build."""

    def _made(self, logger: Any) -> Any:
        trt = self._double.module
        self._logger = logger
        self._flags: set[Any] = {trt.BuilderFlag.TF32}
        self._profiles: list[Any] = []
        self._limits: dict[Any, int] = {}
        self._features: dict[Any, bool] = {}
        self._timing: Any = None
        self._sources = sum(1 << int(source) for source in trt.TacticSource)
        self.__dict__.update(
            _level=3, _aux=0, _hardware=trt.HardwareCompatibilityLevel.NONE,
            _verbosity=trt.ProfilingVerbosity.LAYER_NAMES_ONLY, _dla=-1,
            _device=trt.DeviceType.GPU, _monitor=None,
        )  # fmt: skip
        return self

    def set_flag(self, flag: Any) -> None:
        self._flags.add(self._double.module.BuilderFlag(flag))

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._limits[pool] = pool_size

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._sources = tactic_sources
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self._features[feature] = enable

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        data = bytes(serialized_timing_cache)
        if data and not re.match(rb"[\d.]+ sm\d+(\n|$)", data):
            say(self._logger, "the timing cache is damaged")
            return None
        return self._double.module.ITimingCache()._holding(data)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        here = f"{self._double.version} sm{self._double.driver().properties.sm}"
        if cache._device not in ("", here) and not ignore_mismatch:
            return False
        cache._device = here
        self._timing = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._timing

    builder_optimization_level = property(
        lambda self: self._level, lambda self, value: setattr(self, "_level", value)
    )
    max_aux_streams = property(
        lambda self: self._aux, lambda self, value: setattr(self, "_aux", value)
    )
    hardware_compatibility_level = property(
        lambda self: self._hardware,
        lambda self, value: setattr(self, "_hardware", value),
    )
    profiling_verbosity = property(
        lambda self: self._verbosity,
        lambda self, value: setattr(self, "_verbosity", value),
    )
    default_device_type = property(
        lambda self: self._device, lambda self, value: setattr(self, "_device", value)
    )
    DLA_core = property(
        lambda self: self._dla, lambda self, value: setattr(self, "_dla", value)
    )
    progress_monitor = property(
        lambda self: self._monitor, lambda self, value: setattr(self, "_monitor", value)
    )


class OnnxParser:
    """Reads models into networks."""

    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network
        self._logger = logger
        self._errors: list[tuple[str, str, str]] = []
        self._regions: list[tuple[bool, list[int]]] = []
        self._waiting: ModelProto | None = None

    def supports_model_v2(self, model: bytes, path: str | None = None) -> bool:
        self._double.counts["asked"] += 1
        assert len(model) < self._double.largest, "protobuf ends at 2 GB"
        proto = ModelProto.FromString(bytes(model))
        self._regions = []
        for index, node in enumerate(proto.graph.node):
            taken = not models._against(node, self._double.refuses)
            if not self._regions or self._regions[-1][0] is not taken:
                self._regions.append((taken, []))
            self._regions[-1][1].append(index)
        return all(taken for taken, _ in self._regions)

    @property
    def num_subgraphs(self) -> int:
        return len(self._regions)

    def is_subgraph_supported(self, index: int) -> bool:
        return self._regions[index][0]

    def get_subgraph_nodes(self, index: int) -> list[int]:
        return self._regions[index][1]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        assert len(model) < self._double.largest, "protobuf ends at 2 GB"
        return self._read(ModelProto.FromString(bytes(model)))

    def load_model_proto(self, model: bytes, path: str | None = None) -> bool:
        assert len(model) < self._double.largest, "protobuf ends at 2 GB"
        if self._waiting is not None:
            return False
        self._waiting = ModelProto.FromString(bytes(model))
        return True

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        import ctypes

        for tensor in self._waiting.graph.initializer:
            if tensor.name == name:
                told = {e.key: e.value for e in tensor.external_data}
                if int(told["length"]) != size:
                    return False
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = ctypes.string_at(data, size)
                return True
        return False

    def parse_model_proto(self) -> bool:
        return self._read(self._waiting)

    def _read(self, model: ModelProto) -> bool:
        for tensor in model.graph.initializer:
            if tensor.data_location == tensor.EXTERNAL:
                self._errors.append(("", tensor.name, "its weights are missing"))
        self._errors += models.faults(model, self._double.refuses)
        if self._errors:
            return False
        self._network._model = model
        self._network._hosted = models.shape_tensors(model)[0]
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._double.module.ParserError()._of(*self._errors[index])
