"""What the partitions of one session share: a device, memory within a limit, choices."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass

from runtime.cache import CompileCache
from runtime.errors import OptionError
from runtime.graph import Graph
from runtime.settings import Settings

from runtime_ep_cuda import devices
from runtime_ep_cuda.actions import Chooser
from runtime_ep_cuda.choosing import Choosing, is_others
from runtime_ep_cuda.driver import Driver, Stream
from runtime_ep_cuda.memory import Pool, Source
from runtime_ep_cuda.options import Choice, chosen
from runtime_ep_cuda.sources import External
from runtime_ep_cuda.streams import Streams
from runtime_ep_cuda.tuning import Tuner


@dataclass(frozen=True, slots=True)
class Session:
    """One session's share of a device, and what it asked for.

    ``stream`` is the caller's, where one was given; else each program has its own of
    ``streams``.
    """

    choice: Choice
    driver: Driver
    pool: Pool
    stream: Stream | None
    streams: Streams
    chooser: Chooser


class _State:
    def __init__(self) -> None:
        self.inherited: list[object] = []
        self.opened: weakref.WeakKeyDictionary[Graph, Session]
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew: what a parent process opened is kept, and never touched."""
        self.lock = threading.Lock()
        self.opened = weakref.WeakKeyDictionary()
        self.inherited.append(self.opened)


_state = _State()


def session_of(graph: Graph, settings: Settings) -> Session:
    """Return what all partitions of a graph share, opened when the first is compiled."""
    with _state.lock:
        session = _state.opened.get(graph)
        if session is None:
            session = _state.opened[graph] = _open(chosen(settings), settings)
        return session


def _open(choice: Choice, settings: Settings) -> Session:
    opened = devices.device(choice.device)
    driver = opened.driver
    if choice.precision == "bf16" and driver.properties.sm < 80:
        raise OptionError(
            f"precision='bf16' needs compute capability 8.0, and {driver.properties.name} "
            f"has {driver.properties.sm / 10}; use fp16"
        )
    source: Source = driver
    if choice.allocator is not None:
        source = External(*choice.allocator, current=driver.current)
    pool = Pool(source, choice.limit, choice.strategy)
    tuner = Tuner(
        driver, CompileCache.of(settings), choice.search, choice.key, choice.graphs,
        pool=pool,
    )  # fmt: skip
    tuner.deterministic = settings.deterministic
    if not choice.cudnn:
        tuner.admits = is_others
    room = min(choice.workspace, choice.limit or driver.properties.memory)
    chooser = Choosing(tuner, room, opened.streams.lend(tuner), choice.cudnn)
    return Session(choice, driver, pool, choice.stream, opened.streams, chooser)
