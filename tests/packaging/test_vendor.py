"""A vendor's afternoon: a new project, installed and tested where there is no network."""

import functools
import json
import shutil
import subprocess
import tomllib

import pytest
from environments import ROOT, fresh, run

pytestmark = pytest.mark.packaging
EXAMPLE = ROOT / "examples/vendor-ep"
NOWHERE = "http://127.0.0.1:9"
PROBE = (
    "import urllib.request as r\n"
    "try: r.urlopen('https://example.org', timeout=5)\n"
    "except OSError: print('unreachable')\n"
)


@functools.cache
def alone():
    """Return what to put before a command so that it has no network, where permitted."""
    command = ["unshare", "-n", "true"]
    if shutil.which("unshare") is None:
        return []
    done = subprocess.run(command, check=False, capture_output=True)
    return [] if done.returncode else command[:2]


def offline(*command, cwd):
    """Run a command without a network; where that is not permitted, behind no proxy."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), NOWHERE)
    quiet = {"PYTEST_ADDOPTS": "", "PIP_NO_INDEX": "1", "no_proxy": ""}
    return run(*alone(), *command, cwd=cwd, **proxies, **quiet)


@pytest.fixture(scope="module")
def python(dist, wheelhouse, tmp_path_factory):
    """Return the Python of an environment with the runtime and its kit."""
    made = fresh(tmp_path_factory.mktemp("vendor") / "env")
    run(
        made, "-m", "pip", "install", "-q", "--no-index", "--find-links", dist,
        "--find-links", wheelhouse, "runtime[testing]", "hatchling",
    )  # fmt: skip
    return made


def install(python, project, folder):
    offline(
        python, "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation",
        project, cwd=folder,
    )  # fmt: skip


def available(python, folder):
    program = "import runtime; print(*runtime.get_available_providers())"
    return offline(python, "-c", program, cwd=folder).split()


def test_there_is_no_network(python, tmp_path):
    assert offline(python, "-c", PROBE, cwd=tmp_path).strip() == "unreachable"


@pytest.mark.parametrize(
    ("name", "provider", "extra"),
    [
        ("acme", "AcmeExecutionProvider", []),
        ("acme_table", "AcmeTableExecutionProvider", ["--kernel-table"]),
    ],
)
def test_a_new_project_is_found_once_installed_and_passes_its_tests(
    name, provider, extra, python, tmp_path
):
    assert provider not in available(python, tmp_path)
    command = python.with_name(f"runtime{python.suffix}")
    offline(command, "ep", "new", name, "--directory", "new", *extra, cwd=tmp_path)
    project = tmp_path / "new"
    install(python, project, tmp_path)
    assert provider in available(python, tmp_path)
    told = offline(command, "ep", "list", cwd=tmp_path)
    assert provider in told
    told = offline(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in told
    assert "failed" not in told


def test_the_example_is_what_an_installed_runtime_writes(python, tmp_path):
    """The templates are in the wheel, and say what the checkout's say."""
    program = (
        "import json; from runtime.cli.ep.scaffold import Project;"
        "print(json.dumps(Project('acme').files()))"
    )
    files = json.loads(offline(python, "-c", program, cwd=tmp_path))
    for path, text in files.items():
        assert (EXAMPLE / path).read_text(encoding="utf-8") == text


def test_a_plugin_that_is_taken_away_is_gone(python, tmp_path):
    metadata = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    name = metadata["project"]["name"]
    if "AcmeExecutionProvider" not in available(python, tmp_path):
        shutil.copytree(EXAMPLE, tmp_path / "copy")
        install(python, tmp_path / "copy", tmp_path)
    assert "AcmeExecutionProvider" in available(python, tmp_path)
    offline(python, "-m", "pip", "uninstall", "-q", "-y", name, cwd=tmp_path)
    assert "AcmeExecutionProvider" not in available(python, tmp_path)
