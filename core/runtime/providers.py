"""Finds installed providers by entry point, and speaks to them through their hooks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import pluggy

from runtime import hooktrace
from runtime.abilities import Warmable
from runtime.errors import OptionError, ProviderNotFound, TransferUnavailable, near
from runtime.explain import Event, Report, logger
from runtime.locks import ProcessLock
from runtime.plugin import (
    API_VERSION,
    HOST,
    Device,
    Option,
    Probe,
    ProviderInfo,
    ProviderSpec,
)
from runtime.settings import Settings
from runtime.watchdog import watched

GROUP, INFO_GROUP = "runtime.ep", "runtime.ep_info"
ALLOW_LIST, NO_AUTOLOAD = "RUNTIME_PLUGINS", "RUNTIME_DISABLE_PLUGIN_AUTOLOAD"
HOST_ALIAS = "cpu"
"""The alias of the provider that folds constants and answers last."""


@dataclass(slots=True)
class Installed:
    """One provider that is there: by entry point or registered in this process."""

    name: str
    point: EntryPoint | None = None
    info_point: EntryPoint | None = None
    object: Any = None
    distribution: str = ""
    _info: ProviderInfo | None = None
    _probe: Probe | None = None

    @property
    def info(self) -> ProviderInfo:
        """Return the description, importing no more than its own light module."""
        if self._info is None:
            self._info = self._read_info()
        return self._info

    def _read_info(self) -> ProviderInfo:
        try:
            if self.info_point is not None:
                found = self.info_point.load()
            else:
                found = getattr(self.object, "info", None) or ProviderInfo(self.name)
            found = found() if callable(found) else found
            if not isinstance(found, ProviderInfo):
                raise TypeError(f"its info is {found!r:.80}, not a ProviderInfo")
            return found
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return ProviderInfo(self.name, probe=lambda: Probe(reason=reason))

    def probe(self) -> Probe:
        """Ask once per process whether the provider can run here; never raises."""
        if self._probe is None:
            self._probe = self._ask()
        return self._probe

    def _ask(self) -> Probe:
        try:
            found = self._compatible() or self.info.probe()
            if not isinstance(found, Probe):
                raise TypeError(f"it returned {found!r:.80}, not a Probe")
            return found
        except Exception as error:
            return Probe(
                reason=f"its probe raised {type(error).__name__}: {error}",
                remedy="report this to the provider's vendor",
            )

    def _compatible(self) -> Probe | None:
        low, high = self.info.api
        if low <= API_VERSION <= high:
            return None
        need = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
        have = f"{API_VERSION[0]}.{API_VERSION[1]}"
        return Probe(
            reason=f"it needs provider API {need}, this runtime has {have}",
            remedy="install versions that go together: pip install -U runtime "
            + (self.distribution or self.name),
        )

    def load(self) -> Any:
        """Import the provider's object; whatever goes wrong is raised."""
        if self.object is None and self.point is not None:
            self.object = self.point.load()
        return self.object


class _Registry:
    """Every provider of this process; scanned once, by name only."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._scanned: dict[str, Installed] | None = None
        self._left_out: dict[str, Installed] = {}
        self._registered: dict[str, Installed] = {}

    def all(self) -> dict[str, Installed]:
        """Return the providers by name, those registered in this process first."""
        with self._lock:
            if self._scanned is None:
                self._scanned, self._left_out = _scan()
            return {**self._scanned, **self._registered}

    def left_out(self, name: str) -> Installed | None:
        """Return an installed provider that the environment does not allow."""
        self.all()
        for entry in self._left_out.values():
            if name.lower() in _words_for(entry.name):
                return entry
        return None

    def register(self, provider: Any, info: ProviderInfo | None, name: str) -> None:
        """Add a provider without packaging, e.g. from a notebook."""
        info = info or getattr(provider, "info", None) or ProviderInfo(name)
        entry = Installed(info.name, object=provider)
        entry._info = info
        with self._lock:
            self._registered[info.name] = entry

    def unregister(self, name: str) -> None:
        """Take back what `register` added."""
        with self._lock:
            self._registered.pop(name, None)

    def rescan(self) -> None:
        """Look at the installed distributions again."""
        with self._lock:
            self._scanned = None


def _scan() -> tuple[dict[str, Installed], dict[str, Installed]]:
    """Return what is installed: what the environment allows, and the rest."""
    found: dict[str, Installed] = {}
    points = entry_points()  # once: every distribution's file is read
    for point in points.select(group=GROUP):
        made = Installed(point.name, point, distribution=_distribution(point))
        first = found.setdefault(point.name, made)
        if first.distribution != made.distribution:
            told = "%s is offered by %s and by %s; the former is used, uninstall one"
            logger.warning(told, made.name, first.distribution, made.distribution)
    for point in points.select(group=INFO_GROUP):
        entry = found.get(point.name)
        if entry is not None and entry.distribution == _distribution(point):
            entry.info_point = point
    listed = os.environ.get(ALLOW_LIST)
    if os.environ.get(NO_AUTOLOAD, "") not in ("", "0"):
        listed = ""
    if listed is None:
        return found, {}
    allowed = {*_words(listed.lower()), HOST_ALIAS}
    kept = {name for name in found if allowed & _words_for(name)}
    allowed.difference_update(*map(_words_for, kept))
    if allowed:
        kept |= {n for n in found.keys() - kept if allowed & {*found[n].info.aliases}}
    return (
        {name: entry for name, entry in found.items() if name in kept},
        {name: entry for name, entry in found.items() if name not in kept},
    )


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else ""


def _words_for(name: str) -> set[str]:
    """Return the words that name a provider of which no more than its name is known."""
    return {name.lower(), _short(name)}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _short(name: str) -> str:
    return name.removesuffix("ExecutionProvider").lower()


registry = _Registry()


def resolve(name: str) -> Installed | None:
    """Return the installed provider of a name, or of an alias, whatever its case."""
    installed = registry.all()
    if name in installed:
        return installed[name]
    for entry in installed.values():
        aliases = {alias.lower() for alias in entry.info.aliases} | {_short(entry.name)}
        if name.lower() in aliases:
            return entry
    return None


def usable() -> list[str]:
    """Return the names of all providers whose probe succeeds, the host's last."""
    names = [e.name for e in registry.all().values() if e.probe().usable]
    return sorted(names, key=_rank)


def _rank(name: str) -> tuple[int, str]:
    """Order for 'whatever is there': accelerators, other engines of the host, the host."""
    entry = registry.all()[name]
    if HOST_ALIAS in entry.info.aliases:
        return (2, name)
    return (0 if any(d.kind != HOST.kind for d in entry.probe().devices) else 1, name)


@dataclass(frozen=True, slots=True)
class Request:
    """A provider asked for, by name or alias, with options as the caller wrote them."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A provider known by name that this installation lacks: how to get it, its options.

    ``options`` is ``None`` where the set is not known.
    """

    remedy: str
    reason: str = "it is not installed"
    options: frozenset[str] | None = None


def typed_options(info: ProviderInfo, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provider's options, defaults filled in, each of its declared type.

    Raises `OptionError` for an unknown option, with the near match, or a bad value.
    """
    options = {name: option.default for name, option in info.options.items()}
    for key, value in given.items():
        option = info.options.get(str(key))
        if option is None:
            known = ", ".join(sorted(info.options)) or "it has none"
            raise OptionError(
                f"{info.name} has no option {str(key)!r}{near(str(key), info.options)} "
                f"(options: {known})"
            )
        options[str(key)] = _typed(info.name, str(key), option, value)
    return options


_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _typed(provider: str, key: str, option: Option, value: Any) -> Any:
    kind = option.type
    try:
        if isinstance(kind, tuple):
            word = option.aliases.get(str(value), str(value))
            if word not in kind:
                raise ValueError(f"expected one of {', '.join(kind)}{near(word, kind)}")
            made: Any = word
        elif kind is bool:
            word = str(value).lower()
            if word not in _TRUE | _FALSE:
                raise ValueError("expected true or false")
            made = word in _TRUE
        else:
            text = option.aliases.get(str(value), value)
            made = kind(text) if kind is not str else str(text)
        if option.check is not None:
            option.check(made)
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"option {key!r} of {provider}: {value!r} is not valid: {error}"
        ) from error
    return made


class Providers:
    """The providers of one session, in fallback order, each with its own settings."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self._settings = settings
        self._manager = pluggy.PluginManager("runtime")
        self._manager.add_hookspecs(ProviderSpec)
        hooktrace.watch(self._manager)
        self._own: dict[str, Settings] = {}
        self._installed: dict[str, Installed] = {}
        self._hooks: dict[tuple[str, str], Any] = {}
        self.report = report
        self.names: list[str] = []

    @classmethod
    def open(
        cls,
        requests: Sequence[Request],
        settings: Settings,
        report: Report,
        elsewhere: Mapping[str, Elsewhere] = MappingProxyType({}),
    ) -> Providers:
        """Load the providers asked for; mistakes raise, what cannot run is reported.

        ``elsewhere`` names providers that are known though not installed. Raises
        `ProviderNotFound` for a name that is nobody's and `OptionError` for a bad option,
        whether or not the provider is usable.
        """
        providers = cls(settings, report)
        for request in requests:
            entry = resolve(request.name)
            if entry is None:
                _missing(request, report, elsewhere)
                continue
            options = typed_options(entry.info, request.options)
            limit = settings.hang_warning
            probe = watched(entry.probe, entry.name, "probe", limit)()
            if not probe.usable:
                event = Event(entry.name, "probe", probe.reason, probe.remedy)
                report.fallback(event)
                continue
            providers._add(entry, options, report)
        return providers

    def _add(self, entry: Installed, options: dict[str, Any], report: Report) -> None:
        if entry.name in self.names:
            return
        try:
            limit = self._settings.hang_warning
            loaded = watched(entry.load, entry.name, "import", limit)()
            self._manager.register(loaded, entry.name)
            self._manager.check_pending()
        except Exception as error:
            if self._manager.has_plugin(entry.name):
                self._manager.unregister(name=entry.name)
            reason = f"{type(error).__name__}: {error}"
            report.fallback(Event(entry.name, "import", reason), error)
            return
        self.names.append(entry.name)
        self._installed[entry.name] = entry
        frozen = MappingProxyType(options)
        self._own[entry.name] = replace(self._settings, options=frozen)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def info(self, name: str) -> ProviderInfo:
        """Return a provider's description."""
        return self._installed[name].info

    def settings(self, name: str) -> Settings:
        """Return the settings with a provider's own options."""
        return self._own[name]

    def after(self, name: str) -> list[str]:
        """Return the providers that come later in the fallback order."""
        return self.names[self.names.index(name) + 1 :]

    def call(self, hook: str, name: str, **arguments: Any) -> Any:
        """Call a hook of one provider; plugins that wrap hooks still see the call."""
        key = (hook, name)
        if key not in self._hooks:
            others = [self._manager.get_plugin(n) for n in self.names if n != name]
            self._hooks[key] = self._manager.subset_hook_caller(hook, others)
        limit = self._settings.hang_warning
        return watched(self._hooks[key], name, hook, limit)(**arguments)

    def wrap(self, plugin: Any) -> None:
        """Register a plugin of hook wrappers, e.g. one that traces every call."""
        self._manager.register(plugin)
        self._hooks.clear()

    def warm_up(self) -> None:
        """Let providers begin what is the same for every model; failures are told."""
        for name in self.names:
            provider, limit = self._installed[name].object, self._settings.hang_warning
            if not isinstance(provider, Warmable):
                continue
            try:
                watched(provider.warm_up, name, "warm_up", limit)(self.settings(name))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                self.report.tell(Event(name, "warm_up", reason))

    def transfer(self, source: Device, target: Device) -> Callable[[Any], Any]:
        """Return a copy function, by way of the host where no provider knows a direct one.

        Raises `TransferUnavailable` where nobody can copy.
        """
        if source == target:
            return lambda value: value
        direct = self._direct(source, target)
        if direct is not None:
            return direct
        down, up = self._direct(source, HOST), self._direct(HOST, target)
        if down is None or up is None or HOST in (source, target):
            raise TransferUnavailable(
                f"no provider of this session copies from {source} to {target}; name one "
                "that owns the device among its providers"
            )
        return lambda value: up(down(value))

    def copier(self, device: Device) -> Callable[[Any, Any], Any] | None:
        """Return what copies within a device into given memory, if its owner can."""
        return getattr(self._direct(device, device), "copy", None)

    def _direct(self, source: Device, target: Device) -> Callable[[Any], Any] | None:
        """Ask one provider after the other, those that own a device first."""
        kinds = {source.kind, target.kind} - {HOST.kind}
        foreign = {
            name: not kinds & {*self.info(name).device_kinds} for name in self.names
        }
        for name in sorted(self.names, key=foreign.__getitem__):
            try:
                found = self.call("data_transfer", name, source=source, target=target)
            except Exception as error:
                reason = f"{source} to {target}: {type(error).__name__}: {error}"
                self.report.tell(Event(name, "data_transfer", reason))
                continue
            if found is not None:
                return found  # type: ignore[no-any-return]
        return None


def _missing(
    request: Request, report: Report, elsewhere: Mapping[str, Elsewhere]
) -> None:
    entry = registry.left_out(request.name)
    if entry is not None:
        reason = f"it is installed, and {ALLOW_LIST} or {NO_AUTOLOAD} leaves it out"
        remedy = f"unset them, or put {_short(entry.name)} into {ALLOW_LIST}"
        report.fallback(Event(entry.name, "request", reason, remedy))
        return
    known = elsewhere.get(request.name)
    if known is None:
        names = [*registry.all(), *elsewhere]
        raise ProviderNotFound(
            f"there is no execution provider {request.name!r}"
            f"{near(request.name, names)}; installed: {', '.join(registry.all())}"
        )
    unknown = [key for key in request.options if not _has(known.options, str(key))]
    if unknown:
        key = str(unknown[0])
        raise OptionError(
            f"{request.name} has no option {key!r}{near(key, known.options or ())}"
        )
    report.fallback(Event(request.name, "request", known.reason, known.remedy))


def _has(options: frozenset[str] | None, key: str) -> bool:
    return options is None or key in options
