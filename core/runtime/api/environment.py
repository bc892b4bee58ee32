"""What a process can ask and set outside any session: providers, logging, seeds."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from runtime.api.exceptions import Fail
from runtime.api.known import all_names
from runtime.api.refused import refuse
from runtime.plugin import ProviderInfo
from runtime.providers import HOST_ALIAS, registry, resolve, usable
from runtime.version import __version__

if TYPE_CHECKING:
    from runtime.api.values import OrtValue

logger = logging.getLogger("runtime")

_LEVELS = {
    0: logging.DEBUG,
    1: logging.INFO,
    2: logging.WARNING,
    3: logging.ERROR,
    4: 50,
}
_state = {"severity": 2, "verbosity": 0, "intra_op": 0, "inter_op": 0}


def get_available_providers() -> list[str]:
    """Return the providers that are installed and can run here, the host's last."""
    return usable()


def get_all_providers() -> list[str]:
    """Return every provider name that is known, installed or not."""
    return all_names()


def get_device() -> str:
    """Return ``GPU`` where a usable provider owns a GPU, else ``CPU``."""
    kinds = {
        device.kind for e in registry.all().values() for device in e.probe().devices
    }
    return "GPU" if kinds & {"cuda", "gpu", "hip", "dml", "webgpu"} else "CPU"


def register_execution_provider(
    provider: Any, info: ProviderInfo | None = None, name: str = ""
) -> None:
    """Add a provider object to this process without packaging it."""
    registry.register(provider, info, name or type(provider).__name__)


def unregister_execution_provider(name: str) -> None:
    """Take back a provider added to this process."""
    registry.unregister(name)


def host_name() -> str | None:
    """Return the name of the host's provider, if it is installed."""
    entry = resolve(HOST_ALIAS)
    return entry.name if entry is not None else None


def severity(session: int = -1) -> int:
    """Return a session's log severity, the process's default where it has none."""
    if session not in (-1, *_LEVELS):
        raise RuntimeError(f"log severity is 0 to 4, found {session}")
    return _state["severity"] if session == -1 else session


def set_default_logger_severity(level: int) -> None:
    """Set what is logged by default: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal."""
    if level not in _LEVELS:
        raise RuntimeError(f"log severity is 0 to 4, found {level}")
    _state["severity"] = level
    logger.setLevel(_LEVELS[level])


def set_default_logger_verbosity(level: int) -> None:
    """Set how much verbose logging tells."""
    _state["verbosity"] = int(level)


def set_default_logger_callback(
    callback: Callable[[int, str, str, str, str], Any] | None, severity: int = 2
) -> None:
    """Hand what is logged to a function too; ``None`` takes the last one back.

    It is called with severity, category, session, place in the source, and message. What
    it raises goes to ``sys.unraisablehook``.
    """
    if severity not in _LEVELS:
        raise RuntimeError(f"log severity is 0 to 4, found {severity}")
    for handler in [h for h in logger.handlers if isinstance(h, _Calling)]:
        logger.removeHandler(handler)
    if callback is not None:
        set_default_logger_severity(severity)
        logger.addHandler(_Calling(callback))


class _Calling(logging.Handler):
    """Hands records to a function."""

    def __init__(self, callback: Callable[[int, str, str, str, str], Any]) -> None:
        super().__init__()
        self._callback = callback

    def emit(self, record: logging.LogRecord) -> None:
        severity = max(
            (s for s, level in _LEVELS.items() if level <= record.levelno), default=0
        )
        place = f"{record.filename}:{record.lineno} {record.funcName}"
        try:
            self._callback(severity, record.name, "", place, record.getMessage())
        except Exception as error:
            told = _Unraisable(type(error), error, error.__traceback__, None, self)
            sys.unraisablehook(cast(Any, told))


class _Unraisable(NamedTuple):
    exc_type: type[BaseException]
    exc_value: BaseException
    exc_traceback: Any
    err_msg: str | None
    object: Any


def set_global_thread_pool_sizes(
    intra_op_num_threads: int = 0, inter_op_num_threads: int = 0
) -> None:
    """Set the threads of sessions whose ``use_per_session_threads`` is false.

    It holds for sessions made from now on; 0 is automatic.
    """
    if intra_op_num_threads < 0 or inter_op_num_threads < 0:
        raise RuntimeError("a number of threads is 0 (automatic) or more")
    _state["intra_op"] = int(intra_op_num_threads)
    _state["inter_op"] = int(inter_op_num_threads)


def global_threads() -> tuple[int, int]:
    """Return the threads that sessions without threads of their own share."""
    return _state["intra_op"], _state["inter_op"]


def copy_tensors(
    src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None
) -> None:
    """Copy values into others of the same shape and type, on whatever devices."""
    if len(src) != len(dst):
        raise ValueError(f"{len(src)} sources for {len(dst)} targets")
    for source, target in zip(src, dst, strict=True):
        target.update_inplace(source.numpy())


def unregister_execution_provider_library(registration_name: str) -> None:
    """Raise: no provider was ever registered as a native library."""
    raise Fail(
        f"Execution provider library: {registration_name} was not registered; "
        "unregister_execution_provider takes back one added to this process"
    )


def register_execution_provider_library(
    registration_name: str, library_path: str
) -> None:
    """Refuse: providers that are native libraries are not loaded."""
    if not os.path.exists(library_path):
        raise Fail(f"Failed to load library {library_path}: no such file")
    refuse("register_execution_provider_library")


def set_seed(seed: int) -> None:
    """Seed the random operators of every installed provider that has any."""
    for entry in registry.all().values():
        if entry.probe().usable:
            seeded = getattr(entry.load(), "set_seed", None)
            if seeded is not None:
                seeded(int(seed))


def get_version_string() -> str:
    """Return the version."""
    return __version__


def get_build_info() -> str:
    """Return one line about this build."""
    return f"runtime {__version__}, pure Python, providers are plugins"


def enable_telemetry_events() -> None:
    """Do nothing: there is no telemetry."""


def disable_telemetry_events() -> None:
    """Do nothing: there is no telemetry."""


def has_collective_ops() -> bool:
    """Return False: there are no collective operators."""
    return False
