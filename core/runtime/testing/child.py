"""Checks that need a process of their own, since they may hang, crash or fork."""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.testing.samples import samples
from runtime.testing.subject import NotUsable, Subject

GRACE = 15.0
"""Seconds a child may need beyond its limit, to start and to tell its stack."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: its exit status, what it answered, what it printed."""

    status: int
    answer: dict[str, Any]
    told: str

    @property
    def unusable(self) -> str:
        """Why the provider cannot run here, as its probe says; ``""`` where it can."""
        return str(self.answer.get("unusable", ""))

    @property
    def fatal(self) -> str:
        """Why the provider must not be used in this process: it hangs or crashes."""
        if self.answer.get("done"):
            return ""
        doing = self.answer.get("doing", "starting")
        if "Timeout" in self.told or self.status is TIMEOUT:
            return f"it hangs while {doing}\n{self.told}"
        if self.status < 0:
            return f"it ends the process by signal {-self.status} while {doing}"
        return ""


TIMEOUT = -1000


def run(verb: str, subject: Subject, limit: float) -> Outcome:
    """Run one of this module's checks in a new process, and end it when it hangs.

    That limit takes the place of the one of the test in progress.
    """
    faulthandler.cancel_dump_traceback_later()
    given = {"specs": subject.specs, "options": dict(subject.options), "limit": limit}
    command = [sys.executable, "-m", __name__, verb, json.dumps(given)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit + GRACE, check=False
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(TIMEOUT, _answers(_text(error.stdout)), _text(error.stderr))
    return Outcome(done.returncode, _answers(done.stdout), done.stderr[-4000:])


def _text(output: str | bytes | None) -> str:
    return (
        output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    )


def _answers(output: str) -> dict[str, Any]:
    """Join the JSON objects a child printed, a line each; later ones win."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


@functools.cache
def _answer(specs: tuple[str, ...], options: tuple[Any, ...], limit: float) -> Outcome:
    return run("answer", Subject(specs, dict(options)), limit)


def answer_of(subject: Subject, limit: float) -> Outcome:
    """Return how the provider does in a child process; asked once per process."""
    return _answer(subject.specs, tuple(subject.options.items()), limit)


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _check_answer(subject: Subject, limit: float) -> None:
    """Probe, divide, compile and run, saying before each what comes next."""
    _say(doing="probing")
    try:
        subject.check()
    except NotUsable as error:
        _say(unusable=str(error), done=True)
        return
    for sample in samples().values():
        _say(doing=f"dividing or compiling the sample {sample.name!r}")
        opened = subject.open(sample.model, hang_warning=limit / 2)
        _say(doing=f"running the sample {sample.name!r}")
        opened(sample.feed())
        if opened.owned:
            break
    _say(done=True)


def _check_probe(subject: Subject, limit: float) -> None:
    """Time the probe, and see what it leaves that a fork would inherit."""
    entry = subject.entry
    info, threads = entry.info, _threads()
    loaded = set(sys.modules)
    began = time.perf_counter()
    info.probe()
    _say(seconds=time.perf_counter() - began, threads=_threads() - threads)
    if entry.point is not None:
        _say(module=entry.point.module, loaded=entry.point.module in sys.modules)
    _say(imported=sorted({*sys.modules} - loaded)[:20])
    if not hasattr(os, "fork"):
        _say(done=True)
        return
    faulthandler.cancel_dump_traceback_later()
    if os.fork() == 0:
        faulthandler.dump_traceback_later(limit, exit=True)
        status = 1
        try:
            _check_answer(subject, limit)
            status = 0
        finally:
            os._exit(status)
    _, status = os.wait()
    _say(forked=os.waitstatus_to_exitcode(status), done=True)


def _threads() -> int:
    """Return how many threads this process has, native ones included where known."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


CHECKS: dict[str, Callable[[Subject, float], None]] = {
    "answer": _check_answer,
    "probe": _check_probe,
}


def main(verb: str, text: str) -> None:
    """Run one check with a limit, after which the stack is told and the process ends."""
    given = json.loads(text)
    faulthandler.dump_traceback_later(given["limit"], exit=True)
    CHECKS[verb](Subject(tuple(given["specs"]), given["options"]), given["limit"])
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(*sys.argv[1:])
