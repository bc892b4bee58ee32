"""What providers, executables and transfers may be able to do beyond the minimum."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from runtime.settings import Settings


@dataclass(slots=True)
class Context:
    """What one run carries: cancel flag, streams, trace and the caller's options.

    ``cancelled`` is polled between kernels; ``streams`` maps a device to the caller's
    stream on it; ``trace`` receives events, or is ``None`` when nobody listens.
    """

    cancelled: threading.Event | Any = None
    streams: Mapping[Any, Any] = field(default_factory=dict)
    trace: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def stopped(self) -> bool:
        """Whether somebody asked this run to stop."""
        return self.cancelled is not None and self.cancelled.is_set()


class CancelFlag(threading.Event):
    """A cancel flag that, once set, calls those who cannot poll it."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[object, Callable[[], None]] = {}

    def set(self) -> None:
        """Ask the runs that carry this flag to stop."""
        super().set()
        for call in tuple(self._calls.values()):
            call()

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Have ``call`` called when the flag is set while this block runs."""
        key = object()
        self._calls[key] = call
        try:
            if self.is_set():
                call()
            yield
        finally:
            del self._calls[key]


@runtime_checkable
class Warmable(Protocol):
    """A provider that can begin ahead what its sessions need whatever the model is."""

    def warm_up(self, settings: Settings) -> None:
        """Begin it, on a thread of its own, and return at once.

        Called when a session names the provider, before its model is read. The thread
        ends soon, and lets the process fork. What goes wrong is raised when it is needed.
        """


@runtime_checkable
class CompilesAhead(Protocol):
    """A provider that can compile for other machines where it cannot run."""

    def compiling_ahead(self) -> AbstractContextManager[Any]:
        """Let sessions that are opened meanwhile compile with it, and run nothing with it.

        Asked where its probe finds no device and a model is compiled to be written out.
        Raises `runtime.errors.ProviderUnavailable` where it cannot compile either.
        """


@runtime_checkable
class Cancellable(Protocol):
    """An executable that can stop in the middle of a run."""

    def cancel(self) -> None:
        """Make runs in progress raise soon; called from another thread.

        Runs of other callers that were stopped along with the one meant are repeated.
        """


@runtime_checkable
class Preparable(Protocol):
    """An executable that settles all of a run but its data, once, for given shapes."""

    def prepared(
        self, inputs: Sequence[Any]
    ) -> Callable[[Sequence[Any]], list[Any] | None] | None:
        """Return what runs inputs of these types and shapes again, or ``None``.

        It is asked when such inputs have been run. What it returns is called by several
        threads at once, with C-contiguous arrays on the host, where nobody stops or
        traces the run nor gives it buffers. It returns new arrays that nothing else
        holds or looks into; or ``None``, and then the run is repeated by ``run``.

        Where it has an attribute ``vouches`` that is true, it answers ``None`` by itself
        for anything but C-contiguous arrays of these types and shapes: then neither what
        it is given nor what it returns is looked at.
        """


@runtime_checkable
class Closeable(Protocol):
    """An executable that holds something worth giving back."""

    def close(self) -> None:
        """Release everything; no run follows."""


@runtime_checkable
class Trimmable(Protocol):
    """An executable that can shrink its working memory between runs."""

    def trim(self) -> None:
        """Give back memory that the next run can allocate again."""


@runtime_checkable
class MemoryReporting(Protocol):
    """An executable that knows what it holds."""

    def memory(self) -> Mapping[str, int]:
        """Return bytes by purpose, e.g. ``{"weights": …, "arena": …}``."""


@runtime_checkable
class WeightReporting(Protocol):
    """An executable that says what became of each initializer it was compiled with."""

    weights: Mapping[str, str]
    """Initializer name → ``"kept"``, ``"repacked"`` or ``"unused"``."""


@runtime_checkable
class Exportable(Protocol):
    """An executable that can be saved and loaded without compiling again."""

    def export(self) -> bytes:
        """Return what the provider needs to rebuild this executable.

        Where a model is written compiled, an ``EPContext`` node of domain
        ``com.microsoft`` takes the partition's place: ``ep_cache_context`` holds these
        bytes, a string of surrogate escapes once it is read, and ``source`` the
        provider's name, by which the provider claims the node and compiles it.
        """


@runtime_checkable
class Transfer(Protocol):
    """The full form of a data transfer between a device and the host."""

    def __call__(self, value: Any) -> Any:
        """Copy one value and return it on the target device, finished."""

    def copy(self, source: Any, target: Any = None, stream: Any = None) -> Any:
        """Copy into ``target``, or into a new buffer, and return it."""

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Allocate on the target device, uninitialised."""

    def wrap(self, pointer: int, shape: Sequence[int], dtype: Any) -> Any:
        """Return a view of foreign memory on the target device."""

    def synchronize(self) -> None:
        """Wait until every copy begun has finished."""
