"""coremltools, imported once and quietly; one thread at a time writes programs with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

_lock = threading.RLock()


@contextmanager
def writing() -> Iterator[None]:
    """Hold coremltools' global state, its progress bars and warnings switched off."""
    with _lock:
        logger = logging.getLogger("coremltools")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with _without_progress(), np.errstate(all="ignore"):
                yield
        finally:
            logger.setLevel(level)


@contextmanager
def _without_progress() -> Iterator[None]:
    coremltools()
    from coremltools.converters.mil.mil.passes import pass_pipeline
    from coremltools.optimize.coreml import _quantization_passes

    modules = (pass_pipeline, _quantization_passes)
    shown = [module.tqdm for module in modules]
    for module in modules:
        module.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        for module, tqdm in zip(modules, shown, strict=True):
            module.tqdm = tqdm


@cache
def coremltools() -> Any:
    """Return the package; what it says about libraries of other systems is not shown."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import coremltools
    finally:
        logger.setLevel(level)
    return coremltools


def target(number: int) -> Any:
    """Return the release of iOS whose operations a program may use."""
    return getattr(coremltools().target, f"iOS{number}")


def first_line(error: BaseException) -> str:
    """Return the line of coremltools' message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
