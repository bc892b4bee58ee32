"""What makes a run fast: one callable per session with every look-up done beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runtime.abilities import CancelFlag, Context
from runtime.api.exceptions import translated
from runtime.api.feeds import Signature
from runtime.api.keys import MAXIMUM_SECONDS
from runtime.api.options import RunOptions
from runtime.errors import EngineError, FeedError, near

if TYPE_CHECKING:
    from runtime.build import Runnable

Call = Callable[..., list[Any]]


def bound_call(runnable: Runnable) -> Call:
    """Return ``call(output_names, input_feed, run_options)`` for a session."""
    values = Signature(runnable.inputs).values
    run, repeat = runnable.run, runnable.repeat
    names = tuple(name for name, _ in runnable.signature)
    needed = tuple(value.name for value in runnable.inputs if value.const is None)
    only = needed[0] if len(needed) == 1 else None
    every = tuple(range(len(names)))
    chosen: dict[Any, tuple[int, ...]] = {}
    idle = context_of(runnable, None)

    def call(
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None = None,
    ) -> list[Any]:
        plain = run_options is None and type(input_feed) is dict
        if plain and len(input_feed) == len(needed):
            wanted = chosen.get(_key(output_names)) if output_names else every
            if wanted is not None:
                get = input_feed.get
                results = repeat([*map(get, needed)] if only is None else [get(only)])
                if results is not None:
                    return results if wanted is every else [results[i] for i in wanted]
        return general(output_names, input_feed, run_options)

    def general(
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None,
    ) -> list[Any]:
        try:
            given = values(input_feed)
            wanted = every
            if output_names:
                key = _key(output_names)
                if key not in chosen:
                    chosen[key] = indices(output_names, names)
                wanted = chosen[key]
            if run_options is not None and not isinstance(run_options, RunOptions):
                raise TypeError(
                    f"run_options is a RunOptions, not a {type(run_options).__name__}"
                )
            context = idle if run_options is None else context_of(runnable, run_options)
            if _is_narrow(run_options) and {*wanted} != {*every}:
                return _narrow(runnable, given, [names[i] for i in wanted], context)
            results = run(given, None, context)
        except EngineError as error:
            raise translated(error) from error
        return results if wanted is every else [results[i] for i in wanted]

    return call


def _is_narrow(options: RunOptions | None) -> bool:
    return options is not None and options.only_execute_path_to_fetches is True


def _narrow(
    runnable: Runnable, given: Sequence[Any], wanted: Sequence[str], context: Context
) -> list[Any]:
    """Run only what the outputs named need."""
    narrow = runnable.narrowed(set(wanted))
    made = narrow.run(given, None, context)
    by_name = dict(zip([name for name, _ in narrow.signature], made, strict=True))
    return [by_name[name] for name in wanted]


def _key(output_names: Sequence[str]) -> Any:
    return output_names if isinstance(output_names, str) else (*output_names,)


def indices(output_names: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Return where the wanted outputs stand; an unknown one is a `FeedError`."""
    if isinstance(output_names, str):
        raise TypeError(
            f"output_names is a list of names, not a string; did you mean "
            f"[{output_names!r}]?"
        )
    for name in output_names:
        if name not in names:
            raise FeedError(f"Invalid output name:{name}{near(str(name), names)}")
    return tuple(names.index(name) for name in output_names)


def context_of(runnable: Runnable, options: RunOptions | None) -> Context:
    """Return what one run carries, by its options."""
    if options is None:
        return Context(trace=_kernel_trace(runnable))
    seconds = options._entries.get(MAXIMUM_SECONDS)
    return Context(
        cancelled=Deadline(options._event, float(seconds))
        if seconds
        else options._event,
        trace=_kernel_trace(runnable),
        options=options._entries,
    )


class Deadline(CancelFlag):
    """A cancel flag that another flag sets, or the clock."""

    def __init__(self, flag: CancelFlag, seconds: float) -> None:
        super().__init__()
        self._flag = flag
        self._end = time.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether the flag is set or the time is over."""
        return self._flag.is_set() or time.monotonic() >= self._end

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Have ``call`` called when the flag is set or the time is over."""
        timer = threading.Timer(self._end - time.monotonic(), call)
        timer.daemon = True
        timer.start()
        try:
            with self._flag.calling(call):
                yield
        finally:
            timer.cancel()


def _kernel_trace(runnable: Runnable) -> Any:
    return runnable.trace if runnable.settings.profiling else None
