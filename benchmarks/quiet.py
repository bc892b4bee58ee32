"""Tells whether other processes disturbed a measurement, and waits until they do not."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


@dataclass(frozen=True)
class Usage:
    """What the processors did up to one moment, in seconds.

    ``machine`` counts all processes, ``steal`` what the hypervisor gave to others,
    ``own`` this process, and ``waited`` how long its threads were ready but not running.
    """

    wall: float
    machine: float
    steal: float
    own: float
    waited: float

    def since(self, earlier: Usage) -> Usage:
        """Return the difference."""
        mine, other = asdict(self), asdict(earlier)
        return Usage(**{key: mine[key] - other[key] for key in mine})

    def to_dict(self) -> dict[str, float]:
        """Return plain data; ``Usage(**data)`` is the way back."""
        return asdict(self)


def processors(text: str) -> tuple[float, float]:
    """Return (busy, stolen) seconds from the text of /proc/stat."""
    fields = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) * TICK, steal * TICK


def usage() -> Usage:
    """Return this process's and the machine's usage; zeros where there is no /proc."""
    try:
        machine, steal = processors(Path("/proc/stat").read_text())
        waited = sum(
            int(Path(task.path, "schedstat").read_text().split()[1])
            for task in os.scandir("/proc/self/task")
        )
    except OSError:
        machine, steal, waited = 0.0, 0.0, 0
    return Usage(time.perf_counter(), machine, steal, time.process_time(), waited / 1e9)


def disturbance(slice_: Usage) -> str:
    """Return why a slice is to be thrown away, "" where it is not.

    /proc/stat counts in ticks, usually of 10 ms, so two ticks of difference mean nothing
    by themselves; time that ready threads spent waiting is exact, and means that somebody
    else ran only where the machine's count says so too.
    """
    foreign = slice_.machine - slice_.own
    if slice_.steal > TICK * 1.5 + 0.02 * slice_.wall:
        return "steal"
    if foreign > TICK * 2.5 + 0.03 * slice_.wall:
        return "others"
    if slice_.waited > 0.02 * slice_.wall and foreign > TICK * 0.5:
        return "waiting"
    return ""


class Gate:
    """Waits until a calibration runs nearly as fast as it does on the quiet machine.

    ``rate`` returns how much was done in a second. The quiet machine's rate is the
    90th percentile of the last readings, so that one lucky reading closes no gate.
    Below ``least`` it is not quiet, however long that lasts.
    """

    def __init__(
        self, rate: Callable[[], float], threshold: float = 0.9, least: float = 0.0
    ) -> None:
        self._rate = rate
        self._threshold = threshold
        self._least = least
        self._seen: deque[float] = deque(maxlen=200)

    def reading(self) -> bool:
        """Calibrate once; say whether the machine is quiet now."""
        now = self._rate()
        self._seen.append(now)
        ranked = sorted(self._seen)
        usual = ranked[int(0.9 * (len(ranked) - 1))]
        return now >= max(self._threshold * usual, self._least)

    def wait(self, most: float = 0.5) -> bool:
        """Wait for the quiet machine; False where it does not come in time."""
        end = time.perf_counter() + most
        while not self.reading():
            if time.perf_counter() > end:
                return False
            time.sleep(0.003)
        return True


def status(pid: str = "self") -> dict[str, int]:
    """Return a process's resident and peak bytes, and the anonymous part."""
    names = {"VmRSS": "rss", "VmHWM": "peak", "RssAnon": "anonymous"}
    found: dict[str, Any] = {}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        key, _, value = line.partition(":")
        if key in names:
            found[names[key]] = 1024 * int(value.split()[0])
    return found
