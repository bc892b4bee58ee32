"""Exit codes, and which of them each error ends with."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process ends with; scripts rely on these."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    PROVIDER = 3
    MODEL = 4
    INTERNAL = 5

    @property
    def meaning(self) -> str:
        """Return the code's meaning, as the help states it."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "it worked",
    Exit.CHECK_FAILED: "a check failed: outputs differ or are not finite, or a test fails",
    Exit.USAGE: "wrong usage: an argument, an input file or an option",
    Exit.PROVIDER: "a provider that was asked for is not usable",
    Exit.MODEL: "the model is invalid, or no provider supports it",
    Exit.INTERNAL: "it failed while running, or has a bug",
}


class Stop(Exception):
    """Ends a verb with one line for the user: what, what was found, what to do."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: BaseException) -> Exit:
    """Return the exit code for an error, by the engine's own error where there is one."""
    from runtime import errors

    if isinstance(error, Stop):
        return error.code
    kinds: dict[type[BaseException], Exit] = {
        errors.ProviderNotFound: Exit.USAGE,
        errors.OptionError: Exit.USAGE,
        errors.FeedError: Exit.USAGE,
        errors.ModelNotFound: Exit.USAGE,
        errors.ProviderError: Exit.PROVIDER,
        errors.ModelUnreadable: Exit.MODEL,
        errors.ModelEmpty: Exit.MODEL,
        errors.ModelInvalid: Exit.MODEL,
        errors.UnsupportedVersion: Exit.MODEL,
        errors.ExternalDataError: Exit.MODEL,
        errors.NotImplementedByProviders: Exit.MODEL,
    }
    for found in (error, error.__cause__):
        for kind, code in kinds.items():
            if isinstance(found, kind):
                return code
    return Exit.INTERNAL


def line_of(error: BaseException) -> str:
    """Return an error as one line."""
    told = str(getattr(error, "detail", "") or error) or type(error).__name__
    if code_of(error) == Exit.INTERNAL and type(error).__module__ == "builtins":
        told = f"{type(error).__name__}: {told}"
    return " ".join(told.split())
