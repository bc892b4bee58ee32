"""The probe finds a driver, its devices and the libraries in files, or says what is missing."""

import os
import struct
import timeit
from pathlib import Path

import pytest
from runtime.plugin import Device
from runtime_ep_cuda.libraries import NEEDED, Libraries
from runtime_ep_cuda.probe import Card, Machine, present, probe, visible

UUIDS = ("GPU-11111111-aaaa", "GPU-22222222-bbbb")
VERSIONS = {
    "cupy-cuda13x": "14.2.0",
    "nvidia-cuda-nvrtc": "13.5.37",
    "nvidia-cuda-runtime": "13.5.37",
    "nvidia-cuda-crt": "13.5.37",
    "nvidia-cublas": "13.10.0.20",
    "nvidia-cudnn-cu13": "9.19.0.56",
    "nvidia-cudnn-frontend": "1.28.0",
}
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Sep 30 2025"


class Fake:
    """A machine made of files."""

    def __init__(self, root):
        self.root = root / "machine"
        self.site = root / "site-packages"
        self.environ = {}
        self.versions = dict(VERSIONS)
        self.packages = {"cupy", "cudnn"}
        self.system = "linux"

    def write(self, path, text=""):
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text)
        return at

    def driver(
        self, version="580.95.05", text=OPEN, folder="/usr/lib/x86_64-linux-gnu"
    ):
        self.write("/proc/driver/nvidia/version", text.format(version))
        real = self.write(f"{folder}/libcuda.so.{version}")
        (real.parent / "libcuda.so.1").symlink_to(real.name)
        return self

    def cards(self, count=1):
        self.write("/dev/nvidiactl")
        for number in range(count):
            self.write(f"/dev/nvidia{number}")
            self.write(
                f"/proc/driver/nvidia/gpus/0000:{number:02}:00.0/information",
                f"Model: \t\t NVIDIA H{number}00\nIRQ:   \t\t 12\n"
                f"GPU UUID: \t {UUIDS[number]}\nDevice Minor: \t {number}\n",
            )
        return self

    def wheels(self, *without):
        for needed in NEEDED:
            if needed.folder and needed.file not in without:
                path = self.site / needed.folder / needed.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return self

    def probe(self):
        libraries = Libraries(
            lambda: [self.site],
            self.packages.__contains__,
            lambda name: self.versions.get(name, ""),
            self.environ,
            self.system,
        )
        return probe(Machine(self.root, self.environ, self.system, "x86_64", libraries))


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


@pytest.fixture
def whole(fake):
    return fake.driver().cards(2).wheels()


def test_a_whole_installation_has_its_devices_and_versions(whole):
    found = whole.probe()
    assert found.usable, found
    assert found.devices == (Device("cuda", 0), Device("cuda", 1))
    assert found.details["driver"] == "580.95.05"
    assert found.details["cuda:1"] == "NVIDIA H100"
    assert found.details["nvidia-cudnn-cu13"] == "9.19.0.56"


def test_without_a_driver_its_page_is_told(fake):
    found = fake.wheels().probe()
    assert found.reason == "no NVIDIA driver is loaded"
    assert "https://www.nvidia.com/drivers" in found.remedy


def test_a_driver_without_its_library_is_told_with_containers(fake):
    fake.write("/proc/driver/nvidia/version", OPEN.format("580.1"))
    found = fake.cards().probe()
    assert found.reason == "the driver's library libcuda.so.1 is not found"
    assert "docker run --gpus all" in found.remedy


@pytest.mark.parametrize("text", [OPEN, CLOSED])
def test_an_old_driver_is_told(fake, text):
    found = fake.driver("550.54.15", text).cards().wheels().probe()
    assert (
        found.reason == "the NVIDIA driver is 550.54.15, and CUDA 13 needs 580 or newer"
    )


def test_a_library_without_a_version_in_its_name_takes_the_drivers(fake):
    fake.write("/proc/driver/nvidia/version", CLOSED.format("535.1.2"))
    fake.write("/usr/lib64/libcuda.so.1")
    assert "535.1.2" in fake.cards().wheels().probe().reason


def test_a_compatibility_library_runs_on_an_older_kernel_module(fake):
    fake.driver("550.54.15").cards().wheels()
    real = fake.write("/usr/local/cuda/compat/libcuda.so.580.65.06")
    (real.parent / "libcuda.so.1").symlink_to(real.name)
    assert fake.probe().details["driver"] == "580.65.06"
    assert fake.probe().usable


def test_the_linkers_list_and_its_path_are_searched(fake):
    fake.driver(folder="/opt/odd/lib").cards().wheels()
    assert not fake.probe().usable
    fake.write("/etc/ld.so.cache").write_bytes(
        b"ld.so-1.7.0" + struct.pack("I", 1) + b"\0libcuda.so.1\0"
        b"/opt/odd/lib/libcuda.so.1\0/lib/other.so\0"
    )
    assert fake.probe().usable
    fake.write("/etc/ld.so.cache")
    fake.environ["LD_LIBRARY_PATH"] = "/nowhere:/opt/odd/lib"
    assert fake.probe().usable


def test_a_driver_without_a_device_is_told(fake):
    fake.write("/dev/nvidiactl")
    found = fake.driver().wheels().probe()
    assert "there is no GPU" in found.reason
    assert "--gpus all" in found.remedy


@pytest.mark.parametrize("asked", ["-1", "", "7", "GPU-3", "nonsense"])
def test_hidden_devices_are_told(whole, asked):
    whole.environ["CUDA_VISIBLE_DEVICES"] = asked
    found = whole.probe()
    assert found.reason == f"CUDA_VISIBLE_DEVICES is {asked!r}, which leaves no GPU"
    assert "CUDA_VISIBLE_DEVICES=0" in found.remedy


CARDS = [Card(f"card {n}", uuid) for n, uuid in enumerate(UUIDS)]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [1, 0]),
        ("0,-1,1", [0]),
        ("0,5,1", [0]),
        ("GPU-22222222", [1]),
        ("GPU-2, GPU-1", [1, 0]),
        ("GPU-", []),
        ("0,0", [0]),
    ],
)
def test_devices_are_chosen_as_cuda_does(asked, left):
    assert visible(CARDS, asked) == [CARDS[n] for n in left]


def test_a_part_of_a_device_counts_as_one():
    assert len(visible(CARDS, "MIG-1234")) == 1


def test_devices_of_other_containers_are_not_there(fake):
    fake.driver().cards(2).wheels()
    os.unlink(fake.root / "dev/nvidia0")
    machine = Machine(fake.root, {}, "linux", "x86_64")
    assert present(machine) == [Card("NVIDIA H100", UUIDS[1])]


def test_windows_subsystem_has_a_device_of_its_own(fake):
    fake.write("/dev/dxg")
    fake.write("/usr/lib/wsl/lib/libcuda.so.1")
    found = fake.wheels().probe()
    assert found.devices == (Device("cuda", 0),)


def test_windows_is_asked_for_its_library(fake, tmp_path):
    fake.system = "win32"
    fake.environ["SystemRoot"] = str(tmp_path / "Windows")
    assert "nvcuda.dll is not found" in fake.probe().reason
    at = tmp_path / "Windows/System32/nvcuda.dll"
    at.parent.mkdir(parents=True)
    at.touch()
    found = fake.probe()
    assert "libcudnn.so.9" in found.reason or "cudnn64_9.dll" in found.reason


def test_macos_has_no_cuda(fake):
    fake.system = "darwin"
    assert fake.probe().reason == "there is no CUDA for macOS"


@pytest.mark.parametrize(
    "needed", [n for n in NEEDED if n.folder], ids=lambda n: n.file
)
def test_a_missing_file_is_named_with_what_brings_it(fake, needed):
    found = fake.driver().cards().wheels(needed.file).probe()
    assert found.reason == f"{needed.file} is not installed"
    assert found.remedy == f'pip install "{needed.requirement}"'


def test_a_missing_package_and_a_wrong_release_are_named(whole):
    whole.packages.discard("cupy")
    whole.versions["nvidia-cudnn-frontend"] = "1.32.0"
    found = whole.probe()
    assert found.reason == (
        "cupy is not installed; nvidia-cudnn-frontend 1.32.0 is installed, and a release "
        "from 1.28 to before 1.29 is needed"
    )
    assert found.remedy == (
        'pip install "cupy-cuda13x>=14.2,<15" "nvidia-cudnn-frontend>=1.28,<1.29"'
    )


def test_a_toolkit_of_the_system_will_do(whole, tmp_path):
    del whole.versions["nvidia-cuda-nvrtc"]
    os.unlink(whole.site / "nvidia/cu13/lib/libnvrtc.so.13")
    assert "libnvrtc.so.13" in whole.probe().reason
    home = tmp_path / "cuda/lib64"
    home.mkdir(parents=True)
    (home / "libnvrtc.so.13").touch()
    whole.environ["CUDA_HOME"] = str(home.parent)
    assert whole.probe().usable


def test_what_is_needed_is_what_the_package_depends_on():
    import tomllib

    folder = Path(__file__).parents[2] / "plugins/ep-cuda"
    declared = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    asked = {text.partition(";")[0] for text in declared["dependencies"]}
    for needed in NEEDED:
        assert needed.requirement in asked


def test_this_machine_is_probed_in_time_and_without_a_trace():
    assert min(timeit.repeat(probe, repeat=5, number=1)) < 0.05
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "libcuda.so" not in maps.read_text()
