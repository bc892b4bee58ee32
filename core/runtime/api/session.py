"""InferenceSession: a model made ready to run, as onnxruntime's clients know it."""

from __future__ import annotations

import copy
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.api.binding import IOBinding
from runtime.api.call import bound_call
from runtime.api.devices import OrtDevice
from runtime.api.environment import host_name, severity
from runtime.api.exceptions import (
    Fail,
    InvalidArgument,
    ModelLoadCanceled,
    translation,
)
from runtime.api.feeds import check_given
from runtime.api.inner import SessionInside
from runtime.api.known import elsewhere, that_act
from runtime.api.metadata import ModelMetadata
from runtime.api.options import RunOptions, SessionOptions, settings_of
from runtime.api.requests import requests_of
from runtime.api.telling import Telling
from runtime.api.values import OrtValue
from runtime.api.vector import OrtValueVector
from runtime.plugin import HOST
from runtime.providers import Request, resolve, usable

if TYPE_CHECKING:
    from runtime.api.later import Callback, Later
    from runtime.build import Runnable
    from runtime.trace import Trace

Providers = Sequence[str | tuple[str, Mapping[str, Any]]] | str | None


class InferenceSession(Telling, SessionInside):
    """A model made ready to run on the providers asked for.

    Args:
        path_or_bytes: the model's path, or its serialized bytes.
        sess_options: how to build it; read now, later changes do nothing.
        providers: names, or (name, options) pairs, in fallback order. ``None`` is the
            host only, ``"auto"`` every usable one; the host is appended last unless the
            options forbid it.
        provider_options: options by position, when ``providers`` are plain names.
        strict: whether a provider that cannot run is an error; by default it warns and
            the next one takes over.

    Raises an exception of `runtime.capi.onnxruntime_pybind11_state`.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Providers = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        *,
        strict: bool | None = None,
        enable_fallback: int = 1,
        disabled_optimizers: Sequence[str] = (),
        read_config_from_model: int = 0,
        dry_run: bool = False,
    ) -> None:
        if (
            not isinstance(path_or_bytes, (str, bytes, os.PathLike))
            or path_or_bytes == ""
        ):
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        self._source = path_or_bytes
        self._options = copy.copy(sess_options or SessionOptions())
        if disabled_optimizers:
            key = "optimization.disable_specified_optimizers"
            self._options._entries[key] = ",".join(disabled_optimizers)
        self._strict = strict
        self._dry_run = dry_run
        self._later: Later | None = None
        self._release: Callable[[], Any] = lambda: None
        self._asked = self._chosen(providers, provider_options)
        self._open()

    def _chosen(
        self, providers: Providers, provider_options: Sequence[Mapping[str, Any]] | None
    ) -> list[tuple[str, dict[str, Any]]]:
        if providers == "auto":
            return [(name, {}) for name in usable()]
        if not providers and not self._options.has_providers():
            return [*self._preferred()]
        if self._options.has_providers():
            if providers:
                message = "providers= replaces those of the session options"
                warnings.warn(message, stacklevel=3)
            else:
                providers = list(self._options._providers)
        return requests_of(providers, provider_options)

    def _preferred(self) -> list[tuple[str, dict[str, str]]]:
        """Return the providers that the options' policy or delegate chooses, if any."""
        from runtime.api import policies

        if self._options._delegate is not None:
            from runtime.model import load

            with translation():
                source: Any = self._source
                told = policies.described(ModelMetadata.of(load(source)))
            return policies.delegated(self._options._delegate, told)
        if self._options._policy is not None:
            return policies.preferred(self._options._policy)
        return []

    def _open(self) -> None:
        from runtime.build import build

        if self._options._cancelled:
            raise ModelLoadCanceled("Model loading canceled due to user request.")
        with translation():
            settings = settings_of(self._options, self._strict)
            requests = [Request(name, that_act(name, o)) for name, o in self._asked]
            requests = _with_host(requests, settings.host_fallback)
            source: Any = self._source
            runnable = build(source, requests, settings, elsewhere(), self._dry_run)
        call = bound_call(runnable)
        self._write_optimized(runnable)
        before, self._release = self._release, weakref.finalize(self, runnable.close)
        self._release.atexit = False
        self._runnable, self._call = runnable, call
        self._profile: Callable[[], str | None] = lambda: None
        if settings.profiling:
            prefix = self._options.profile_file_prefix
            self._profile = weakref.finalize(
                self, _write_profile, runnable.trace, prefix
            )
        before()
        if severity(self._options.log_severity_level) == 0:
            sys.stderr.write(f"Node placements\n{runnable.placement}\n")

    def _write_optimized(self, runnable: Runnable) -> None:
        entries = self._options._entries
        if entries.get("ep.context_enable") == "1":
            from runtime.api.compiler import compiled_proto, context_path

            target = entries.get("ep.context_file_path") or context_path(self._source)
            with open(target, "wb") as file:
                file.write(compiled_proto(runnable).SerializeToString())
        path = self._options.optimized_model_filepath
        if path:
            from runtime.export import to_proto

            with open(path, "wb") as file:
                file.write(to_proto(runnable.model, "inline").SerializeToString())

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None = None,
    ) -> list[Any]:
        """Run the model once.

        Returns the outputs named, or all, in order: NumPy arrays of their own memory,
        lists for sequences, dicts for maps.
        """
        return self._call(output_names, input_feed, run_options)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """Run the model once from OrtValues, each read where it is, to others on the host."""
        given = input_dict_ort_values.values()
        if any(getattr(value, "_device", HOST) != HOST for value in given):
            binding = self.io_binding()
            for name, value in input_dict_ort_values.items():
                binding.bind_ortvalue_input(name, value)
            for name in output_names or [each.name for each in self.get_outputs()]:
                binding.bind_output(name)
            self.run_with_iobinding(binding, run_options)
            return binding.get_outputs()
        results = self._call(output_names, input_dict_ort_values, run_options)
        return [OrtValue(value) for value in results]

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callback,
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Return at once, run on a thread, and call back there.

        ``callback`` gets the results, ``user_data`` and ``""``; after a failure ``[]``,
        ``user_data`` and what went wrong. A missing input is an error here and now.
        """
        with translation():
            check_given(self._runnable.inputs, input_feed)
        if self._later is None:
            from runtime.api.later import Later

            self._later = Later(self)
        run = partial(self._call, output_names, dict(input_feed), run_options)
        self._later.call(run, callback, user_data)

    def run_with_ortvaluevector(
        self,
        run_options: RunOptions | None,
        feed_names: Sequence[str],
        feeds: Sequence[OrtValue],
        fetch_names: Sequence[str],
        fetches: OrtValueVector,
        fetch_devices: Sequence[OrtDevice],
    ) -> None:
        """Run once from OrtValues, and append the results to ``fetches``."""
        binding = self.io_binding()
        for name, value in zip(feed_names, feeds, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name, device in zip(fetch_names, fetch_devices, strict=True):
            binding.bind_output(name, device._kind, device.device_id())
        binding._run(run_options)
        fetches[:] = binding.get_outputs()

    def create_ortvalue_from_shape_and_type(
        self,
        shape: Sequence[int],
        element_type: Any,
        device_type: str,
        device_id: int = 0,
        vendor_id: int = -1,
    ) -> OrtValue:
        """Allocate an uninitialised tensor on a device."""
        return OrtValue.ortvalue_from_shape_and_type(
            shape, element_type, device_type, device_id, vendor_id
        )

    def io_binding(self) -> IOBinding:
        """Return an empty binding for this session."""
        return IOBinding(self)

    def run_with_iobinding(
        self, iobinding: IOBinding, run_options: RunOptions | None = None
    ) -> None:
        """Run the model once with what is bound."""
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        iobinding._run(run_options)

    def set_providers(
        self,
        providers: Providers = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Build the session anew for other providers; on failure it stays as it was.

        What the providers before held is released: no run may be in progress.
        """
        before = self._asked
        if self._call is _closed:
            _closed()
        self._asked = self._chosen(providers, provider_options)
        try:
            self._open()
        except Exception:
            self._asked = before
            raise

    def get_session_options(self) -> SessionOptions:
        """Return a copy of the options."""
        return copy.copy(self._options)

    def enable_fallback(self) -> None:
        """Move what fails at run time to the next provider (the default)."""
        self._set_fallback("warn")

    def disable_fallback(self) -> None:
        """Raise when a provider fails at run time."""
        self._set_fallback("error")

    def _set_fallback(self, mode: str) -> None:
        from dataclasses import replace

        self._strict = mode == "error"
        settings = replace(self._runnable.settings, fallback=mode)  # type: ignore[arg-type]
        self._runnable.settings = settings
        self._runnable.report.strict = self._strict

    def end_profiling(self) -> str:
        """Write the profile and return its path; ``""`` when off or already ended.

        It is written when the session goes, too.
        """
        return self._profile() or ""

    def close(self) -> None:
        """Release what the providers hold; the session cannot run again."""
        self._profile()
        self._runnable.close()
        self._call = _closed

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "path_or_bytes": self._source,
            "sess_options": self._options,
            "providers": self._asked,
            "strict": self._strict,
            "dry_run": self._dry_run,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        InferenceSession.__init__(self, **state)


def _write_profile(trace: Trace, prefix: str) -> str:
    """Write a trace to a file named by the time, and return its path."""
    from datetime import datetime

    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")[:-3]
    path = f"{prefix}_{stamp}.json"
    trace.write(path)
    return path


def _closed(*arguments: Any) -> list[Any]:
    raise Fail("the session is closed; make a new one")


def _with_host(requests: list[Any], allowed: bool) -> list[Any]:
    host = host_name()
    named = [
        r for r in requests if (e := resolve(r.name)) is not None and e.name == host
    ]
    if allowed:
        return requests if named or host is None else [*requests, Request(host)]
    if named:
        raise InvalidArgument(
            "Conflicting session configuration: the host's provider is named, and "
            "falling back to it is disabled"
        )
    return requests
