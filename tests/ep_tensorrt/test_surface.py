"""The committed surfaces of TensorRT's bindings are those of the real ones."""

import shutil

import pytest
from surface import VERSIONS, surface
from surface.dump import signatures
from surface.dump import surface as dumped

OVERLOADED = """build(*args, **kwargs)
Overloaded function.

1. build(self: a.B, shape: tuple[int, int], flag: a.F = <F.X: 0>) -> bool

    Something.

2. build(self: a.B, shape: a.Dims) -> bool
"""


def test_signatures_are_read_from_what_the_bindings_document():
    assert signatures("build", OVERLOADED) == [
        ["shape", "flag=<F.X: 0>"],
        ["shape"],
    ]
    assert signatures("build", "Something else.") == []


@pytest.mark.parametrize("major", VERSIONS)
def test_the_committed_surface_is_what_the_real_bindings_offer(bindings, major):
    if shutil.which("gcc") is None:
        pytest.skip("gcc makes the stub libraries")
    found = dumped(bindings / str(major))
    committed = surface(major)
    assert found["version"] == committed.version
    assert found["classes"] == committed._classes


@pytest.mark.parametrize("major", VERSIONS)
def test_both_versions_build_and_run_alike(major):
    api = surface(major)
    assert api.version.startswith(f"{major}.")
    assert api.accepts("Builder", "create_network", 1, set())
    assert api.accepts("IExecutionContext", "set_input_shape", 0, {"name", "shape"})
    assert not api.accepts("IExecutionContext", "set_input_shape", 1, {"name", "shape"})
    assert not api.accepts("IExecutionContext", "set_input_shape", 0, {"name"})
    assert not api.accepts("IExecutionContext", "set_input_shape", 0, {"nom", "shape"})
    assert "log" in api.methods("Logger"), "methods of a base are there"
    assert api.properties("IBuilderConfig")["progress_monitor"] == "read and write"
    assert "notify_shape" in api.overrides("IOutputAllocator")


def test_eleven_has_no_precision_but_that_of_the_network():
    flags = [surface(major).members("BuilderFlag") for major in VERSIONS]
    for name in ("FP16", "BF16", "INT8", "OBEY_PRECISION_CONSTRAINTS"):
        assert name in flags[0]
        assert name not in flags[1]
    for major in VERSIONS:
        kinds = surface(major).members("NetworkDefinitionCreationFlag")
        assert "STRONGLY_TYPED" in kinds
    assert "IInt8Calibrator" in surface(10)
    assert "IInt8Calibrator" not in surface(11)
