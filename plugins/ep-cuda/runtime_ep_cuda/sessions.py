"""What the partitions of one session share: a device, memory within a limit, choices."""

from __future__ import annotations

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
from runtime_ep_cuda.memory import External, Pool
from runtime_ep_cuda.options import Choice, chosen
from runtime_ep_cuda.tuning import Tuner


@dataclass(frozen=True, slots=True)
class Session:
    """One session's share of a device, and what it asked for.

    ``stream`` is the caller's, where one was given; else each program has its own.
    """

    choice: Choice
    driver: Driver
    pool: Pool
    stream: Stream | None
    chooser: Chooser


_lock = threading.Lock()
_sessions: weakref.WeakKeyDictionary[Graph, Session] = weakref.WeakKeyDictionary()


def session_of(graph: Graph, settings: Settings) -> Session:
    """Return what all partitions of a graph share, opened when the first is compiled."""
    with _lock:
        session = _sessions.get(graph)
        if session is None:
            session = _sessions[graph] = _open(chosen(settings), settings)
        return session


def _open(choice: Choice, settings: Settings) -> Session:
    opened = devices.device(choice.device)
    driver = opened.driver
    if choice.precision == "bf16" and driver.properties.sm < 80:
        raise OptionError(
            f"precision='bf16' needs compute capability 8.0, and {driver.properties.name} "
            f"has {driver.properties.sm / 10}; use fp16"
        )
    source = driver if choice.allocator is None else External(*choice.allocator)
    pool = Pool(source, choice.limit, choice.strategy)
    tuner = Tuner(
        driver, CompileCache.of(settings), choice.search, choice.key, choice.graphs
    )
    tuner.deterministic = settings.deterministic
    if not choice.cudnn:
        tuner.admits = is_others
    room = min(choice.workspace, choice.limit or driver.properties.memory)
    chooser = Choosing(tuner, room, driver.stream(), choice.cudnn)
    return Session(choice, driver, pool, choice.stream, chooser)
