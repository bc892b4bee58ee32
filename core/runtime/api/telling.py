"""What a session tells: of its model, its providers, and who runs what."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runtime.api.assignment import OrtEpAssignedSubgraph, assignment_of
from runtime.api.environment import host_name
from runtime.api.exceptions import InvalidArgument
from runtime.api.keys import DYNAMIC_KEYS
from runtime.api.memory import OrtMemoryInfo, host_memory
from runtime.api.metadata import ModelMetadata, NodeArg
from runtime.errors import near
from runtime.explain import Placement
from runtime.graph import Graph

if TYPE_CHECKING:
    from runtime.api.hardware import OrtEpDevice
    from runtime.build import Runnable


class Telling:
    """The part of a session that changes nothing about it."""

    _runnable: Runnable

    def get_inputs(self) -> list[NodeArg]:
        """Return the inputs a caller must feed."""
        feeds = [v for v in self._runnable.inputs if v.const is None]
        return [NodeArg.of(value.name, value.type) for value in feeds]

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Return the inputs that have a default."""
        feeds = [v for v in self._runnable.inputs if v.overridable]
        return [NodeArg.of(value.name, value.type) for value in feeds]

    def get_outputs(self) -> list[NodeArg]:
        """Return the outputs."""
        return [NodeArg.of(name, kind) for name, kind in self._runnable.signature]

    def get_modelmeta(self) -> ModelMetadata:
        """Return what the model's file says of itself."""
        return ModelMetadata.of(self._runnable.model)

    def get_providers(self) -> list[str]:
        """Return the providers in use, in fallback order."""
        return list(self._runnable.providers.names)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Return each provider's options, as strings."""
        providers = self._runnable.providers
        return {
            name: {k: str(v) for k, v in providers.settings(name).options.items()}
            for name in providers.names
        }

    def get_input_memory_infos(self) -> list[OrtMemoryInfo]:
        """Return where each input is taken from: the host's memory."""
        return [host_memory() for _ in self.get_inputs()]

    def get_output_memory_infos(self) -> list[OrtMemoryInfo]:
        """Return where each output is put: the host's memory."""
        return [host_memory() for _ in self.get_outputs()]

    def get_input_epdevices(self) -> list[OrtEpDevice | None]:
        """Return which device each input is taken from: the host."""
        from runtime.api.hardware import get_ep_devices

        host = host_name()
        device = next((d for d in get_ep_devices() if d.ep_name == host), None)
        return [device for _ in self.get_inputs()]

    def get_provider_graph_assignment_info(self) -> list[OrtEpAssignedSubgraph]:
        """Return the partitions and their nodes; `explain` tells more."""
        return assignment_of(self._runnable.placement)

    def get_tuning_results(self) -> list[Any]:
        """Return ``[]``: what is tuned is in the compile cache."""
        return []

    def set_tuning_results(
        self, results: Any, *, error_on_invalid: bool = False
    ) -> None:
        """Do nothing: what is tuned is in the compile cache."""

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        """Do nothing: captured graphs belong to providers and go with the session."""

    def set_ep_dynamic_options(self, options: Mapping[str, str]) -> None:
        """Take options that may change between runs; an unknown one warns."""
        if not options:
            raise InvalidArgument("Options are empty")
        for key in options:
            if key not in DYNAMIC_KEYS:
                message = f"unknown dynamic option {key!r}{near(key, DYNAMIC_KEYS)}"
                warnings.warn(message, stacklevel=2)

    def explain(self) -> Placement:
        """Return what runs where and why: print it, read it as data, or ``save`` it."""
        return self._runnable.placement

    @property
    def graph(self) -> Graph:
        """The graph as it is executed, after every rewrite."""
        return self._runnable.graph

    def memory(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the bytes that executables hold: by device, provider and purpose."""
        return self._runnable.memory()

    def trim(self) -> None:
        """Give back working memory that the next run can allocate again."""
        self._runnable.trim()

    def get_profiling_start_time_ns(self) -> int:
        """Return when profiling began, in nanoseconds since the epoch; 0 when off."""
        profiling = self._runnable.settings.profiling
        return self._runnable.trace.began_epoch_ns if profiling else 0
