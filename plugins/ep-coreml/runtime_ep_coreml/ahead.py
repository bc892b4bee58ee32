"""Makes the packages of a model ahead of time, on Linux too, for shipping them.

The packages are those that a session on a Mac would make: with ``ModelCacheDirectory`` they
also go into a folder that such a session finds them in.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.errors import ExecutionError, ProviderUnavailable
from runtime.plugin import HOST, Probe

from runtime_ep_coreml.engine import Engine
from runtime_ep_coreml.info import info, tools
from runtime_ep_coreml.options import Choice
from runtime_ep_coreml.package import SUFFIX
from runtime_ep_coreml.provider import CoreMlProvider


def write_packages(
    model: str | bytes, folder: str | Path, options: Mapping[str, Any] | None = None
) -> list[Path]:
    """Divide a model as a session does, and write each partition's package to a folder.

    Returns the packages, ``partition-0.mlpackage`` and so on; none where nothing is worth
    claiming. Inputs and outputs are described by their names in the model. Raises
    `ProviderUnavailable` where coremltools is missing, and what a session raises.
    """
    import runtime as ort

    with making(folder) as shelf, warnings.catch_warnings():
        warnings.simplefilter("ignore", ort.FallbackWarning)
        given = [(info.name, dict(options or {}))]
        ort.InferenceSession(model, providers=given).close()
    return shelf.packages


@contextmanager
def making(folder: str | Path | None = None) -> Iterator[Shelf]:
    """Let sessions of this process compile with Core ML, whatever the system, and not run.

    What they make is kept in a folder, if one is given. Raises `ProviderUnavailable` where
    coremltools is missing.
    """
    import runtime as ort

    found = tools()
    if isinstance(found, Probe):
        raise ProviderUnavailable(f"{found.reason}; {found.remedy}")
    shelf = Shelf(Path(folder) if folder is not None else None)
    ort.register_execution_provider(Packages(shelf))
    try:
        yield shelf
    finally:
        ort.unregister_execution_provider(info.name)


class Shelf:
    """Loads no package but keeps a copy of each, in the order in which they are made."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.packages: list[Path] = []

    def __call__(self, package: Path, choice: Choice, compiled: Path | None) -> Engine:
        """Keep a copy; what stands for the engine predicts nothing."""
        if self._folder is None:
            return Shipped()
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / f"partition-{len(self.packages)}{SUFFIX}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(package, kept)
        self.packages.append(kept)
        return Shipped()


class Shipped:
    """A package that runs elsewhere."""

    facts: Mapping[str, str] = {"units": "none: made for another machine"}

    def predict(self, feed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raise `ExecutionError`."""
        raise ExecutionError("packages made ahead of time run on a Mac")

    def close(self) -> None:
        """Nothing is held."""


class Packages(CoreMlProvider):
    """The provider where it makes packages and runs none; it takes the real one's place."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.info = replace(info, probe=lambda: Probe((HOST,)))
