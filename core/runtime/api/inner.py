"""What clients reach for within onnxruntime's objects, by names that begin with ``_``.

There, a class in Python wraps one of the extension module: ``session._sess``,
``value._ortvalue``, ``binding._iobinding``. Here there is one class, which is its own
inside, with the few names and call forms that only the inside has there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.api.binding import IOBinding
    from runtime.api.devices import OrtDevice
    from runtime.api.session import InferenceSession
    from runtime.api.vector import OrtValueVector


class Inner:
    """An attribute that is worked out when it is read; what a client sets stays set."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else self._read(instance)


def itself(instance: Any) -> Any:
    """Return the object, which is its own inside."""
    return instance


def _path(session: Any) -> str | None:
    source = session._source
    return None if isinstance(source, bytes) else os.fspath(source)


def _bytes(session: Any) -> bytes | None:
    source = session._source
    return source if isinstance(source, bytes) else None


class SessionInside:
    """The attributes of a session that clients read, though they are not public."""

    _sess = Inner(itself)
    _model_path = Inner(_path)
    _model_bytes = Inner(_bytes)
    _sess_options = Inner(methodcaller("get_session_options"))
    _inputs_meta = Inner(methodcaller("get_inputs"))
    _outputs_meta = Inner(methodcaller("get_outputs"))
    _overridable_initializers = Inner(methodcaller("get_overridable_initializers"))
    _model_meta = Inner(methodcaller("get_modelmeta"))
    _providers = Inner(methodcaller("get_providers"))
    _provider_options = Inner(methodcaller("get_provider_options"))


class SessionIOBinding:
    """An IOBinding by the call forms of the extension module, where devices are objects.

    Made for a session it is a binding of its own; ``binding._iobinding`` is one over that
    binding. Whatever it has not itself is the binding's.
    """

    def __init__(
        self, session: InferenceSession, binding: IOBinding | None = None
    ) -> None:
        self._binding = binding or session.io_binding()

    @classmethod
    def within(cls, binding: IOBinding) -> SessionIOBinding:
        """Return the inside of a binding."""
        return cls(binding._session, binding)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)

    def bind_input(
        self,
        name: str,
        source: Any,
        element_type: Any = None,
        shape: Sequence[int] = (),
        buffer_ptr: int | None = None,
    ) -> None:
        """Bind a host array, or the memory at an address of the device ``source``."""
        if buffer_ptr is None:
            self._binding.bind_cpu_input(name, source)
            return
        place = source._kind, source.device_id()
        self._binding.bind_input(name, *place, element_type, shape, buffer_ptr)

    def bind_output(
        self,
        name: str,
        device: OrtDevice,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Ask for an output on a device, in memory given by address or the runtime's."""
        place = device._kind, device.device_id()
        self._binding.bind_output(name, *place, element_type, shape, buffer_ptr)

    def get_outputs(self) -> OrtValueVector:
        """Return the last run's outputs as a vector."""
        return self._binding.get_outputs_as_ortvaluevector()
