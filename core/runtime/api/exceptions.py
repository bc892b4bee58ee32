"""onnxruntime's exception classes, and which of them each engine error becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime import errors


class OnnxRuntimeException(RuntimeError):
    """Base of every exception a session raises; ``code`` and ``label`` as onnxruntime."""

    code = 1
    label = "FAIL"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"[ONNXRuntimeError] : {self.code} : {self.label} : {detail}")
        self.detail = detail

    def __reduce__(self) -> tuple[type[OnnxRuntimeException], tuple[str]]:
        return type(self), (self.detail,)


class Fail(OnnxRuntimeException):
    """The model cannot be loaded, or a kernel failed while running."""


class InvalidArgument(OnnxRuntimeException, ValueError):
    """A feed, an output name, a provider or an option that cannot be."""

    code, label = 2, "INVALID_ARGUMENT"


class NoSuchFile(OnnxRuntimeException, FileNotFoundError):
    """The model's path does not exist."""

    code, label = 3, "NO_SUCHFILE"


class NoModel(OnnxRuntimeException):
    """There is no model to run."""

    code, label = 4, "NO_MODEL"


class EngineError(OnnxRuntimeException):
    """An engine behind a provider failed."""

    code, label = 5, "ENGINE_ERROR"


class RuntimeException(OnnxRuntimeException):
    """Something unexpected inside the runtime."""

    code, label = 6, "RUNTIME_EXCEPTION"


class InvalidProtobuf(OnnxRuntimeException):
    """The bytes are not an ONNX model."""

    code, label = 7, "INVALID_PROTOBUF"


class ModelLoaded(OnnxRuntimeException):
    """A session holds a model already."""

    code, label = 8, "MODEL_LOADED"


class NotImplemented(OnnxRuntimeException):
    """No provider runs a valid operator at its opset and types."""

    code, label = 9, "NOT_IMPLEMENTED"


class InvalidGraph(OnnxRuntimeException):
    """An operator that its domain does not have."""

    code, label = 10, "INVALID_GRAPH"


class EPFail(OnnxRuntimeException):
    """A provider failed, and falling back was forbidden."""

    code, label = 11, "EP_FAIL"


class ModelLoadCanceled(OnnxRuntimeException):
    """Loading was asked to stop."""

    code, label = 12, "MODEL_LOAD_CANCELED"


class ModelRequiresCompilation(OnnxRuntimeException):
    """The model must be compiled first, which the session forbids."""

    code, label = 13, "MODEL_REQUIRES_COMPILATION"


class NotFound(OnnxRuntimeException):
    """A key or device is not there."""

    code, label = 14, "NOT_FOUND"


class DeviceReset(OnnxRuntimeException):
    """A device was lost."""

    code, label = 15, "DEVICE_RESET"


_BECOMES: dict[type[errors.EngineError], type[OnnxRuntimeException]] = {
    errors.ModelNotFound: NoSuchFile,
    errors.ModelUnreadable: InvalidProtobuf,
    errors.ModelEmpty: InvalidArgument,
    errors.UndefinedValue: InvalidArgument,
    errors.UnknownOperator: InvalidGraph,
    errors.ModelInvalid: Fail,
    errors.UnsupportedVersion: Fail,
    errors.ExternalDataError: Fail,
    errors.NotImplementedByProviders: NotImplemented,
    errors.HostFallbackForbidden: Fail,
    errors.ProviderNotFound: InvalidArgument,
    errors.OptionError: InvalidArgument,
    errors.ProviderError: EPFail,
    errors.FeedError: InvalidArgument,
    errors.LimitExceeded: RuntimeException,
    errors.ExecutionError: Fail,
    errors.Cancelled: Fail,
    errors.LoadCancelled: ModelLoadCanceled,
}


def translated(error: errors.EngineError) -> OnnxRuntimeException:
    """Return the exception clients know for an engine error."""
    for kind in type(error).__mro__:
        if kind in _BECOMES:
            return _BECOMES[kind](str(error))
    return RuntimeException(str(error))


@contextmanager
def translation() -> Iterator[None]:
    """Raise what clients know in place of the engine's errors."""
    try:
        yield
    except errors.EngineError as error:
        raise translated(error) from error
