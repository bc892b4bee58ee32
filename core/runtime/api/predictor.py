"""Predictor: a picklable description of a model, with a session made on first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.api.session import InferenceSession


class Predictor:
    """Arrays by name in, arrays by name out; pickles to its arguments.

    Made for process pools, Ray Data and servers: constructing it costs nothing, and each
    process opens its own session at the first call.

    Args:
        model: path or bytes.
        providers: as for `InferenceSession`.
        provider_options: as for `InferenceSession`.
        outputs: the outputs wanted; all by default.
        passthrough: whether entries that are no inputs come back unchanged.
        threads: threads within one operator; 0 is automatic.
        strict: as for `InferenceSession`.
    """

    def __init__(
        self,
        model: str | bytes | os.PathLike[str],
        providers: Any = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        outputs: Sequence[str] | None = None,
        *,
        passthrough: bool = False,
        threads: int = 0,
        strict: bool | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "model": model,
            "providers": providers,
            "provider_options": provider_options,
            "outputs": None if outputs is None else list(outputs),
            "passthrough": passthrough,
            "threads": threads,
            "strict": strict,
        }
        self._session: InferenceSession | None = None
        self._lock = threading.Lock()

    @property
    def session(self) -> InferenceSession:
        """The session, opened now if it was not yet."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._opened()
        return self._session

    def _opened(self) -> InferenceSession:
        from runtime.api.options import SessionOptions
        from runtime.api.session import InferenceSession

        options = SessionOptions()
        options.intra_op_num_threads = self._arguments["threads"]
        return InferenceSession(
            self._arguments["model"],
            options,
            self._arguments["providers"],
            self._arguments["provider_options"],
            strict=self._arguments["strict"],
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model on arrays by input name; return arrays by output name."""
        session = self.session
        known = {arg.name for arg in session.get_inputs()}
        known |= {arg.name for arg in session.get_overridable_initializers()}
        feed = {name: value for name, value in batch.items() if name in known}
        rest = {name: value for name, value in batch.items() if name not in known}
        if rest and not self._arguments["passthrough"]:
            feed.update(rest)
        names = self._arguments["outputs"] or [
            arg.name for arg in session.get_outputs()
        ]
        results = dict(zip(names, session.run(names, feed), strict=True))
        return {**rest, **results} if self._arguments["passthrough"] else results

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._session = None
        self._lock = threading.Lock()
