"""The small classes: logger, progress, allocator, memory, registry, parser's errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = [
    "IHostMemory",
    "ILogger",
    "IOutputAllocator",
    "IPluginRegistry",
    "IProgressMonitor",
    "ITimingCache",
    "ParserError",
]


class ILogger:
    """A logger; ``log`` is a subclass's."""

    def __init__(self) -> None:
        self._is_ready = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


def say(logger: Any, message: str, level: str = "ERROR") -> None:
    """Log a message as the library does."""
    if not getattr(logger, "_is_ready", False):
        raise TypeError("__init__() must be called when overriding __init__")
    logger.log(SimpleNamespace(name=level), message)


class IProgressMonitor:
    """Who is told how a build goes on."""

    def __init__(self) -> None:
        self._is_ready = True

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IOutputAllocator:
    """Who is asked for memory."""

    def __init__(self) -> None:
        self._is_ready = True


class IHostMemory:
    """Bytes that the library has made."""

    def _holding(self, data: bytes) -> IHostMemory:
        self._data = data
        return self

    def __bytes__(self) -> bytes:
        return self._data

    @property
    def nbytes(self) -> int:
        return len(self._data)


class ITimingCache:
    """What tactics were timed, and on which device."""

    def _holding(self, data: bytes) -> ITimingCache:
        lines = data.decode(errors="replace").splitlines()
        self._device = lines[0] if lines else ""
        self._known = set(lines[1:])
        return self

    def serialize(self) -> Any:
        text = "\n".join([self._device, *sorted(self._known)])
        return self._double.module.IHostMemory()._holding(text.encode())


class IPluginRegistry:
    """Libraries of plugins."""

    def load_library(self, plugin_path: str) -> object | None:
        return object() if Path(plugin_path).exists() else None


class ParserError:
    """What the parser has against a node."""

    def _of(self, operator: str, name: str, text: str) -> ParserError:
        self._told = operator, name, text
        return self

    def node_operator(self) -> str:
        return self._told[0]

    def node_name(self) -> str:
        return self._told[1]

    def desc(self) -> str:
        return self._told[2]


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    """Register what TensorRT brings of plugins."""
    say(logger, "plugins are registered", "VERBOSE")
    return True
