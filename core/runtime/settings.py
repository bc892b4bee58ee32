"""Everything a session can be told, as one frozen record that the whole engine reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from runtime.valuetypes import Bounds


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's options; one instance per session, never changed after.

    Attributes:
        options: the typed options of the provider a hook is called for.
        fallback: ``"warn"`` moves what a provider cannot run to the next one, loudly;
            ``"error"`` refuses.
        host_fallback: whether the last provider, the host's, may run what others left.
        passes: how far the graph is simplified before it is offered.
        disabled_passes: names of passes to leave out.
        cost_rule: whether islands that cost more than they gain go to the next provider.
        shape_policy: ``exact`` compiles per shape seen, ``bucket`` rounds up to the
            next bucket, ``range`` compiles once for the bounds.
        dims: sizes that replace symbolic dims, by symbol.
        denoted_dims: sizes that replace dims, by denotation.
        bounds: what is known of symbolic dims that stay symbolic.
        intra_op_threads: threads within one operator, caller included; 0 is automatic.
        inter_op_threads: partitions that may run at once; 0 is automatic.
        thread_spinning: whether idle workers may spin before they sleep.
        shared_threads: whether the process-wide pool is used.
        arena: whether intermediate results share one planned block.
        deterministic: whether a provider must give bitwise the same result each run.
        cache: whether compiled code is kept on disk.
        cache_directory: where; ``""`` is the user's cache folder.
        external_data_directory: where files that a model names lie: its own folder, and
            for a model given as bytes what the caller says.
        external_data_buffers: file contents by name, used instead of files.
        initializers: arrays that replace the model's own, by name.
        outputs: the outputs to compute, by name; none means all of them.
        profiling: whether every step is timed into the trace.
        function_node_limit: nodes that inlining functions may create in total.
        maximum_bytes: the largest single result a kernel may allocate; 0 is the
            machine's memory.
        runs_once: whether what is compiled will run a single time, at once: then
            compiling shall cost less than running.
        hang_warning: seconds after which a hook or a run that has not returned is
            reported with its provider's name and its stack; 0 is never.
        name: how logs call the session.
        extra: further entries, unread by the engine, for providers that know them.
    """

    options: Mapping[str, Any] = field(default_factory=_empty)
    fallback: Literal["warn", "error"] = "warn"
    host_fallback: bool = True
    passes: Literal["none", "basic", "all"] = "all"
    disabled_passes: tuple[str, ...] = ()
    cost_rule: bool = True
    shape_policy: Literal["exact", "bucket", "range"] = "exact"
    dims: Mapping[str, int] = field(default_factory=_empty)
    denoted_dims: Mapping[str, int] = field(default_factory=_empty)
    bounds: Mapping[str, Bounds] = field(default_factory=_empty)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    thread_spinning: bool = True
    shared_threads: bool = True
    arena: bool = True
    deterministic: bool = False
    cache: bool = True
    cache_directory: str = ""
    external_data_directory: str = ""
    external_data_buffers: Mapping[str, Any] = field(default_factory=_empty)
    initializers: Mapping[str, Any] = field(default_factory=_empty)
    outputs: tuple[str, ...] = ()
    profiling: bool = False
    function_node_limit: int = 1_000_000
    maximum_bytes: int = 0
    runs_once: bool = False
    hang_warning: float = 0.0
    name: str = ""
    extra: Mapping[str, str] = field(default_factory=_empty)
