"""What a container, or a service, may use of the processors: Linux's control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cpus(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Return how many processors' time this process may take, ``None`` for no limit.

    The least of what its group and those around it are granted counts, of either version
    of control groups. ``own`` lists the groups of the process (cgroups(7)).
    """
    found = [granted for group in _groups(root, own) if (granted := _granted(group))]
    return min(found, default=None)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Yield the process's groups and those around them, as far as they can be seen."""
    yield root
    yield root / "cpu"
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        group = Path(path.strip("/"))
        while group.parts:
            yield base / group
            group = group.parent


def _granted(group: Path) -> float | None:
    for read in (_version_2, _version_1):
        try:
            quota, period = read(group)
            return quota / period if quota > 0 < period else None
        except (OSError, ValueError):
            continue
    return None


def _version_2(group: Path) -> tuple[int, int]:
    quota, period = (group / "cpu.max").read_text().split()
    return (0, 1) if quota == "max" else (int(quota), int(period))


def _version_1(group: Path) -> tuple[int, int]:
    quota = int((group / "cpu.cfs_quota_us").read_text())
    return quota, int((group / "cpu.cfs_period_us").read_text())
