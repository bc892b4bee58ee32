"""What a process can ask and set outside any session: providers, logging, seeds."""

from __future__ import annotations

import logging
from typing import Any

from runtime.api.known import all_names
from runtime.plugin import ProviderInfo
from runtime.providers import HOST_ALIAS, registry, resolve, usable
from runtime.version import __version__

logger = logging.getLogger("runtime")

_LEVELS = {
    0: logging.DEBUG,
    1: logging.INFO,
    2: logging.WARNING,
    3: logging.ERROR,
    4: 50,
}
_state = {"severity": 2, "verbosity": 0}


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
