"""Probes of sessions, their options, bindings, and what they tell."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from outcomes import Probe, state
from samples import (
    BAD,
    BRANCHES,
    FIXED,
    MODEL,
    X,
    bound,
    options,
    session,
    value,
    written,
)


def _later(ort: Any) -> Any:
    done, told = threading.Event(), []

    def back(results: Any, data: Any, error: str) -> None:
        told.extend([results, data, error])
        done.set()

    session(ort).run_async(None, {"x": X}, back, "mine")
    assert done.wait(10)
    return told


def _vector(ort: Any) -> Any:
    fetches = state(ort).OrtValueVector()
    given = state(ort).OrtValueVector()
    given.push_back(getattr(value(ort), "_ortvalue", value(ort)))
    place = ort.OrtDevice.make("cpu", 0)
    place = getattr(place, "_ort_device", place)
    session(ort).run_with_ortvaluevector(
        ort.RunOptions(), ["x"], given, ["y"], fetches, [place]
    )
    return [each.numpy() for each in fetches]


def _profile(ort: Any) -> Any:
    prefix = written("profile", b"")
    made = session(ort, enable_profiling=True, profile_file_prefix=prefix)
    started = made.get_profiling_start_time_ns() > 0
    made.run(None, {"x": X})
    path = made.end_profiling()
    events = json.loads(Path(path).read_text())
    known = {event["cat"] for event in events} & {"Session", "Node"}
    keys = {"cat", "pid", "tid", "dur", "ts", "ph", "name", "args"} <= set(events[-1])
    return started, sorted(known), keys, made.end_profiling() == ""


def _fallback(ort: Any, method: str) -> Any:
    made = session(ort)
    getattr(made, method)()
    return made.run(None, {"x": X})


def _providers_again(ort: Any) -> Any:
    made = session(ort)
    made.set_providers(["CPUExecutionProvider"])
    return made.get_providers(), made.run(None, {"x": X})


def _assigned(ort: Any) -> Any:
    made = options(ort)
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    parts = ort.InferenceSession(FIXED, made).get_provider_graph_assignment_info()
    return [(part.ep_name, [n.op_type for n in part.get_nodes()]) for part in parts]


def _memory(ort: Any, method: str) -> Any:
    made = session(ort)
    return [(each.name, each.device_id) for each in getattr(made, method)()]


def _recorded(ort: Any) -> Any:
    made = options(ort)
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(FIXED, made).get_provider_graph_assignment_info()[0]


SESSION: dict[str, Probe] = {
    "InferenceSession": lambda ort: ort.InferenceSession(BAD.tobytes()),
    "InferenceSession.run": lambda ort: session(ort).run(["y"], {"x": X}),
    "InferenceSession.run_async": _later,
    "InferenceSession.run_with_ort_values": lambda ort: [
        each.numpy()
        for each in session(ort).run_with_ort_values(None, {"x": value(ort)})
    ],
    "InferenceSession.run_with_iobinding": lambda ort: (
        session(ort).run_with_iobinding(session(ort).io_binding())
    ),
    "InferenceSession.run_with_ortvaluevector": _vector,
    "InferenceSession.io_binding": lambda ort: session(ort).io_binding(),
    "InferenceSession.get_inputs": lambda ort: [
        (arg.name, arg.type, arg.shape) for arg in session(ort).get_inputs()
    ],
    "InferenceSession.get_outputs": lambda ort: [
        (arg.name, arg.type, arg.shape) for arg in session(ort).get_outputs()
    ],
    "InferenceSession.get_overridable_initializers": lambda ort: [
        (arg.name, arg.type, arg.shape)
        for arg in session(ort).get_overridable_initializers()
    ],
    "InferenceSession.get_modelmeta": lambda ort: session(ort).get_modelmeta(),
    "InferenceSession.get_providers": lambda ort: session(ort).get_providers(),
    "InferenceSession.get_provider_options": lambda ort: list(
        session(ort).get_provider_options()
    ),
    "InferenceSession.set_providers": _providers_again,
    "InferenceSession.enable_fallback": lambda ort: _fallback(ort, "enable_fallback"),
    "InferenceSession.disable_fallback": lambda ort: _fallback(ort, "disable_fallback"),
    "InferenceSession.get_session_options": lambda ort: (
        session(ort, logid="name").get_session_options().logid
    ),
    "InferenceSession.get_provider_graph_assignment_info": _assigned,
    "InferenceSession.get_input_memory_infos": lambda ort: _memory(
        ort, "get_input_memory_infos"
    ),
    "InferenceSession.get_output_memory_infos": lambda ort: _memory(
        ort, "get_output_memory_infos"
    ),
    "InferenceSession.get_input_epdevices": lambda ort: [
        each.ep_name for each in session(ort).get_input_epdevices()
    ],
    "InferenceSession.create_ortvalue_from_shape_and_type": lambda ort: (
        session(ort).create_ortvalue_from_shape_and_type([2, 3], np.float32, "cpu").shape()
    ),
    "InferenceSession.release_captured_graph": lambda ort: (
        session(ort).release_captured_graph()
    ),
    "InferenceSession.set_ep_dynamic_options": lambda ort: (
        session(ort).set_ep_dynamic_options({"ep.dynamic.workload_type": "Default"})
    ),
    "InferenceSession.get_tuning_results": lambda ort: session(ort).get_tuning_results(),
    "InferenceSession.set_tuning_results": lambda ort: (
        session(ort).set_tuning_results([])
    ),
    "InferenceSession.end_profiling": _profile,
    "InferenceSession.get_profiling_start_time_ns": lambda ort: (
        session(ort).get_profiling_start_time_ns()
    ),
    "NodeArg": lambda ort: isinstance(session(ort).get_inputs()[0], ort.NodeArg),
    "NodeArg.name": lambda ort: session(ort).get_inputs()[0].name,
    "NodeArg.type": lambda ort: session(ort).get_inputs()[0].type,
    "NodeArg.shape": lambda ort: session(ort).get_inputs()[0].shape,
    "ModelMetadata": lambda ort: isinstance(
        session(ort).get_modelmeta(), ort.ModelMetadata
    ),
    **{
        f"ModelMetadata.{name}": (
            lambda ort, name=name: getattr(session(ort).get_modelmeta(), name)
        )
        for name in (
            "producer_name", "graph_name", "domain", "description", "graph_description",
            "version", "custom_metadata_map",
        )
    },
    "OrtEpAssignedSubgraph": lambda ort: isinstance(
        _recorded(ort), ort.OrtEpAssignedSubgraph
    ),
    "OrtEpAssignedSubgraph.ep_name": lambda ort: _recorded(ort).ep_name,
    "OrtEpAssignedSubgraph.get_nodes": lambda ort: len(_recorded(ort).get_nodes()),
    "OrtEpAssignedNode": lambda ort: isinstance(
        _recorded(ort).get_nodes()[0], ort.OrtEpAssignedNode
    ),
    "OrtEpAssignedNode.name": lambda ort: _recorded(ort).get_nodes()[0].name,
    "OrtEpAssignedNode.domain": lambda ort: _recorded(ort).get_nodes()[0].domain,
    "OrtEpAssignedNode.op_type": lambda ort: _recorded(ort).get_nodes()[0].op_type,
}  # fmt: skip


def _ran(ort: Any, bind: Any) -> Any:
    made = session(ort)
    binding = made.io_binding()
    kept = bind(binding)
    made.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu(), kept is None


def _by_address(binding: Any) -> Any:
    array = X.copy()
    place = array.ctypes.data
    binding.bind_input("x", "cpu", 0, np.float32, array.shape, place)
    binding.bind_output("y")
    return array


def _into(binding: Any) -> Any:
    array = np.zeros_like(X)
    binding.bind_cpu_input("x", X)
    binding.bind_output("y", "cpu", 0, np.float32, array.shape, array.ctypes.data)
    return array


def _into_value(ort: Any) -> Any:
    made = session(ort)
    binding, target = made.io_binding(), value(ort)
    binding.bind_ortvalue_input("x", value(ort))
    binding.bind_ortvalue_output("y", target)
    made.run_with_iobinding(binding)
    return target.numpy()


def _after(ort: Any, use: Any) -> Any:
    made, binding = bound(ort)
    made.run_with_iobinding(binding)
    return use(binding)


def _cleared(ort: Any, method: str) -> Any:
    made, binding = bound(ort)
    getattr(binding, method)()
    made.run_with_iobinding(binding)


BINDING: dict[str, Probe] = {
    "IOBinding": lambda ort: isinstance(session(ort).io_binding(), ort.IOBinding),
    "IOBinding.bind_cpu_input": lambda ort: _ran(
        ort, lambda b: (b.bind_cpu_input("x", X), b.bind_output("y"))
    ),
    "IOBinding.bind_input": lambda ort: _ran(ort, _by_address),
    "IOBinding.bind_ortvalue_input": lambda ort: _ran(
        ort, lambda b: (b.bind_ortvalue_input("x", value(ort)), b.bind_output("y"))
    ),
    "IOBinding.bind_output": lambda ort: _ran(ort, _into),
    "IOBinding.bind_ortvalue_output": _into_value,
    "IOBinding.synchronize_inputs": lambda ort: bound(ort)[1].synchronize_inputs(),
    "IOBinding.synchronize_outputs": lambda ort: bound(ort)[1].synchronize_outputs(),
    "IOBinding.get_outputs": lambda ort: _after(
        ort, lambda b: [each.numpy() for each in b.get_outputs()]
    ),
    "IOBinding.get_outputs_as_ortvaluevector": lambda ort: _after(
        ort, lambda b: [each.numpy() for each in b.get_outputs_as_ortvaluevector()]
    ),
    "IOBinding.copy_outputs_to_cpu": lambda ort: _after(
        ort, lambda b: b.copy_outputs_to_cpu()
    ),
    "IOBinding.clear_binding_inputs": lambda ort: _cleared(ort, "clear_binding_inputs"),
    "IOBinding.clear_binding_outputs": lambda ort: _cleared(
        ort, "clear_binding_outputs"
    ),
    "SessionIOBinding": lambda ort: isinstance(ort.SessionIOBinding, type),
}


def _raw(ort: Any) -> Any:
    binding = session(ort).io_binding()
    return getattr(binding, "_iobinding", binding)


for _name in (
    "bind_input", "bind_ortvalue_input", "bind_output", "bind_ortvalue_output",
    "synchronize_inputs", "synchronize_outputs", "get_outputs", "copy_outputs_to_cpu",
    "clear_binding_inputs", "clear_binding_outputs",
):  # fmt: skip
    BINDING[f"SessionIOBinding.{_name}"] = lambda ort, name=_name: callable(
        getattr(_raw(ort), name)
    )


def _set(ort: Any, name: str, given: Any) -> Any:
    made = ort.SessionOptions()
    before = getattr(made, name)
    setattr(made, name, given)
    return before, getattr(made, name)


def _configured(ort: Any, use: Any, source: Any = MODEL, feed: Any = None) -> Any:
    made = options(ort)
    kept = use(made)
    result = ort.InferenceSession(source, made).run(None, feed or {"x": X})
    return result, kept is None


def _entry(ort: Any) -> Any:
    made = ort.SessionOptions()
    made.add_session_config_entry("session.set_denormal_as_zero", "0")
    return made.get_session_config_entry("session.set_denormal_as_zero")


def _dims(ort: Any) -> Any:
    made = options(ort)
    made.add_free_dimension_override_by_name("rows", 2)
    return ort.InferenceSession(MODEL, made).get_inputs()[0].shape


def _chosen(ort: Any, use: Any) -> Any:
    made = options(ort)
    use(made)
    return ort.InferenceSession(MODEL, made).get_providers()


def _delegate(devices: Any, model: Any, system: Any, most: int) -> Any:
    return [each for each in devices if each.ep_name == "CPUExecutionProvider"][:most]


def _cancelled(ort: Any) -> Any:
    made = options(ort)
    made.set_load_cancellation_flag(True)
    return ort.InferenceSession(MODEL, made)


def _optimized(ort: Any) -> Any:
    path = written("optimized.onnx", b"")
    ort.InferenceSession(FIXED, options(ort, optimized_model_filepath=path))
    return ort.InferenceSession(path, options(ort)).run(None, {"x": X})


def _external() -> bytes:
    """Return the model with its initializer declared to lie in another file."""
    proto = onnx.ModelProto.FromString(FIXED)
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return proto.SerializeToString()


_ATTRIBUTES = {
    "enable_cpu_mem_arena": False,
    "enable_mem_pattern": False,
    "enable_mem_reuse": False,
    "enable_profiling": True,
    "inter_op_num_threads": 2,
    "intra_op_num_threads": 2,
    "log_severity_level": 3,
    "log_verbosity_level": 1,
    "logid": "name",
    "profile_file_prefix": "there",
    "use_deterministic_compute": True,
    "use_per_session_threads": False,
}

OPTIONS: dict[str, Probe] = {
    "SessionOptions": lambda ort: setattr(ort.SessionOptions(), "no_such_name", 1),
    **{
        f"SessionOptions.{name}": (
            lambda ort, name=name, given=given: _set(ort, name, given)
        )
        for name, given in _ATTRIBUTES.items()
    },
    "SessionOptions.execution_mode": lambda ort: _set(
        ort, "execution_mode", ort.ExecutionMode.ORT_PARALLEL
    ),
    "SessionOptions.execution_order": lambda ort: _set(
        ort, "execution_order", ort.ExecutionOrder.PRIORITY_BASED
    ),
    "SessionOptions.graph_optimization_level": lambda ort: _set(
        ort, "graph_optimization_level", ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ),
    "SessionOptions.optimized_model_filepath": _optimized,
    "SessionOptions.add_session_config_entry": _entry,
    "SessionOptions.get_session_config_entry": lambda ort: (
        ort.SessionOptions().get_session_config_entry("none")
    ),
    "SessionOptions.add_free_dimension_override_by_name": _dims,
    "SessionOptions.add_free_dimension_override_by_denotation": lambda ort: _configured(
        ort, lambda o: o.add_free_dimension_override_by_denotation("BATCH", 2)
    ),
    "SessionOptions.add_initializer": lambda ort: _configured(
        ort,
        lambda o: o.add_initializer(
            "k", _kept.setdefault(ort.__name__, value(ort, np.full(3, 5, np.float32)))
        ),
        FIXED,
    ),
    "SessionOptions.add_external_initializers": lambda ort: _configured(
        ort,
        lambda o: o.add_external_initializers(
            ["k"],
            [_kept.setdefault(ort.__name__, value(ort, np.full(3, 5, np.float32)))],
        ),
        _external(),
    ),
    "SessionOptions.add_external_initializers_from_files_in_memory": lambda ort: (
        _configured(
            ort,
            lambda o: o.add_external_initializers_from_files_in_memory([], [], []),
        )
    ),
    "SessionOptions.register_custom_ops_library": lambda ort: (
        ort.SessionOptions().register_custom_ops_library(written("ops.so", b"x"))
    ),
    "SessionOptions.add_provider": lambda ort: _chosen(
        ort, lambda o: o.add_provider("CPUExecutionProvider", {})
    ),
    "SessionOptions.add_provider_for_devices": lambda ort: _chosen(
        ort,
        lambda o: o.add_provider_for_devices(
            [d for d in ort.get_ep_devices() if d.ep_name == "CPUExecutionProvider"], {}
        ),
    ),
    "SessionOptions.has_providers": lambda ort: ort.SessionOptions().has_providers(),
    "SessionOptions.set_provider_selection_policy": lambda ort: _chosen(
        ort,
        lambda o: o.set_provider_selection_policy(
            ort.OrtExecutionProviderDevicePolicy.PREFER_CPU
        ),
    ),
    "SessionOptions.set_provider_selection_policy_delegate": lambda ort: _chosen(
        ort, lambda o: o.set_provider_selection_policy_delegate(_delegate)
    ),
    "SessionOptions.set_load_cancellation_flag": _cancelled,
    "SessionOptions.set_ep_context_data_read_func": lambda ort: _configured(
        ort, lambda o: o.set_ep_context_data_read_func(lambda *_: b"", 1)
    ),
    "SessionOptions.clear_ep_context_data_read_func": lambda ort: _configured(
        ort, lambda o: o.clear_ep_context_data_read_func()
    ),
}
_kept: dict[str, Any] = {}
"""Initializers that must outlive their sessions."""


def _run_option(ort: Any, name: str, given: Any) -> Any:
    made = ort.RunOptions()
    before = getattr(made, name)
    setattr(made, name, given)
    return before, getattr(made, name)


def _terminated(ort: Any) -> Any:
    made = ort.RunOptions()
    made.terminate = True
    return session(ort).run(None, {"x": X}, made)


def _narrow(ort: Any) -> Any:
    made = ort.RunOptions()
    made.only_execute_path_to_fetches = True
    feed = {"x": np.ones(4, np.float32), "shape": np.array([4])}
    return session(ort, BRANCHES).run(["a"], feed, made)


def _run_entry(ort: Any) -> Any:
    made = ort.RunOptions()
    made.add_run_config_entry("disable_synchronize_execution_providers", "1")
    result = session(ort).run(None, {"x": X}, made)
    return result, made.get_run_config_entry("disable_synchronize_execution_providers")


RUN_OPTIONS: dict[str, Probe] = {
    "RunOptions": lambda ort: session(ort).run(None, {"x": X}, ort.RunOptions()),
    "RunOptions.log_severity_level": lambda ort: _run_option(
        ort, "log_severity_level", 3
    ),
    "RunOptions.log_verbosity_level": lambda ort: _run_option(
        ort, "log_verbosity_level", 1
    ),
    "RunOptions.logid": lambda ort: _run_option(ort, "logid", "name"),
    "RunOptions.terminate": _terminated,
    "RunOptions.only_execute_path_to_fetches": _narrow,
    "RunOptions.add_run_config_entry": _run_entry,
    "RunOptions.get_run_config_entry": lambda ort: (
        ort.RunOptions().get_run_config_entry("none")
    ),
    "RunOptions.add_active_adapter": lambda ort: ort.RunOptions().add_active_adapter(
        None
    ),
}

PROBES = SESSION | BINDING | OPTIONS | RUN_OPTIONS
