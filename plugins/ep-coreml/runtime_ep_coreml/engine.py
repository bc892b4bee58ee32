"""Core ML itself, on a Mac: loading, predicting, and which device runs what.

None of this runs elsewhere. A model that Core ML has compiled is kept in a folder of its
own, so that a later session loads it without compiling.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from runtime_ep_coreml.info import info, macos, system
from runtime_ep_coreml.options import Choice
from runtime_ep_coreml.tools import coremltools, first_line

logger = logging.getLogger("runtime.coreml")

HINTED_SYSTEM = (15, 0)
"""The macOS whose Core ML takes hints; coremltools raises for them on an older one."""


class Engine(Protocol):
    """What runs a package."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What `explain()` tells of it."""

    def predict(self, feed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run once, arrays by name; safe from several threads."""

    def close(self) -> None:
        """Let go of everything."""


class Loader(Protocol):
    """Loads a package for what a session has chosen."""

    def __call__(self, package: Path, choice: Choice, compiled: Path | None) -> Engine:
        """Return the engine; ``compiled`` is where a compiled model is kept, if at all."""


class CoreMl:
    """Models loaded from one compiled folder, each used by one run at a time.

    Core ML asks that one model is used by one thread at a time, so that runs side by side
    have one each.
    """

    def __init__(self, package: Path, choice: Choice, compiled: Path | None) -> None:
        self._choice = choice
        self._lock = threading.Lock()
        self._hints = _hints(choice)
        self._path: Path
        self._idle = [self._first(package, compiled)]
        self.facts: dict[str, str] = {"units": choice.units}
        if choice.plan:
            self.facts["plan"] = self._plan()

    def predict(self, feed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run once, on a model that nobody else uses meanwhile."""
        with self._lock:
            model = self._idle.pop() if self._idle else None
        if model is None:
            model = self._load()
        try:
            found: Mapping[str, Any] = model.predict(dict(feed))
            return found
        finally:
            with self._lock:
                self._idle.append(model)

    def trim(self) -> None:
        """Keep a single model."""
        with self._lock:
            del self._idle[1:]

    def close(self) -> None:
        """Let go of every model."""
        with self._lock:
            self._idle.clear()

    def _first(self, package: Path, kept: Path | None) -> Any:
        """Load a model; one that was kept and does not load is compiled anew, once."""
        if kept is not None and kept.exists():
            self._path = kept
            try:
                return self._load()
            except Exception as error:
                logger.warning("a kept model is compiled anew: %s", first_line(error))
                shutil.rmtree(kept, ignore_errors=True)
        self._path = _compiled(package, kept)
        return self._load()

    def _load(self) -> Any:
        tools = coremltools()
        return tools.models.CompiledMLModel(
            str(self._path), self._units, optimization_hints=self._hints
        )

    @property
    def _units(self) -> Any:
        return coremltools().ComputeUnit[self._choice.units]

    def _plan(self) -> str:
        """Return how many operations each device would run, or why that is not known.

        It is told by macOS 14.4; without it a model runs as well.
        """
        try:
            return self._planned()
        except Exception as error:
            logger.info("no compute plan: %s", error)
            return f"not available: {first_line(error)}"

    def _planned(self) -> str:
        """Count the operations of each device, and log each operation's."""
        plans = coremltools().models.compute_plan.MLComputePlan
        plan = plans.load_from_path(str(self._path), self._units)
        counted: Counter[str] = Counter()
        for operation in plan.model_structure.program.functions[
            "main"
        ].block.operations:
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:
                continue
            device = type(usage.preferred_compute_device).__name__
            name = device.removeprefix("ML").removesuffix("ComputeDevice")
            counted[name] += 1
            logger.info("%s runs on %s", operation.operator_name, name)
        return ", ".join(f"{name} {count}" for name, count in counted.most_common())


def _hints(choice: Choice) -> dict[str, Any] | None:
    """Return what Core ML can be told since macOS 15; nothing where nothing is asked for."""
    hints: dict[str, Any] = {}
    if choice.fast_prediction:
        strategy = coremltools().SpecializationStrategy.FastPrediction
        hints["specializationStrategy"] = strategy
    if choice.low_precision_sums:
        hints["allowLowPrecisionAccumulationOnGPU"] = True
    if hints and macos() < HINTED_SYSTEM:
        warn_of_hints(", ".join(hints))
        return None
    return hints or None


@cache
def warn_of_hints(names: str) -> None:
    """Say, once in a process, that a system is too old for hints."""
    wanted = ".".join(map(str, HINTED_SYSTEM))
    message = (
        f"{info.name}: {names} needs macOS {wanted}, and this is {system() or 'none'}; "
        "the model runs without"
    )
    logger.warning(message)
    warnings.warn(message, stacklevel=2)


def _compiled(package: Path, kept: Path | None) -> Path:
    """Return the folder of the compiled model, made if need be: all of it, or nothing.

    Without a place to keep it, it lies beside the package and goes with it.
    """
    made = package.with_suffix(".mlmodelc")
    coremltools().models.utils.compile_model(str(package), str(made))
    if kept is None:
        return made
    temporary = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(made, temporary)
        os.replace(temporary, kept)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        logger.warning("a compiled model is not kept: %s", error)
        return made
    return kept


def load(package: Path, choice: Choice, compiled: Path | None) -> Engine:
    """Load a package with Core ML."""
    return CoreMl(package, choice, compiled)
