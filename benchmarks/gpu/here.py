"""Where the check runs: this checkout without being installed, a GPU or the host's double."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests/ep_cuda"
SOURCES = {
    ROOT / "core": ROOT / "pyproject.toml",
    ROOT / "plugins/ep-cpu": ROOT / "plugins/ep-cpu/pyproject.toml",
    ROOT / "plugins/ep-cuda": ROOT / "plugins/ep-cuda/pyproject.toml",
}
"""Where the packages lie, and what describes them."""


@dataclass(frozen=True)
class Place:
    """What a part is told: where to write, how long it may take, and on what it runs.

    ``dry`` is a run on the double, where sizes are tiny and numbers mean nothing.
    """

    folder: Path
    left: Callable[[], float]
    dry: bool = False
    models: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()
    search: str = "EXHAUSTIVE"
    known: frozenset[str] = frozenset()
    """Lines of a table that an earlier run has measured."""

    save: Callable[[Mapping[str, Any]], None] = lambda found: None
    """Keeps what was found so far, should the part be ended."""

    card: Mapping[str, Any] = field(default_factory=dict)
    """What the part `card` has found, if it has."""


def described(folder: Path) -> Path:
    """Write what pip would know of the packages, so that their entry points are found."""
    made = folder / "described"
    for path in SOURCES.values():
        project = tomllib.loads(path.read_text())["project"]
        name, version = project["name"], project["version"]
        info = made / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(head)
        groups = project.get("entry-points", {})
        lines = [
            f"[{group}]\n"
            + "".join(f"{key} = {value}\n" for key, value in rows.items())
            for group, rows in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
    return made


def environment(folder: Path) -> dict[str, str]:
    """Return the variables by which a process finds this checkout, installed or not."""
    places = [ROOT, *SOURCES, described(folder)]
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*map(str, places), *([before] if before else [])])
    return {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "RUNTIME_CACHE_DIR": str(folder / "cache"),
    }


def with_tests() -> None:
    """Have the tests' own modules importable: examples of kernels, the double, the stub."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))


@contextmanager
def provider(dry: bool) -> Iterator[None]:
    """Have the CUDA provider on a GPU, or on the double."""
    if not dry:
        yield
        return
    with_tests()
    from double.host import HostDriver
    from on_the_double import registered
    from runtime_ep_cuda import devices

    with devices.replaced(HostDriver), registered():
        yield


def device() -> Any:
    """Return the driver that sessions use."""
    from runtime_ep_cuda import devices

    return devices.device(0).driver


def hasten(driver: Any, most: int, compiled: int) -> None:
    """Have cuDNN build few plans, as each that it compiles takes half a second."""
    library = getattr(driver, "_library", None)  # the double has none
    if library is not None:
        library.cudnn.most, library.cudnn.most_compiled = most, compiled


def used() -> int | None:
    """Return the bytes of the card that are taken, as its driver tells; None if it does not."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return int(told.stdout.split()[0]) << 20 if told.returncode == 0 else None
    return None


def said() -> dict[str, str]:
    """Return what nvidia-smi says of the card."""
    fields = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit,memory.total"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = told.stdout.splitlines()[0].split(", ") if told.stdout else []
    return dict(zip(fields.split(","), values, strict=False))
