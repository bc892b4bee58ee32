"""A contender's process, driven over pipes: one line of JSON asks, one line answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any


class ContenderError(RuntimeError):
    """A contender could not do what it was asked."""


class Process:
    """A command that answers lines of JSON, parked while it is not asked.

    ``environment`` adds to the present one. Use as a context manager, or call `close`.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, **request: Any) -> None:
        """Ask, without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the answer; raises `ContenderError` where it is an error or none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise ContenderError(f"{' '.join(self._command)} ended with status {code}")
        answer = dict(json.loads(line))
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.send(**request)
        return self.receive()

    def park(self) -> None:
        """Stop all of its threads, spinning ones too."""
        if hasattr(signal, "SIGSTOP"):
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if hasattr(signal, "SIGCONT"):
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process; one that does not end by itself is killed."""
        self.resume()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def contender(
    engine: str, environment: Mapping[str, str] | None = None, python: str = ""
) -> Process:
    """Start a process that runs models with one engine; see `benchmarks.worker`."""
    command = [python or sys.executable, "-m", "benchmarks.worker", engine]
    return Process(command, environment)
