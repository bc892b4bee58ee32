"""`runtime ep`: who is installed and usable, the kit's command line, new projects."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from doubles import Choosy
from runtime.cli.ep import test as ep_test
from runtime.cli.ep.scaffold import Project
from runtime.cli.exits import Exit
from runtime.plugin import Option, Probe, ProviderInfo

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/vendor-ep"
ACME = "AcmeExecutionProvider"


class Described:
    """A provider of which only the description matters."""

    def __init__(self, name, **fields):
        self.info = ProviderInfo(name, **fields)


FOO = Described(
    "FooExecutionProvider",
    aliases=("foo",),
    vendor="Foo Works",
    version="2.5",
    install="pip install foo-ep",
    probe=lambda: Probe(reason="libfoo.so.13 not found", remedy="install the driver"),
    options={
        "level": Option(("low", "high"), "low", "how much", {"LO": "low"}),
        "streams": Option(int, 1, "how many at once"),
    },
)


# runtime ep list


def test_list_says_who_is_usable_and_why_not(call, registered):
    registered(FOO)
    result = call("ep", "list")
    assert result.code == Exit.OK
    rows = {line.split()[0]: line for line in result.out.splitlines()}
    cpu, foo = rows["CPUExecutionProvider"], rows["FooExecutionProvider"]
    assert cpu.split()[1:4] == ["cpu", "1.0.0", "yes"]
    assert foo.split()[1:4] == ["foo", "2.5", "NO"]
    assert foo.endswith("libfoo.so.13 not found; install the driver")


def test_list_names_what_is_not_installed_when_asked(call):
    assert "QNNExecutionProvider" not in call("ep", "list").out
    assert "QNNExecutionProvider" in call("ep", "list", "--all").out
    data = call("ep", "list", "--json").data
    assert "CPUExecutionProvider" in [one["name"] for one in data["installed"]]
    (qnn,) = [o for o in data["not_installed"] if o["name"] == "QNNExecutionProvider"]
    assert qnn["reason"] == "it is not installed"
    assert "install" in qnn["install"]


def test_list_loads_no_provider(tmp_path):
    """One whose module cannot even be imported is listed, by its description."""
    install(tmp_path, {"broken.py": "raise ImportError", "light.py": LIGHT})
    program = (
        "import sys; from runtime.cli import main; main(['ep', 'list', '--json']);"
        "assert 'broken' not in sys.modules"
    )
    done = in_process(tmp_path, "-c", program)
    (one,) = [o for o in json.loads(done.stdout)["installed"] if o["name"] == ACME]
    assert (one["usable"], one["devices"]) == (True, ["acme:0"])


# runtime ep info


def test_info_describes_options_by_type_default_and_meaning(call, registered):
    registered(FOO)
    result = call("ep", "info", "foo")
    assert result.code == Exit.OK
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "level low | high 'low' how much (LO = low)" in lines
    assert "streams int 1 how many at once" in lines
    assert "provider API 1.0 to 1.999 (this runtime: 1.0)" in lines
    assert "usable NO, libfoo.so.13 not found" in lines
    data = call("ep", "info", "FOO", "--json").data
    assert data["options"]["level"] == {
        "type": "low | high",
        "default": "low",
        "help": "how much",
        "aliases": {"LO": "low"},
    }


def test_info_of_who_is_not_there(call):
    assert call("ep", "info", "qnn").code == Exit.PROVIDER
    result = call("ep", "info", "cpuu")
    assert result.code == Exit.USAGE
    assert "did you mean 'CPU'" in result.err


# runtime ep test


@pytest.fixture
def pytest_call(monkeypatch):
    """Stand in for pytest: remember its arguments, write results, end with a code."""
    calls = []

    def arrange(code, results=""):
        def run(command, **keywords):
            calls.append((command, keywords))
            path = next(a for a in command if a.startswith("--junit-xml="))
            Path(path.removeprefix("--junit-xml=")).write_text(results)
            return subprocess.CompletedProcess(command, code, "pytest's own output\n")

        monkeypatch.setattr(ep_test.subprocess, "run", run)
        return calls

    return arrange


def test_the_kit_gets_the_provider_the_cpu_and_what_was_asked(call, pytest_call):
    calls = pytest_call(0)
    Path("xfails.txt").write_text("")
    result = call(
        "ep", "test", "cpu:a=1,b=2", "-k", "contract", "--xfails", "xfails.txt",
        "--junit-xml", "out.xml", "--capabilities", "can.json",
        "--support-matrix", "can.md",
    )  # fmt: skip
    assert result.code == Exit.OK
    ((command, _),) = calls
    told = " ".join(command)
    assert "-m pytest -p runtime.testing.plugin --pyargs runtime.testing" in told
    assert "--ep CPUExecutionProvider" in told
    assert told.count("--ep ") == 1, "the CPU stands behind itself"
    here = Path.cwd()
    for expected in (
        "--ep-option=a=1 --ep-option=b=2",
        "-k contract",
        f"--xfails {here / 'xfails.txt'}",
        f"--junit-xml={here / 'out.xml'}",
        f"--capabilities {here / 'can.json'}",
        f"--support-matrix {here / 'can.md'}",
    ):
        assert expected in told


def test_behind_another_provider_stands_the_cpu(tmp_path, call, pytest_call):
    (tmp_path / "site").mkdir()
    install(tmp_path / "site", {"light.py": LIGHT})
    program = (
        "from runtime.cli.ep import test; from runtime.cli import main;"
        "test.subprocess.run = lambda command, **k: (print(command), exit(0));"
        "main(['ep', 'test', 'acme'])"
    )
    done = in_process(tmp_path / "site", "-c", program)
    assert f"'--ep', '{ACME}', '--ep', 'cpu'" in done.stdout


RESULTS = """<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1">
<testcase name="good"/><testcase name="fine"/><testcase name="left"><skipped/></testcase>
<testcase name="bad"><failure/></testcase><testcase name="worse"><error/></testcase>
</testsuite></testsuites>"""


def test_results_are_counted_for_json(call, pytest_call):
    pytest_call(1, RESULTS)
    result = call("ep", "test", "cpu", "--json")
    assert result.code == Exit.CHECK_FAILED
    data = result.data
    assert (data["passed"], data["skipped"], data["ok"]) == (2, 1, False)
    assert data["failing"] == ["bad", "worse"]
    assert result.err == "pytest's own output\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (1, Exit.CHECK_FAILED), (3, Exit.INTERNAL), (4, Exit.USAGE), (5, 2)],
)
def test_exit_codes_are_ours_not_pytests(code, expected, call, pytest_call):
    pytest_call(code)
    result = call("ep", "test", "cpu", "-q")
    assert result.code == expected
    assert (result.out, bool(result.err)) == ("", bool(code))


def test_what_cannot_be_tested(call, registered, pytest_call, monkeypatch):
    calls = pytest_call(0)
    registered(FOO, Choosy("HereExecutionProvider", []))
    result = call("ep", "test", "foo")
    assert result.code == Exit.PROVIDER
    assert "libfoo.so.13 not found; install the driver" in result.err
    assert call("ep", "test", "qnn").code == Exit.PROVIDER
    assert "this process only" in call("ep", "test", "here").err
    missing = call("ep", "test", "cpu", "--xfails", "none.txt")
    assert (missing.code, "none.txt" in missing.err) == (Exit.USAGE, True)
    monkeypatch.setattr(ep_test, "find_spec", lambda name: None)
    result = call("ep", "test", "cpu")
    assert result.code == Exit.USAGE
    assert "pip install pytest hypothesis" in result.err
    assert not calls


# runtime ep new


def test_the_example_is_exactly_what_the_command_writes():
    written = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8")
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache"} & {*path.parts}
    }
    advice = (
        "rm -r examples/vendor-ep; runtime ep new acme --directory examples/vendor-ep"
    )
    assert written == Project("acme").files(), f"stale; run: {advice}"


def test_a_project_is_complete_and_its_provider_short(call, tmp_path):
    result = call("ep", "new", "my_npu", "--vendor", "Ünique, Inc.", "--json")
    assert result.code == Exit.OK
    folder = tmp_path / "runtime-ep-my-npu"
    assert result.data["provider"] == "MyNpuExecutionProvider"
    assert sorted(result.data["files"]) == sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"] == {
        "runtime.ep": {"MyNpuExecutionProvider": "runtime_ep_my_npu.provider:provider"},
        "runtime.ep_info": {"MyNpuExecutionProvider": "runtime_ep_my_npu.info:info"},
    }
    assert project["authors"] == [{"name": "Ünique, Inc."}]
    provider = (folder / "runtime_ep_my_npu/provider.py").read_text()
    assert provider.count("\n") < 60
    workflow = folder / ".github/workflows/ci.yml"
    assert "runtime ep test my_npu" in workflow.read_text()
    for path in folder.rglob("*.py"):
        compile(path.read_text("utf-8"), path, "exec")


@pytest.mark.parametrize("kernel_table", [False, True], ids=["device", "kernel-table"])
def test_a_new_project_passes_its_own_tests(kernel_table, tmp_path):
    """As installed, but without pip; the kit has a test of its own."""
    project = Project("acme", kernel_table=kernel_table)
    lay_out(tmp_path, project)
    done = in_process(tmp_path, "-m", "pytest", "-q", "tests/test_provider.py")
    assert " passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout


def test_values_bound_to_the_simulated_device_stay_there(tmp_path):
    lay_out(tmp_path, Project("acme"))
    (tmp_path / "bound.py").write_text(BOUND)
    done = in_process(tmp_path, "bound.py")
    assert done.returncode == 0, done.stderr


BOUND = """
import sys
sys.path.insert(0, "tests")
import numpy as np, onnx, runtime as ort
from test_provider import NAME, layers

model = onnx.load_from_string(layers(2, last="Tanh"))
extra = onnx.helper.make_tensor_value_info("x1", 1, ["batch", 4])
model.graph.output.append(extra)
session = ort.InferenceSession(model.SerializeToString(), providers=[NAME])
x = np.ones((3, 4), np.float32)
(expected,) = session.run(["x1"], {"x0": x})
binding = session.io_binding()
binding.bind_ortvalue_input("x0", ort.OrtValue.ortvalue_from_numpy(x, "acme", 0))
room = ort.OrtValue.ortvalue_from_shape_and_type([3, 4], np.float32, "acme", 0)
binding.bind_ortvalue_output("x1", room)
binding.bind_output("x2", "cpu")
session.run_with_iobinding(binding)
np.testing.assert_array_equal(room.numpy(), expected)
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("My-NPU", "did you mean 'my_npu'"),
        ("AcmeExecutionProvider", "did you mean 'acme'"),
        ("3d", "did you mean 'd'"),
        ("my__npu", "did you mean 'my_npu'"),
        ("class", "has a meaning already"),
        ("auto", "has a meaning already"),
        ("a" * 31, "longer than 30"),
        ("../evil", "did you mean 'evil'"),
        ("", "choose another"),
        ("cpu", "CPUExecutionProvider is installed (runtime-ep-cpu)"),
    ],
)
def test_names_that_cannot_be(name, told, call, tmp_path):
    result = call("ep", "new", name)
    assert result.code == Exit.USAGE
    assert told in result.err
    assert not list(tmp_path.iterdir())


def test_names_that_could_be_mistaken(call):
    result = call("ep", "new", "qnn", "--json")
    assert result.data["provider"] == "QNNExecutionProvider", "spelt as programs do"
    assert "ask for QNNExecutionProvider" in result.err
    result = call("ep", "new", "tensort")
    assert result.code == Exit.OK
    assert "is easily taken for TensorrtExecutionProvider" in result.err


def test_nothing_is_overwritten(call, tmp_path):
    (tmp_path / "mine").mkdir()
    assert call("ep", "new", "acme", "--directory", "mine").code == Exit.OK
    (tmp_path / "mine/README.md").write_text("my own")
    result = call("ep", "new", "acme", "--directory", "mine")
    assert result.code == Exit.USAGE
    assert "is not empty; nothing was written" in result.err
    assert (tmp_path / "mine/README.md").read_text() == "my own"
    (tmp_path / "file").write_text("")
    assert call("ep", "new", "acme", "--directory", "file").code == Exit.USAGE
    result = call("ep", "new", "acme", "--directory", "file/below")
    assert (result.code, "--directory" in result.err) == (Exit.USAGE, True)


@pytest.mark.parametrize("vendor", ["", 'Evil", "x', "back\\slash", "two\nlines"])
def test_vendors_that_would_break_a_file(vendor, call):
    result = call("ep", "new", "acme", "--vendor", vendor)
    assert (result.code, "--vendor" in result.err) == (Exit.USAGE, True)


# Installed without pip: a folder on the path with the metadata that pip would write.

LIGHT = """
from runtime.plugin import Device, Probe, ProviderInfo
info = ProviderInfo("AcmeExecutionProvider", probe=lambda: Probe((Device("acme"),)))
"""
POINTS = {
    "runtime.ep": {ACME: "broken:provider"},
    "runtime.ep_info": {ACME: "light:info"},
}


def install(folder, files, points=POINTS):
    """Write modules and entry points, as an installed distribution has them."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    metadata = folder / "runtime_ep_acme-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: runtime-ep-acme\nVersion: 0.1.0\n"
    )
    lines = []
    for group, entries in points.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def lay_out(folder, project):
    """Install a generated project in its own folder."""
    files = project.files()
    metadata = tomllib.loads(files["pyproject.toml"])["project"]
    install(folder, files, metadata["entry-points"])


def in_process(folder, *arguments):
    """Run Python in a folder, with what is installed there."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": ""},
    )
