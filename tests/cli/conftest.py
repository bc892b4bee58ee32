"""Calls the command in a folder of its own, with small models at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from models import dense
from runtime.cli import main
from runtime.explain import forget_warnings


@dataclass
class Outcome:
    """What one call of the command came to."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        """Standard output, as JSON."""
        return json.loads(self.out)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    forget_warnings()

    def run(*argv):
        capsys.readouterr()
        code = main([str(word) for word in argv])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def model(tmp_path):
    """Write the dense model, x (batch, 4) → y (batch, 3), and return its path."""
    path = tmp_path / "model.onnx"
    path.write_bytes(dense())
    return path
