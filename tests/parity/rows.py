"""How each name stands: the same, better, accepted without effect, or refused, and why.

`better.ITEMS` has what is better, with its probes; `runtime.api.refused` has the rows of
the names refused; those accepted without effect are here. A name in none of them does the
same as in onnxruntime.
"""

from __future__ import annotations

from typing import NamedTuple

from better import ITEMS
from runtime.api.refused import REFUSED


class Standing(NamedTuple):
    """``same``, ``better``, ``accepted`` or ``refused``, and why."""

    kind: str
    why: str = ""


_MEMORY = (
    "memory of intermediate results is planned, and shared by the process's sessions"
)
_STREAM = "values come finished; there is no stream to wait for"
_CONTEXT = "compiled data is written into the model and read from there"
_TUNING = "what is tuned is kept in the compile cache"
_CAPTURE = "captured graphs belong to providers and go with their session"
_PACKAGE = "nothing here writes model packages"

ACCEPTED: dict[str, str] = {
    "SessionOptions.enable_mem_pattern": _MEMORY,
    "SessionOptions.enable_mem_reuse": _MEMORY,
    "SessionOptions.execution_order": "steps run in the order of the graph",
    "SessionOptions.execution_mode": "a model is a straight list of steps",
    "SessionOptions.inter_op_num_threads": "a model is a straight list of steps",
    "SessionOptions.use_deterministic_compute": (
        "results are bitwise the same whatever the threads"
    ),
    "SessionOptions.use_per_session_threads": (
        "one pool serves the process; false takes the sizes of the global pools"
    ),
    "SessionOptions.log_verbosity_level": "there is one level below information",
    "SessionOptions.set_ep_context_data_read_func": _CONTEXT,
    "SessionOptions.clear_ep_context_data_read_func": _CONTEXT,
    "RunOptions.log_severity_level": "runs log nothing",
    "RunOptions.log_verbosity_level": "runs log nothing",
    "RunOptions.logid": "runs log nothing",
    "InferenceSession.get_tuning_results": _TUNING,
    "InferenceSession.set_tuning_results": _TUNING,
    "InferenceSession.release_captured_graph": _CAPTURE,
    "InferenceSession.set_ep_dynamic_options": "the system's priorities decide",
    "IOBinding.synchronize_inputs": _STREAM,
    "IOBinding.synchronize_outputs": _STREAM,
    "SessionIOBinding.synchronize_inputs": _STREAM,
    "SessionIOBinding.synchronize_outputs": _STREAM,
    "ModelCompiler.set_ep_context_data_write_func": _CONTEXT,
    "ModelCompiler.clear_ep_context_data_write_func": _CONTEXT,
    "OrtEpContextData.read": _CONTEXT,
    "OrtEpContextData.size": _CONTEXT,
    "OrtEpContextDataBuffer.allocate": _CONTEXT,
    "OrtEpContextDataBuffer.is_allocated": _CONTEXT,
    "OrtEpContextDataBuffer.max_size": _CONTEXT,
    "OrtEpContextDataBuffer.size": _CONTEXT,
    "OrtEpContextDataBuffer.write": _CONTEXT,
    "OrtArenaCfg.max_mem": _MEMORY,
    "OrtArenaCfg.arena_extend_strategy": _MEMORY,
    "OrtArenaCfg.initial_chunk_size_bytes": _MEMORY,
    "OrtArenaCfg.initial_growth_chunk_size_bytes": _MEMORY,
    "OrtArenaCfg.max_dead_bytes_per_chunk": _MEMORY,
    "OrtArenaCfg.max_power_of_two_extend_bytes": _MEMORY,
    "OrtSyncStream.get_handle": _STREAM,
    "create_and_register_allocator": _MEMORY,
    "create_and_register_allocator_v2": _MEMORY,
    "enable_telemetry_events": "there is no telemetry",
    "disable_telemetry_events": "there is no telemetry",
    "set_default_logger_verbosity": "there is one level below information",
    "capi.OrtValueVector.reserve": "lists grow by themselves",
    "capi.OrtValueVector.shrink_to_fit": "lists shrink by themselves",
    "capi.SessionObjectInitializer": "sessions are made in one step",
    "capi.get_session_initializer": "sessions are made in one step",
    "ModelPackageWriteMode": _PACKAGE,
    "ModelPackageWriteMode.DENSE": _PACKAGE,
    "ModelPackageWriteMode.PRESERVE": _PACKAGE,
    "ModelPackageWriteMode.name": _PACKAGE,
    "ModelPackageWriteMode.value": _PACKAGE,
}

BETTER: dict[str, str] = {}
for _item in ITEMS:
    _before = BETTER.get(_item.name)
    BETTER[_item.name] = f"{_before}; {_item.what}" if _before else _item.what

OTHERWISE = frozenset({"OrtDevice.make", "copy_tensors"})
"""Names of which every use that could be probed is better: there is no same to show."""


def refusal(name: str) -> str | None:
    """Return the row a name is refused by, its class's where it is a member."""
    bare = name.removeprefix("capi.")
    return next((key for key in (bare, bare.partition(".")[0]) if key in REFUSED), None)


def judge(name: str) -> Standing:
    """Return how a name stands."""
    row = refusal(name)
    if row is not None:
        reason, instead = REFUSED[row]
        return Standing("refused", f"{reason}; instead: {instead}")
    if name in BETTER:
        return Standing("better", BETTER[name])
    if name in ACCEPTED:
        return Standing("accepted", ACCEPTED[name])
    return Standing("same")
