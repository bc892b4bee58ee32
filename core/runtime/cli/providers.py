"""Describes execution providers as data, from what is known without loading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.plugin import Option
    from runtime.providers import Installed


def installed(asked: str) -> Installed:
    """Return the installed provider of a name or alias; `Stop` where there is none."""
    from runtime.api.known import elsewhere
    from runtime.cli.sessions import full_name
    from runtime.providers import registry

    name = full_name(asked)
    entry = registry.all().get(name)
    if entry is None:
        there = elsewhere()[name]
        raise Stop(f"{name}: {there.reason}; {there.remedy}", Exit.PROVIDER)
    return entry


def describe(entry: Installed) -> dict[str, Any]:
    """Return a provider's description and the answer of its probe."""
    from runtime.cli.machine import version_of

    info, probe = entry.info, entry.probe()
    return {
        "name": entry.name,
        "aliases": list(info.aliases),
        "version": info.version or version_of(entry.distribution),
        "distribution": entry.distribution or "registered in this process",
        "vendor": info.vendor,
        "description": info.description,
        "url": info.url,
        "api": ["{}.{}".format(*version) for version in info.api],
        "usable": probe.usable,
        "reason": probe.reason or ("" if probe.devices else "it found no device"),
        "remedy": probe.remedy,
        "install": info.install,
        "devices": [str(device) for device in probe.devices],
        "details": dict(probe.details),
        "options": {
            name: {
                "type": type_of(option),
                "default": option.default,
                "help": option.help,
                "aliases": dict(option.aliases),
            }
            for name, option in info.options.items()
        },
    }


def type_of(option: Option) -> str:
    """Return an option's type as people write it: ``int``, or ``FP32 | FP16``."""
    if isinstance(option.type, tuple):
        return " | ".join(option.type)
    return option.type.__name__
