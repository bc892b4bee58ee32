"""The devices of this process: each is opened once, and anew in a process that forks off."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runtime.errors import ProviderUnavailable

from runtime_ep_cuda.driver import Driver, Stream
from runtime_ep_cuda.memory import Pool
from runtime_ep_cuda.streams import Streams

Factory = Callable[[int], Driver]


def _cuda(index: int) -> Driver:
    from runtime_ep_cuda.cuda import CudaDriver

    driver: Driver = CudaDriver(index)
    return driver


@dataclass(slots=True)
class Traffic:
    """What crossed between the host and a device, and between devices."""

    uploads: int = 0
    uploaded: int = 0
    downloads: int = 0
    downloaded: int = 0
    copies: int = 0
    copied: int = 0


@dataclass(slots=True)
class Opened:
    """A device with what everybody shares: memory of values, and a stream to copy in.

    ``streams`` are for those who work there.
    """

    driver: Driver
    pool: Pool
    stream: Stream
    streams: Streams
    traffic: Traffic = field(default_factory=Traffic)


class _State:
    def __init__(self) -> None:
        self.factory: Factory = _cuda
        self.inherited: list[object] = []
        self.opened: dict[int, Opened] = {}
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew: what a parent process opened is kept, and never touched."""
        self.lock = threading.RLock()
        self.inherited.append(self.opened)
        self.opened = {}


_state = _State()


def device(index: int) -> Opened:
    """Return a device of this process, which is opened when it is first asked for.

    Raises `ProviderUnavailable` where it cannot be opened.
    """
    with _state.lock:
        found = _state.opened.get(index)
        if found is None:
            found = _state.opened[index] = _open(index)
        return found


def opened(index: int) -> Driver:
    """Return the driver of a device."""
    return device(index).driver


def _open(index: int) -> Opened:
    try:
        driver = _state.factory(index)
        return Opened(driver, Pool(driver), driver.stream(), Streams(driver))
    except ProviderUnavailable:
        raise
    except Exception as error:
        raise ProviderUnavailable(
            f"the CUDA device {index} cannot be opened: {error}"
        ) from error


@contextmanager
def replaced(factory: Factory) -> Iterator[None]:
    """Have other drivers in place of CUDA's meanwhile, all opened anew."""
    before, kept = _state.factory, _state.opened
    _state.factory, _state.opened = factory, {}
    try:
        yield
    finally:
        _state.factory, _state.opened = before, kept
