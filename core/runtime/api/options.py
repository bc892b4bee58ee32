"""SessionOptions and RunOptions, and how they become the engine's `Settings`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from runtime.abilities import CancelFlag
from runtime.api.devices import is_strict
from runtime.api.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
from runtime.api.enums import OrtExecutionProviderDevicePolicy as Policy
from runtime.api.environment import global_threads
from runtime.api.exceptions import Fail, InvalidArgument
from runtime.api.keys import (
    RUN_KEYS,
    SESSION_KEYS,
    Accepted,
    Acts,
    Refused,
    row_of,
)
from runtime.api.optimizers import passes_without
from runtime.api.refused import refuse
from runtime.errors import OptionError, near
from runtime.settings import Settings
from runtime.valuetypes import Bounds

if TYPE_CHECKING:
    from runtime.api.hardware import OrtEpDevice
    from runtime.api.policies import Delegate

logger = logging.getLogger("runtime")

_DEFAULTS: Mapping[str, Any] = {
    "enable_cpu_mem_arena": True,
    "enable_mem_pattern": True,
    "enable_mem_reuse": True,
    "enable_profiling": False,
    "profile_file_prefix": "onnxruntime_profile_",
    "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
    "execution_order": ExecutionOrder.DEFAULT,
    "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
    "intra_op_num_threads": 0,
    "inter_op_num_threads": 0,
    "log_severity_level": -1,
    "log_verbosity_level": 0,
    "logid": "",
    "optimized_model_filepath": "",
    "use_deterministic_compute": False,
    "use_per_session_threads": True,
}


class _Options:
    """Attributes with fixed names and types, and string config entries."""

    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        object.__setattr__(self, "_values", dict(self._defaults))
        object.__setattr__(self, "_entries", {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._defaults:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if name not in self._defaults:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}"
                f"{near(name, self._defaults)}"
            )
        self._values[name] = _of_type(name, self._defaults[name], value)

    def __copy__(self) -> Any:
        made = type(self)()
        for name, value in vars(self).items():
            kept = value.copy() if isinstance(value, (dict, list)) else value
            object.__setattr__(made, name, kept)
        return made

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._defaults})

    def _add_entry(self, key: str, value: str) -> None:
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError("config keys and values are strings")
        if not 0 < len(key) <= 1024 or len(value) > 8192:
            raise Fail("a config key has 1 to 1024 characters, a value up to 8192")
        self._entries[key] = value

    def _get_entry(self, key: str) -> str:
        if key not in self._entries:
            raise RuntimeError(
                f"{type(self).__name__} does not have configuration with key: {key}"
            )
        return str(self._entries[key])


def _of_type(name: str, default: Any, value: Any) -> Any:
    kind = type(default)
    if kind is bool and isinstance(value, int):
        return bool(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, kind):
        return value
    raise TypeError(f"{name} is a {kind.__name__}, found {value!r}")


class SessionOptions(_Options):
    """How a session is built; read once, when the session is made.

    Attributes have onnxruntime's names and defaults. Optimisation levels:
    ``ORT_DISABLE_ALL`` only inlines functions, ``ORT_ENABLE_BASIC`` folds constants and
    removes what does nothing, higher levels also raise decomposed patterns.
    """

    _defaults = _DEFAULTS

    def __init__(self) -> None:
        super().__init__()
        self._providers: list[tuple[str, dict[str, str]]] = []
        self._dims: dict[str, int] = {}
        self._denoted_dims: dict[str, int] = {}
        self._bounds: dict[str, Bounds] = {}
        self._initializers: dict[str, Any] = {}
        self._buffers: dict[str, Any] = {}
        self._cancelled = False
        self._policy: Policy | None = None
        self._delegate: Delegate | None = None

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set a config entry; an unknown key warns with the near match."""
        if key in self._entries:
            logger.warning("session config entry %s overwritten", key)
        self._add_entry(key, value)
        row = row_of(key)
        if isinstance(row, Refused):
            raise InvalidArgument(
                f"session config key {key!r} is refused: {row.reason}"
            )
        if row is None and not key.startswith("ep."):
            message = f"unknown session config key {key!r}{near(key, SESSION_KEYS)}"
            warnings.warn(message, stacklevel=2)

    def get_session_config_entry(self, key: str) -> str:
        """Return a config entry; one that was not set is a RuntimeError."""
        return self._get_entry(key)

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """Fix a symbolic dim, by its symbol."""
        self._dims[name] = int(value)

    def add_free_dimension_override_by_denotation(self, name: str, value: int) -> None:
        """Fix dims, by their denotation."""
        self._denoted_dims[name] = int(value)

    def add_dimension_bounds(
        self,
        name: str,
        minimum: int | None = None,
        typical: int | None = None,
        maximum: int | None = None,
    ) -> None:
        """Tell what is known of a dim that stays symbolic; providers plan for it."""
        self._bounds[name] = Bounds(minimum, typical, maximum)

    def add_initializer(self, name: str, value: Any) -> None:
        """Replace an initializer of the model by an OrtValue's data, not copied."""
        self._initializers[name] = value.numpy() if hasattr(value, "numpy") else value

    def add_external_initializers(self, names: list[str], values: list[Any]) -> None:
        """Replace several initializers."""
        if len(names) != len(values):
            raise InvalidArgument(f"{len(names)} names for {len(values)} values")
        for name, value in zip(names, values, strict=True):
            self.add_initializer(name, value)

    def add_external_initializers_from_files_in_memory(
        self, file_names: list[str], buffers: list[Any], sizes: list[int]
    ) -> None:
        """Give external data files as buffers; they are kept alive with the session."""
        if not len(file_names) == len(buffers) == len(sizes):
            raise InvalidArgument("names, buffers and sizes differ in number")
        for name, buffer, size in zip(file_names, buffers, sizes, strict=True):
            self._buffers[name] = memoryview(buffer)[:size]

    def add_provider(self, name: str, options: Mapping[str, str]) -> None:
        """Append a provider, used where the session names none."""
        self._providers.append((name, dict(options)))

    def has_providers(self) -> bool:
        """Whether providers were added here."""
        return bool(self._providers)

    def add_provider_for_devices(
        self, ep_devices: Sequence[OrtEpDevice], provider_options: Mapping[str, str]
    ) -> None:
        """Append the provider of some devices, all of one provider."""
        from runtime.api.policies import requests_for

        self._providers.append(requests_for(ep_devices, provider_options))

    def set_provider_selection_policy(self, policy: Policy) -> None:
        """Prefer a kind of device, where no provider is named."""
        self._policy = Policy(policy)

    def set_provider_selection_policy_delegate(self, delegate: Delegate) -> None:
        """Have a function choose among the devices, where no provider is named."""
        self._delegate = delegate

    def set_ep_context_data_read_func(
        self, read_func: Callable[..., Any], max_data_size: int
    ) -> None:
        """Do nothing: compiled data is in the model itself."""

    def clear_ep_context_data_read_func(self) -> None:
        """Do nothing: compiled data is in the model itself."""

    def register_custom_ops_library(self, path: str) -> None:
        """Refuse: native custom-operator libraries cannot be hosted."""
        if not os.path.exists(path):
            raise Fail(f"failed to load library {path}: no such file")
        refuse("SessionOptions.register_custom_ops_library")

    def set_load_cancellation_flag(self, value: bool) -> None:
        """Make loading stop."""
        self._cancelled = bool(value)


def settings_of(options: SessionOptions, strict: bool | None = None) -> Settings:
    """Translate session options to the engine's settings."""
    intra, inter = (0, 0) if options.use_per_session_threads else global_threads()
    fields: dict[str, Any] = {
        "passes": _passes(options.graph_optimization_level),
        "intra_op_threads": options.intra_op_num_threads
        or intra
        or int(_number("ORT_INTRA_OP_NUM_THREADS") or _number("RUNTIME_NUM_THREADS")),
        "inter_op_threads": options.inter_op_num_threads
        or inter
        or int(_number("ORT_INTER_OP_NUM_THREADS")),
        "hang_warning": _number("RUNTIME_HANG_WARNING_SECONDS"),
        "shared_threads": not options.use_per_session_threads
        or not options.intra_op_num_threads,
        "arena": options.enable_cpu_mem_arena,
        "deterministic": options.use_deterministic_compute,
        "profiling": options.enable_profiling,
        "dims": dict(options._dims),
        "denoted_dims": dict(options._denoted_dims),
        "bounds": dict(options._bounds),
        "initializers": dict(options._initializers),
        "external_data_buffers": dict(options._buffers),
        "name": options.logid,
        "extra": dict(options._entries),
    }
    if is_strict():
        fields["fallback"] = "error"
    for key, value in options._entries.items():
        row = row_of(key)
        if isinstance(row, Acts):
            try:
                fields[row.field] = row.read(value)
            except ValueError as error:
                raise OptionError(f"session config {key}={value!r}: {error}") from error
        elif isinstance(row, Accepted):
            logger.info("session config key %s has no effect: %s", key, row.reason)
    if fields.get("disabled_passes"):
        fields["disabled_passes"] = passes_without(fields["disabled_passes"])
    if strict is not None:
        fields["fallback"] = "error" if strict else "warn"
    return Settings(**fields)


def _number(variable: str) -> float:
    """Return what an environment variable says; 0 where it is not set."""
    text = os.environ.get(variable, "").strip() or "0"
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0:
        raise OptionError(f"{variable} is a number, 0 or more, found {text!r}")
    return number


def _passes(level: GraphOptimizationLevel) -> str:
    if level == GraphOptimizationLevel.ORT_DISABLE_ALL:
        return "none"
    return "basic" if level == GraphOptimizationLevel.ORT_ENABLE_BASIC else "all"


class RunOptions(_Options):
    """How one run goes; ``terminate`` may be set from another thread while it runs."""

    _defaults: ClassVar[Mapping[str, Any]] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "terminate": False,
        "only_execute_path_to_fetches": False,
        "training_mode": False,
    }

    def __init__(self) -> None:
        super().__init__()
        self._event = CancelFlag()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "terminate":
            (self._event.set if value else self._event.clear)()

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Set a config entry of this run; an unknown key warns with the near match."""
        row = RUN_KEYS.get(key)
        if isinstance(row, Acts):
            row.read(value)
        self._add_entry(key, value)
        if row is None:
            message = f"unknown run config key {key!r}{near(key, RUN_KEYS)}"
            warnings.warn(message, stacklevel=2)

    def add_active_adapter(self, adapter: Any) -> None:
        """Refuse: adapters are not read."""
        refuse("RunOptions.add_active_adapter")

    def get_run_config_entry(self, key: str) -> str:
        """Return a config entry; one that was not set is a RuntimeError."""
        return self._get_entry(key)
