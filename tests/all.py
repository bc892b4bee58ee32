"""Installs this checkout into a fresh environment and runs lint, types and tests there.

Needs Python and nothing else: ``python tests/all.py``. Set ``RUNTIME_TEST_ENV`` to keep
the environment in a folder of your own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = "not slow and not packaging"
NATIVE = ["-p", "runtime_ep_cpu.native", "-p", "runtime_ep_cpu.codegen"]


def requirements(group: str, groups: dict[str, list]) -> list[str]:
    """Return a dependency group's requirements, included groups resolved."""
    found: list[str] = []
    for entry in groups[group]:
        if isinstance(entry, dict):
            found += requirements(entry["include-group"], groups)
        else:
            found.append(entry)
    return found


def environment(folder: Path) -> Path:
    """Create an environment with this checkout and its test tools; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    tools = [
        requirement
        for group in ("test", "lint", "types", "peers")
        for requirement in requirements(group, groups)
    ]
    install = [python, "-m", "pip", "install", "--quiet"]
    ours = ["-c", "constraints.txt", "-e", ".", "-e", "plugins/ep-cpu"]
    subprocess.run([*install, *ours, *tools], cwd=ROOT, check=True)
    without = ["-e", "plugins/ep-cuda", "-e", "plugins/ep-tensorrt"]
    nothing = [*install, "--no-deps"]  # their libraries are large
    subprocess.run([*nothing, *without], cwd=ROOT, check=True)
    return python


def main() -> int:
    """Run every check; stop at the first that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("RUNTIME_TEST_ENV") or temporary)
        python = environment(folder)
        tools = python.parent
        checks = [
            [tools / "ruff", "check", "."],
            [tools / "ruff", "format", "--check", "."],
            [tools / "lint-imports"],
            [python, "-m", "mypy", "core/runtime"],
            [python, "-m", "mypy", *NATIVE],
            [python, "-m", "mypy", "-p", "runtime_ep_cuda"],
            [python, "-m", "mypy", "-p", "runtime_ep_tensorrt"],
            [python, "-m", "pytest", "-q", "-n", "2", "-m", QUICK, *sys.argv[1:]],
        ]
        for check in checks:
            sys.stdout.write(f"\n== {' '.join(str(part) for part in check[:4])}\n")
            sys.stdout.flush()
            code = subprocess.run(check, cwd=ROOT, check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
