"""The many ways clients write providers, turned into (name, options) pairs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.api.exceptions import InvalidArgument


def requests_of(
    providers: Any, provider_options: Sequence[Mapping[str, Any]] | None
) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) in order, duplicates dropped with a warning.

    Raises `InvalidArgument` (a ValueError) for anything malformed.
    """
    if providers is None:
        providers = []
    if isinstance(providers, str):
        providers = [providers]
    if not isinstance(providers, Sequence):
        raise InvalidArgument(
            f"providers is a list of names, not a {type(providers).__name__}"
        )
    pairs = [_pair(entry) for entry in providers]
    if provider_options is not None:
        pairs = _zipped(providers, pairs, provider_options)
    found: dict[str, dict[str, Any]] = {}
    for name, options in pairs:
        if name in found:
            message = f"Duplicate provider '{name}' encountered, ignoring."
            warnings.warn(message, stacklevel=4)
            continue
        found[name] = options
    return list(found.items())


def _pair(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if (
        isinstance(entry, tuple)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], Mapping)
    ):
        return entry[0], {str(key): value for key, value in entry[1].items()}
    raise InvalidArgument(
        f"each provider is a name or a (name, options) tuple, found {entry!r}"
    )


def _zipped(
    providers: Sequence[Any],
    pairs: list[tuple[str, dict[str, Any]]],
    provider_options: Sequence[Mapping[str, Any]],
) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(provider_options, Mapping) or len(provider_options) != len(pairs):
        raise InvalidArgument(
            "providers and provider_options should be the same length if both are "
            f"given, found {len(pairs)} and {len(provider_options)}"
        )
    if any(not isinstance(entry, str) for entry in providers):
        raise InvalidArgument(
            "only string values are allowed for providers when provider_options is given"
        )
    for options in provider_options:
        if not isinstance(options, Mapping):
            raise InvalidArgument(f"provider options are a dict, found {options!r}")
    return [
        (name, {str(key): value for key, value in options.items()})
        for (name, _), options in zip(pairs, provider_options, strict=True)
    ]
