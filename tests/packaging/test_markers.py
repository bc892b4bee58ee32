"""What is large comes along where there are wheels of it, and nowhere else."""

import tomllib

import pytest
from environments import ROOT
from packaging.requirements import Requirement

LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}


def wanted(name="llvmlite", plugin="ep-cpu", **differences):
    """Whether a provider's distribution asks for a package in an environment."""
    environment = {
        "platform_python_implementation": "CPython",
        "python_version": "3.12",
        **LINUX,
        **differences,
    }
    text = (ROOT / "plugins" / plugin / "pyproject.toml").read_text(encoding="utf-8")
    found = map(Requirement, tomllib.loads(text)["project"]["dependencies"])
    mine = [one for one in found if one.name == name]
    return sum(one.marker.evaluate(environment) for one in mine)


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("linux", "x86_64"),
        ("linux", "aarch64"),
        ("darwin", "arm64"),
        ("win32", "AMD64"),
    ],
)
@pytest.mark.parametrize("python", ["3.11", "3.14", "3.15"])
def test_where_there_are_wheels_it_is_installed(platform, machine, python):
    there = {"sys_platform": platform, "platform_machine": machine}
    assert wanted(**there, python_version=python) == 1


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"platform_machine": "riscv64"},
        {"platform_machine": "ppc64le"},
        {"sys_platform": "darwin", "platform_machine": "x86_64"},
        {"sys_platform": "win32", "platform_machine": "ARM64"},
        {"sys_platform": "freebsd14", "platform_machine": "amd64"},
        {"platform_python_implementation": "PyPy"},
        {"python_version": "3.16"},
    ],
)
def test_where_there_are_none_it_is_not_asked_for(elsewhere):
    assert wanted(**elsewhere) == 0


def wants_coremltools(**differences):
    return wanted("coremltools", "ep-coreml", **differences) == 1


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    ("platform", "machine"),
    [("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "x86_64")],
)
def test_coremltools_is_installed_where_there_are_wheels(platform, machine, python):
    there = {"sys_platform": platform, "platform_machine": machine}
    assert wants_coremltools(**there, python_version=python)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"platform_machine": "aarch64"},
        {"sys_platform": "win32", "platform_machine": "AMD64"},
        {"platform_python_implementation": "PyPy"},
        {"python_version": "3.14"},
    ],
)
def test_coremltools_is_not_asked_for_elsewhere(elsewhere):
    assert not wants_coremltools(**elsewhere)


@pytest.mark.parametrize(("platform", "there"), [("darwin", True), ("linux", False)])
def test_all_brings_core_ml_to_macs(platform, there):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    (found,) = (r for r in map(Requirement, extras["all"]) if "coreml" in r.name)
    assert found.marker.evaluate({"sys_platform": platform}) is there


CUDA = (
    "cupy-cuda13x",
    "nvidia-cuda-nvrtc",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-frontend",
)


@pytest.mark.parametrize("library", CUDA)
@pytest.mark.parametrize(
    ("platform", "machine", "asked"),
    [
        ("linux", "x86_64", 1),
        ("linux", "aarch64", 1),
        ("win32", "AMD64", 1),
        ("win32", "ARM64", 0),
        ("darwin", "arm64", 0),
        ("linux", "riscv64", 0),
    ],
)
def test_cudas_libraries_are_asked_for_where_there_are_wheels(
    library, platform, machine, asked
):
    there = {"sys_platform": platform, "platform_machine": machine}
    assert wanted(library, "ep-cuda", **there) == asked


def test_all_leaves_cuda_out():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert not any("cuda" in requirement for requirement in extras["all"])
    assert extras["cuda"] == ["runtime-ep-cuda~=1.0"]
