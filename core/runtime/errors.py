"""Every error the engine raises: what happened, what was found, what to do."""

from __future__ import annotations


class EngineError(Exception):
    """Base of everything the engine raises on purpose."""


class ModelNotFound(EngineError):
    """The model file does not exist."""


class ModelUnreadable(EngineError):
    """The bytes are not an ONNX model."""


class ModelEmpty(EngineError):
    """The file or buffer holds no graph."""


class ModelInvalid(EngineError):
    """The model breaks a rule of the ONNX standard."""


class UndefinedValue(ModelInvalid):
    """A node reads a name that nothing produces."""


class UnknownOperator(ModelInvalid):
    """An operator that its domain, at the opset the model imports, does not have."""


class UnsupportedVersion(EngineError):
    """The model asks for a newer opset or IR than this release knows."""


class ExternalDataError(EngineError):
    """External weights are missing, cut short, or outside the model's folder."""


class NotImplementedByProviders(EngineError):
    """No provider in use runs some node; the message lists each one's reason."""


class ProviderError(EngineError):
    """A provider is missing, unusable or failed, and falling back was forbidden."""


class ProviderNotFound(ProviderError):
    """A provider name that nobody, installed or not, is known by."""


class ProviderUnavailable(ProviderError):
    """A provider that is known but cannot run here; carries reason and remedy."""


class TransferUnavailable(ProviderError):
    """No provider in use copies between two devices."""


class OptionError(EngineError):
    """An option that the provider or the session does not have, or a bad value."""


class HostFallbackForbidden(ProviderError):
    """Nodes would run on the host provider, which the session forbids."""


class FeedError(EngineError):
    """A run was given wrong inputs or asked for unknown outputs."""


class MissingFeed(FeedError):
    """A required input was not given."""


class ExecutionError(EngineError):
    """A node or partition failed while running."""


class Cancelled(EngineError):
    """The run was asked to stop."""


class LoadCancelled(EngineError):
    """Building the session was asked to stop."""


class LimitExceeded(ExecutionError):
    """A result would be larger than memory or a given limit allows."""


class CacheError(EngineError):
    """The compile cache refused an entry; the caller compiles instead."""


class FallbackWarning(RuntimeWarning):
    """A requested provider did not run what it was asked to; says why."""


def near(word: str, known: object) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or ``""``."""
    from difflib import get_close_matches

    names = [str(name) for name in known]  # type: ignore[attr-defined]
    folded = {name.lower(): name for name in names}
    match = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[match[0]]!r}?" if match else ""
