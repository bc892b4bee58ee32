"""Whether TensorRT can run here is told from files, and what is missing by its name."""

import subprocess
import sys

import pytest
from runtime.plugin import Device, Probe
from runtime_ep_tensorrt.info import info
from runtime_ep_tensorrt.probe import Machine, probe

GPU = Probe((Device("cuda", 0),), details={"driver": "580.1"})
FOLDER = "usr/lib/x86_64-linux-gnu"


def machine(tmp_path, version="11.4.0.106", libraries=(), folder=FOLDER, **changes):
    """Return a machine with bindings of a version, and some libraries in a folder."""
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in libraries:
        (place / name).touch()
    parts = {
        "root": tmp_path,
        "environ": {},
        "system": "linux",
        "processor": "x86_64",
        "is_package": lambda name: bool(version) and name == "tensorrt",
        "version": lambda: version,
        "wheel": lambda: (),
        "cuda": lambda: GPU,
    }
    return Machine(**{**parts, **changes})


def libraries(major):
    return [f"lib{n}.so.{major}" for n in ("nvinfer", "nvinfer_plugin", "nvonnxparser")]


@pytest.mark.parametrize(("version", "major"), [("11.4.0.106", 11), ("10.16.1.11", 10)])
def test_with_everything_there_it_is_usable_on_the_devices_of_cuda(
    tmp_path, version, major
):
    found = probe(machine(tmp_path, version, libraries(major)))
    assert found.usable
    assert found.devices == GPU.devices
    assert found.details == {"driver": "580.1", "tensorrt": version}


def test_without_the_package_it_says_how_to_get_it(tmp_path):
    found = probe(machine(tmp_path, ""))
    assert found.reason == "the tensorrt package is not installed"
    assert 'pip install "tensorrt-cu13>=10.13,<12"' in found.remedy


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "12.0.0"])
def test_a_version_that_will_not_do_is_named(tmp_path, version):
    found = probe(machine(tmp_path, version))
    assert found.reason == (
        f"tensorrt {version} is installed, and 10.13 to before 12 is needed"
    )
    assert "pip install" in found.remedy


def test_each_missing_library_is_named_as_it_is_looked_for(tmp_path):
    found = probe(machine(tmp_path, "10.16.1.11", libraries(10)[:2]))
    assert found.reason == "libnvonnxparser.so.10 is not found"
    assert 'pip install "tensorrt-cu13-libs==10.16.1.11"' in found.remedy
    assert "LD_LIBRARY_PATH" in found.remedy
    none = probe(machine(tmp_path / "other", "11.4.0.106", libraries(10)))
    assert none.reason == (
        "libnvinfer.so.11, libnvinfer_plugin.so.11, libnvonnxparser.so.11 are not found"
    )


def test_libraries_are_found_in_the_wheel_the_path_and_the_linkers_list(tmp_path):
    names = libraries(11)
    wheel = tmp_path / "site/tensorrt_libs"
    found = machine(
        tmp_path, libraries=names, folder="site/tensorrt_libs", wheel=lambda: (wheel,)
    )
    assert probe(found).usable
    named = machine(tmp_path, environ={"LD_LIBRARY_PATH": f"/x:{wheel}"})
    assert probe(named).usable
    listed = machine(tmp_path / "listed")
    (tmp_path / "listed/etc").mkdir()
    data = b"\0".join(b"/opt/trt/" + name.encode() for name in names) + b"\0"
    (tmp_path / "listed/etc/ld.so.cache").write_bytes(data)
    assert not probe(listed).reason.startswith("lib")


def test_on_windows_libraries_have_other_names(tmp_path):
    names = [n.removeprefix("lib").replace(".so.11", "_11.dll") for n in libraries(11)]
    place = tmp_path / "bin"
    found = machine(
        tmp_path, "11.4.0.106", names, "bin", system="win32",
        environ={"PATH": str(place)},
    )  # fmt: skip
    assert probe(found).usable
    missing = machine(tmp_path, "11.4.0.106", system="win32")
    assert "nvinfer_11.dll" in probe(missing).reason


def test_what_stands_against_cuda_stands_against_it(tmp_path):
    none = Probe(reason="no NVIDIA driver is loaded", remedy="install one")
    found = probe(machine(tmp_path, libraries=libraries(11), cuda=lambda: none))
    assert not found.usable
    assert found.reason == none.reason
    assert found.remedy == none.remedy
    assert found.details == {"tensorrt": "11.4.0.106"}


def test_listing_the_provider_imports_nothing_heavy():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from runtime_ep_tensorrt.info import info\n"
        "info.probe()\n"
        "heavy = {'onnx', 'tensorrt', 'tensorrt_bindings', 'onnx_graphsurgeon', 'cupy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_description_is_of_one_provider_on_cuda():
    assert info.name == "TensorrtExecutionProvider"
    assert info.device_kinds == ("cuda",)
