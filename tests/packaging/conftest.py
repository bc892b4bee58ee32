"""Our wheels and those ours need, made once, to install from without an index."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from environments import IGNORED, ROOT, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """Our wheels, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT, copy, ignore=IGNORED)
    plugins = sorted((copy / "plugins").iterdir())
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, copy, *plugins)
    return folder


@pytest.fixture(scope="session")
def wheelhouse(dist, tmp_path_factory):
    """Third-party wheels that ours, and projects of vendors, need."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    run(
        sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:",
        "-d", folder, "numpy>=2", "onnx>=1.19", "ml_dtypes>=0.5", "pluggy>=1.5",
        "rich>=13", "openvino>=2026.4", "threadpoolctl>=3.5", "llvmlite>=0.48", "pytest>=8",
        "hypothesis>=6.100", "hatchling>=1.27",
    )  # fmt: skip
    return folder
