"""An Arm machine without one: a Python for AArch64 in a folder, run by QEMU.

Needs Linux with apt-get and dpkg-deb (Debian, Ubuntu), the keyring of Debian's archive,
and pip; neither root nor anything installed. Python and its libraries are Debian's, wheels are
PyPI's, about 250 MB to fetch once; whatever is there already is used::

    python tests/arm/machine.py FOLDER -m pytest tests/arm
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
RELEASE = "bookworm"
"""Of Debian. Its archive is the one that this machine's apt has for it."""
PYTHON = "3.11"
"""Of that release."""
PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6")
GLIBC = 36
"""Minor version of that release's C library: the newest wheels it can load."""
PROCESSOR = "neoverse-n1"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")

CPUINFO = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
"""  # noqa: E501
"""What Linux says of a Neoverse N1; libraries would read that of the real processor."""


def archive() -> str:
    """Return where packages of the release are, as a line of apt's sources ends."""
    listed = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
    ]
    found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    wanted = [line for line in found.splitlines() if line.endswith(f" {RELEASE} main")]
    if not wanted:
        raise SystemExit(
            f"this machine's apt has no archive of Debian's {RELEASE}; add one to its "
            "sources and update them"
        )
    return wanted[0]


class Machine:
    """A folder with an emulator and what it runs, made by `make` where it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.root = self.folder / "root"
        self.wheels = self.folder / "wheels"
        self.ours = self.folder / "ours"

    def make(self) -> None:
        """Fetch what is missing, and install the checkout as it is now."""
        if not KEYRING.exists() or shutil.which("apt-get") is None:
            raise SystemExit(
                f"an emulated Arm machine is made of Debian's packages: apt-get and {KEYRING} "
                "(package debian-archive-keyring) are needed"
            )
        self._once("emulator", self._fetch_emulator)
        self._once("system", self._fetch_system)
        self._once(f"wheels-{hash_of(requirements())}", self._fetch_wheels)
        shutil.rmtree(self.ours, ignore_errors=True)
        sources = [str(REPOSITORY), str(REPOSITORY / "plugins" / "ep-cpu")]
        _pip("--no-deps", "--target", str(self.ours), *sources)

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs Arm's Python with some arguments."""
        packages = os.pathsep.join(map(str, (self.ours, self.wheels)))
        environment = {
            "PYTHONHOME": self.root / "usr",
            "PYTHONPATH": packages,
            "PYTHONPYCACHEPREFIX": self.folder / "pycache",
            "RUNTIME_CACHE_DIR": self.folder / "cache",
            "RUNTIME_NUM_THREADS": "2",
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        return [
            str(self._emulator()),
            *("-L", str(self.root), "-cpu", PROCESSOR),
            *(word for setting in settings for word in ("-E", setting)),
            str(self.root / "usr" / "bin" / f"python{PYTHON}"),
            *arguments,
        ]

    def _once(self, name: str, make: Callable[[], None]) -> None:
        done = self.folder / f"{name}.done"
        if not done.exists():
            make()
            done.touch()

    def _emulator(self) -> Path:
        own = self.folder / "emulator" / "usr" / "bin" / EMULATORS[0]
        found = [path for path in map(shutil.which, EMULATORS) if path]
        return Path(found[0]) if found else own

    def _fetch_emulator(self) -> None:
        if any(map(shutil.which, EMULATORS)):
            return
        here = _output("dpkg", "--print-architecture").strip()
        archives = self._packages("emulator", here, "qemu-user-static")
        _unpack(archives, self.folder / "emulator")

    def _fetch_system(self) -> None:
        _unpack(self._packages("system", "arm64", *PACKAGES), self.root)
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc" / "cpuinfo").write_text(CPUINFO)

    def _packages(self, name: str, architecture: str, *packages: str) -> list[Path]:
        """Download packages and all that they depend on, as if nothing were installed."""
        home = self.folder / f"apt-{name}"
        for part in ("lists/partial", "archives/partial", "etc/preferences.d"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "status").touch()
        sources = home / "sources.list"
        sources.write_text(
            f"deb [arch={architecture} signed-by={KEYRING}] {archive()}\n"
        )
        configuration = home / "apt.conf"
        configuration.write_text(
            f'APT::Architecture "{architecture}";\n'
            f'APT::Architectures {{ "{architecture}"; }};\n'
            'APT::Sandbox::User "";\n'
            'Acquire::Languages "none";\n'
            f'Dir::State "{home}";\n'
            f'Dir::State::status "{home}/status";\n'
            f'Dir::Cache "{home}";\n'
            f'Dir::Etc::sourcelist "{sources}";\n'
            'Dir::Etc::sourceparts "-";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(configuration)}
        for command in (
            ["update", "-q"],
            ["install", "-qq", "-y", "-d", "--no-install-recommends", *packages],
        ):
            subprocess.run(["apt-get", *command], env=environment, check=True)
        return sorted((home / "archives").glob("*.deb"))

    def _fetch_wheels(self) -> None:
        shutil.rmtree(self.wheels, ignore_errors=True)
        tags = ["manylinux2014", *(f"manylinux_2_{n}" for n in range(17, GLIBC + 1))]
        _pip(
            *(word for tag in tags for word in ("--platform", f"{tag}_aarch64")),
            *("--python-version", PYTHON, "--only-binary", ":all:"),
            *("--target", str(self.wheels), "-c", str(REPOSITORY / "constraints.txt")),
            *requirements(),
        )


def requirements() -> list[str]:
    """Return what the engine, the CPU provider and their tests need."""
    names = ("pyproject.toml", "plugins/ep-cpu/pyproject.toml")
    read = [tomllib.loads((REPOSITORY / name).read_text()) for name in names]
    wanted = [line for each in read for line in each["project"]["dependencies"]]
    wanted += read[0]["dependency-groups"]["test"]
    found = {line.partition(";")[0].strip() for line in wanted}
    return sorted(line for line in found if not line.startswith("runtime-ep-cpu"))


def hash_of(words: list[str]) -> str:
    """Return a short name for a list of words."""
    return hashlib.blake2b(repr(words).encode(), digest_size=6).hexdigest()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
    subprocess.run([*command, *arguments], check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _unpack(archives: list[Path], folder: Path) -> None:
    for archive in archives:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)


def main() -> int:
    """Make the machine and run its Python; return the exit status."""
    folder, *arguments = sys.argv[1:]
    if platform.system() != "Linux":
        raise SystemExit("QEMU runs programs for Linux on Linux only")
    machine = Machine(Path(folder))
    machine.make()
    return subprocess.run(machine.command(*arguments), cwd=REPOSITORY).returncode


if __name__ == "__main__":
    sys.exit(main())
