"""The adapter uses nothing of TensorRT's API but what 10.16 and 11.4 both have."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import runtime_ep_tensorrt
from runtime_ep_tensorrt.adapter import _DTYPES, TABLE
from runtime_ep_tensorrt.spellings import TACTICS
from surface import VERSIONS, surface
from surface.dump import make_stubs
from usage import Use, uses

PACKAGE = Path(runtime_ep_tensorrt.__file__).parent
ADAPTER = PACKAGE / "adapter.py"


def fault(use: Use, api) -> str:
    """Say what is wrong with a use in one version, or return ``""``."""
    if use.what == "unknown":
        return f"whose attribute {use.name!r} is, of {use.owner!r}, cannot be told"
    if use.what == "base":
        return "" if use.name in api else f"no class {use.name}"
    if use.what == "override":
        return _override(use, api)
    if not use.owner:
        return _of_module(use, api)
    if use.owner not in api:
        return f"no class {use.owner}"
    if use.name == "__init__" and use.what == "call":
        return "" if use.count == 1 else "a base is initialised with more than self"
    if use.what == "call":
        if use.name not in api.methods(use.owner):
            return f"no method {use.owner}.{use.name}"
        fits = api.accepts(use.owner, use.name, use.count, set(use.keywords))
        return "" if fits else f"{use.owner}.{use.name} is not called like this"
    if use.name in api.members(use.owner):
        return "" if use.what == "read" else "a member is written"
    access = api.properties(use.owner).get(use.name, "")
    if use.what not in access:
        return f"{use.owner}.{use.name} cannot be {use.what}"
    return ""


def _override(use: Use, api) -> str:
    if use.name not in api.overrides(use.owner):
        return f"{use.owner} does not call {use.name}"
    documented = api.methods(use.owner).get(use.name)
    counts = {len(overload) for overload in documented or ()}
    return "" if not counts or use.count in counts else "other parameters"


def _of_module(use: Use, api) -> str:
    if use.name in ("__version__",) or use.name in api:
        if use.what != "call":
            return ""
        fits = api.accepts(use.name, "__init__", use.count, set(use.keywords))
        return "" if fits else f"{use.name} is not constructed like this"
    overloads = api.functions.get(use.name, ())
    names = [[p.partition("=")[0] for p in overload] for overload in overloads]
    fits = any(len(each) == use.count and not use.keywords for each in names)
    return "" if fits else f"no function {use.name} of {use.count} arguments"


@pytest.mark.parametrize("major", VERSIONS)
def test_everything_used_is_there_and_is_used_as_it_is_declared(major):
    found = list(uses(ADAPTER))
    faults = [(use.line, told) for use in found if (told := fault(use, surface(major)))]
    assert not faults
    assert len(found) > 80
    assert {use.what for use in found} == {"call", "read", "write", "base", "override"}


WRONG = """
def f(trt, builder, config, context, thing):
    builder.make_network(1)
    builder.create_network(1, 2)
    builder.create_network(flag=1)
    trt.BuilderFlag.FP16
    trt.Nothing
    trt.Builder()
    config.flags_
    config.num_optimization_profiles = 3
    context.set_input_shape("x")
    thing.execute_async_v3(1)
    config.get_timing_cache().serialize()
    trt.init_libnvinfer_plugins(1)

class M(trt.IProgressMonitor):
    def phase_start(self, name): pass
    def phase_begin(self, name): pass
"""


def test_each_kind_of_wrong_use_is_found(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    lines = {use.line for use in uses(path) if fault(use, surface(11))}
    assert lines == {*range(3, 15), 17, 18}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_tells_which_version_has_what(name):
    kind, _, member = name.partition(".")
    found = tuple(member in surface(major).members(kind) for major in VERSIONS)
    assert found == TABLE[name]


def test_the_table_has_every_member_that_users_may_name():
    for kind in ("TacticSource", "PreviewFeature"):
        members = {m for major in VERSIONS for m in surface(major).members(kind)}
        assert {f"{kind}.{member}" for member in members} == {
            name for name in TABLE if name.startswith(kind)
        }
    assert {f"TacticSource.{name}" for name in TACTICS} <= set(TABLE)


@pytest.mark.parametrize("major", VERSIONS)
def test_element_types_are_called_as_there(major):
    assert set(_DTYPES) <= set(surface(major).members("DataType"))


def test_nothing_but_the_adapter_touches_the_api():
    for path in PACKAGE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        imported = {
            name
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert not any(name.startswith("tensorrt") for name in imported), path.name
        if path != ADAPTER:
            assert "_trt" not in text.replace("ep_tensorrt", ""), path.name


REAL = """
import logging
import sys

sys.path[:0] = sys.argv[1].split(";")
from runtime_ep_tensorrt import adapter
from runtime_ep_tensorrt.heard import LEVELS
from runtime_ep_tensorrt.progress import Bar

api = adapter.opened()
trt = api._trt
told = []
api._logger.log(trt.ILogger.Severity.ERROR, "something is wrong")
assert api._said.why("") == "something is wrong"
assert isinstance(api._logger, trt.ILogger)

caught = adapter.Caught()
monitor = adapter._monitor(trt, Bar("net"), caught)
monitor.phase_start("outer", None, 2)
assert monitor.step_complete("outer", 0) is True
monitor.phase_finish("outer")
assert isinstance(monitor, trt.IProgressMonitor)

allocator = adapter._allocator(trt, lambda *told: 4096, lambda *told: None, caught)
assert allocator.reallocate_output_async("y", 0, 16, 256, 0) == 4096
allocator.notify_shape("y", trt.Dims((2, 3)))
assert isinstance(allocator, trt.IOutputAllocator)
assert tuple(trt.Dims((2, 3))) == (2, 3)

assert 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) > 0
assert {trt.DataType.FLOAT.name, trt.DataType.HALF.name} <= set(adapter._DTYPES)
assert api._member(trt.TacticSource, "JIT_CONVOLUTIONS") is not None
assert trt.ILogger.Severity.WARNING.name in LEVELS
print(api.version)
"""


@pytest.mark.parametrize("major", VERSIONS)
def test_what_needs_no_library_runs_on_the_real_bindings(bindings, tmp_path, major):
    """Classes that Python lends to TensorRT, enumerations, and what turns into tuples."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc makes the stub libraries")
    folder = bindings / str(major)
    make_stubs(folder, str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", REAL, ";".join([str(folder), *sys.path])],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == surface(major).version
