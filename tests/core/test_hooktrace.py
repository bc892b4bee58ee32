"""Every hook call can be seen: who was called, with what, and what came of it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runtime as ort
from doubles import DeviceProvider, Failing
from models import dense
from runtime import hooktrace

X = np.ones((2, 4), np.float32)
SIM = "SimExecutionProvider"


@pytest.fixture
def lines(monkeypatch):
    """Turn tracing on, and return the list its lines go to."""
    told = []

    class Listener(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())

    monkeypatch.setenv(hooktrace.VARIABLE, "1")
    listener = Listener()
    hooktrace.logger.addHandler(listener)
    monkeypatch.setattr(hooktrace.logger, "propagate", False)
    yield told
    hooktrace.logger.removeHandler(listener)


def test_calls_are_told_with_provider_arguments_and_result(lines, registered):
    registered(DeviceProvider(SIM, ["MatMul", "Add"]))
    session = ort.InferenceSession(dense(), providers=[SIM])
    asked = (
        f"{SIM}.get_capability(graph=<'test', 4 nodes>, nodes=4 nodes, settings=<{{}}>)"
    )
    assert f"{asked} -> 2 claims of 2 nodes, 2 refusals" in lines
    (made,) = [line for line in lines if line.startswith(f"{SIM}.compile")]
    assert "partition=<2 nodes on sim:0: MatMul, Add>" in made
    assert made.endswith("-> <DeviceExecutable>")
    session.run(None, {"x": X})
    copies = [
        line for line in lines if ".data_transfer(source=cpu:0, target=sim" in line
    ]
    assert copies
    lines.clear()
    session.run(None, {"x": X})
    assert not lines, "no hook is called in the steady state"


@pytest.mark.parametrize("stage", ["get_capability", "compile"])
def test_tracing_changes_nothing_where_a_hook_raises(stage, lines, registered):
    bad = "BadExecutionProvider"
    registered(Failing(bad, stage, ["MatMul"]))
    with pytest.warns(ort.FallbackWarning, match="the driver is on fire"):
        session = ort.InferenceSession(dense(), providers=[bad])
    (raised,) = [line for line in lines if line.startswith(f"{bad}.{stage}")]
    assert raised.endswith("raised OSError: the driver is on fire")
    assert session.run(None, {"x": X})[0].shape == (2, 3)


def test_answers_that_come_lazily_and_fail_are_told_and_still_a_fault(
    lines, registered
):
    class Lazy(DeviceProvider):
        @ort.plugin.hookimpl
        def get_capability(self, nodes):
            yield ort.plugin.Claim(nodes[:1], self.device)
            raise OSError("lost the device")

    registered(Lazy(SIM, []))
    with pytest.warns(ort.FallbackWarning, match="lost the device"):
        ort.InferenceSession(dense(), providers=[SIM])
    assert any(line.endswith("raised OSError: lost the device") for line in lines)


@pytest.mark.parametrize("value", ["", "0", None])
def test_without_the_variable_nothing_is_told(value, lines, registered, monkeypatch):
    if value is None:
        monkeypatch.delenv(hooktrace.VARIABLE)
    else:
        monkeypatch.setenv(hooktrace.VARIABLE, value)
    ort.InferenceSession(dense())
    assert not lines


def test_lines_go_to_standard_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(dense())
    command = [sys.executable, "-m", "runtime.cli", "run", "model.onnx", "--json"]
    done = subprocess.run(
        command,
        cwd=Path(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, hooktrace.VARIABLE: "1"},
    )
    assert "hook: CPUExecutionProvider.get_capability(graph=" in done.stderr
    assert "hook:" not in done.stdout
