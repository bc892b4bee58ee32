"""Wheels, extras and discovery, each in a fresh environment."""

import shutil

import pytest
from environments import IGNORED, ROOT, fresh, run

pytestmark = pytest.mark.packaging

CHECK = (
    "import runtime as ort, importlib.metadata as m\n"
    "assert ort.get_available_providers()[-1] == 'CPUExecutionProvider'\n"
    "assert m.version('runtime') == '1.0.0'\n"
    "from runtime_ep_cpu.choice import outlook\n"
    "assert outlook().startswith('for '), outlook()\n"
)


@pytest.mark.parametrize("extra", ["", "[cpu]", "[cli]", "[all]"])
def test_extras_install_ours_without_an_index(extra, dist, wheelhouse, tmp_path):
    python = fresh(tmp_path / "env")
    run(
        python, "-m", "pip", "install", "-q", "--no-index", "--find-links", dist,
        "--find-links", wheelhouse, f"runtime{extra}",
    )  # fmt: skip
    run(python, "-c", CHECK, cwd=tmp_path)


def test_with_the_index_reachable_ours_win(dist, tmp_path):
    python = fresh(tmp_path / "env")
    run(python, "-m", "pip", "install", "-q", "--find-links", dist, "runtime[all]")
    run(python, "-c", CHECK, cwd=tmp_path)
    told = run(python, "-m", "pip", "show", "runtime", "runtime-ep-cpu")
    assert "execution providers are plugins" in told


def test_a_third_party_plugin_is_found_when_it_is_installed(dist, wheelhouse, tmp_path):
    python = fresh(tmp_path / "env")
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "acme_npu.py").write_text(
        "from runtime.plugin import hookimpl\n"
        "class Npu:\n"
        "    @hookimpl\n"
        "    def get_capability(self, nodes): return []\n"
        "    @hookimpl\n"
        "    def compile(self, partition): raise AssertionError\n"
        "provider = Npu()\n"
    )
    (vendor / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
        "[project]\nname = 'acme-npu'\nversion = '1'\n"
        "[project.entry-points.'runtime.ep']\n"
        "AcmeExecutionProvider = 'acme_npu:provider'\n"
        "[tool.hatch.build.targets.wheel]\ninclude = ['acme_npu.py']\n"
    )
    run(
        python, "-m", "pip", "install", "-q", "--no-index", "--find-links", dist,
        "--find-links", wheelhouse, "runtime",
    )  # fmt: skip
    run(python, "-m", "pip", "install", "-q", "--no-deps", vendor)
    listed = run(
        python,
        "-c",
        "import runtime; print(runtime.get_available_providers())",
        cwd=tmp_path,
    )
    assert listed.strip() == "['AcmeExecutionProvider', 'CPUExecutionProvider']"


def test_uv_sync_makes_an_environment_that_runs(tmp_path):
    uv = shutil.which("uv") or pytest.skip("uv is not installed")
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=IGNORED)
    run(uv, "sync", "-q", cwd=copy, VIRTUAL_ENV="")
    told = run(
        uv, "run", "-q", "python", "-c",
        "import runtime; print(runtime.get_available_providers())",
        cwd=copy, VIRTUAL_ENV="",
    )  # fmt: skip
    assert "CPUExecutionProvider" in told
