"""Where native code cannot be had there is a warning and a right answer."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import runtime as ort
from beside_numpy import CPU, opened, programs, same
from models import dense, dense_reference
from runtime import cache
from runtime.errors import FallbackWarning
from runtime.explain import forget_warnings
from runtime_ep_cpu import choice
from runtime_ep_cpu.codegen import library as libraries
from runtime_ep_cpu.codegen.library import Library
from runtime_ep_cpu.codegen.target import NAMES, host, runnable

X = np.random.default_rng(9).standard_normal((3, 4)).astype(np.float32)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Give the process an empty library and an empty cache in a folder; return that."""
    libraries.library.cache_clear()
    forget_warnings()
    monkeypatch.setenv("RUNTIME_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    libraries.library.cache_clear()


def right(session):
    (y,) = session.run(None, {"x": X})
    same(y, dense_reference(X).astype(np.float32))
    return True


def compiled():
    return libraries.library(host()).compiled


def no_llvmlite(monkeypatch):
    choice.obstacle.cache_clear()
    forget_warnings()
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)


@pytest.fixture
def without_llvmlite(monkeypatch):
    no_llvmlite(monkeypatch)
    yield
    choice.obstacle.cache_clear()


def test_without_llvmlite_numpy_answers_and_one_warning_says_why(without_llvmlite):
    with pytest.warns(FallbackWarning, match='pip install "llvmlite') as caught:
        for _ in range(2):
            session = opened(dense(), native="auto")
            assert not programs(session)
            assert right(session)
    assert len(caught) == 1


def test_without_llvmlite_required_native_code_is_an_error(without_llvmlite):
    with pytest.raises(Exception, match="llvmlite cannot be loaded"):
        opened(dense(), native="required")


def test_a_release_with_an_older_llvm_is_as_good_as_none(monkeypatch):
    from llvmlite import binding

    forget_warnings()
    choice.obstacle.cache_clear()
    monkeypatch.setattr(binding, "llvm_version_info", (20, 1, 8))
    try:
        with pytest.warns(FallbackWarning, match="has LLVM 20, and 22 or newer"):
            session = opened(dense(), native="auto")
        assert not programs(session)
        assert right(session)
        assert "has LLVM 20" in choice.outlook()
    finally:
        choice.obstacle.cache_clear()


def test_what_native_code_is_generated_for_can_be_told():
    assert choice.outlook().startswith(f"for {host().name}, by LLVM ")


def test_without_llvmlite_that_is_what_is_told(without_llvmlite):
    assert "llvmlite cannot be loaded" in choice.outlook()
    assert "pip install" in choice.outlook()


def test_without_llvmlite_a_new_process_imports_and_answers():
    code = (
        "import sys; sys.modules['llvmlite'] = None; import numpy as np\n"
        "import runtime as ort; from models import dense\n"
        "s = ort.InferenceSession(dense())\n"
        "print(s.run(None, {'x': np.ones((2, 4), np.float32)})[0].shape)\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == "(2, 3)"
    assert 'pip install "llvmlite' in made.stderr


@pytest.mark.parametrize("family", ["gemm", "tile", "softmax", "pack"])
def test_where_a_generator_fails_numpy_answers_and_the_reason_is_told(
    fresh, monkeypatch, family
):
    def broken(*_, **__):
        raise RuntimeError("no such instruction")

    import runtime_ep_cpu.codegen.families  # noqa: F401

    monkeypatch.setitem(libraries.FAMILIES, family, broken)
    with pytest.warns(FallbackWarning, match="no such instruction"):
        assert right(opened(dense(), native="auto"))
    with pytest.raises(Exception, match="no such instruction"):
        opened(dense(), native="required")


def test_where_llvm_refuses_the_code_numpy_answers(fresh, monkeypatch):
    def nonsense(module, target, name, **_):
        module.add_text(name, f"define void @{name}() {{ nonsense }}")

    import runtime_ep_cpu.codegen.families  # noqa: F401

    monkeypatch.setitem(libraries.FAMILIES, "softmax", nonsense)
    with pytest.warns(FallbackWarning, match="expected instruction opcode"):
        assert right(opened(dense(), native="auto"))


def test_a_plan_that_cannot_be_made_for_a_reason_nobody_thought_of_is_numpys(
    monkeypatch,
):
    from runtime_ep_cpu.native.steps.rows import SoftmaxStep

    forget_warnings()

    def broken(self, planner):
        raise IndexError("surprise")

    session = opened(dense(), native="auto")
    monkeypatch.setattr(SoftmaxStep, "plan", broken)
    with pytest.warns(FallbackWarning, match="surprise"):
        assert right(session)
    strict = opened(dense(), native="required")
    with pytest.raises(Exception, match="surprise"):
        strict.run(None, {"x": X})


# the cache


def entries(folder):
    return sorted(folder.glob("??/*.bin"))


def test_the_second_process_loads_and_never_compiles(fresh, monkeypatch):
    assert right(opened(dense()))
    assert compiled() > 0
    assert entries(fresh)
    libraries.library.cache_clear()
    assert right(opened(dense()))
    assert compiled() == 0


def test_other_sources_of_generators_compile_anew(fresh, monkeypatch):
    opened(dense())
    libraries.library.cache_clear()
    monkeypatch.setattr(libraries, "version", lambda: "another")
    opened(dense())
    assert compiled() > 0


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_folder_that_cannot_be_written_costs_a_warning(fresh, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache.tempfile, "mkstemp", refused)
    with pytest.warns(RuntimeWarning, match="RUNTIME_CACHE_DIR"):
        assert right(opened(dense()))
    assert not entries(fresh)


def test_a_full_disk_costs_a_warning_and_leaves_no_half_entry(fresh, monkeypatch):
    real = os.fdopen

    class Full:
        def __init__(self, handle):
            self.file = real(handle, "wb")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fdopen", lambda handle, mode: Full(handle))
    with pytest.warns(RuntimeWarning, match="No space left"):
        session = opened(dense())
    monkeypatch.undo()
    assert right(session)
    assert not [path for path in fresh.rglob("*") if path.is_file()]


def test_a_corrupted_entry_is_dropped_with_a_warning_and_made_anew(fresh, monkeypatch):
    opened(dense())
    for path in entries(fresh):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    libraries.library.cache_clear()
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert right(opened(dense()))
    assert compiled() > 0
    libraries.library.cache_clear()
    assert right(opened(dense()))
    assert compiled() == 0


def test_a_switched_off_cache_writes_nothing(fresh):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cache", "0")
    assert right(
        ort.InferenceSession(dense(), options, providers=[(CPU, {"target": "auto"})])
    )
    assert compiled() > 0
    assert not entries(fresh)


# options


def test_native_code_may_be_switched_off():
    session = opened(dense(), native="off")
    assert not programs(session)
    assert right(session)


@pytest.mark.parametrize("target", runnable())
def test_a_target_may_be_chosen(target):
    session = opened(dense(), target=target)
    assert right(session)
    assert programs(session)[0].facts["target"] == target


@pytest.mark.parametrize("target", sorted(set(NAMES) - set(runnable())))
@pytest.mark.parametrize("native", ["auto", "required"])
def test_a_target_that_the_processor_lacks_is_an_error(recwarn, target, native):
    with pytest.raises(Exception, match=f"target='{target}'.* here the targets are"):
        ort.InferenceSession(
            dense(), providers=[(CPU, {"target": target, "native": native})]
        )
    assert not recwarn


def test_no_such_target_is_an_error():
    with pytest.raises(Exception, match="target"):
        ort.InferenceSession(dense(), providers=[(CPU, {"target": "sse9"})])


def test_kernels_are_compiled_once_by_threads_that_ask_at_once():
    from concurrent.futures import ThreadPoolExecutor

    from runtime_ep_cpu.codegen.target import host
    from runtime_ep_cpu.native.steps.matrix import tiles

    kernels = Library(host())
    specs = tiles(host(), 1)
    with ThreadPoolExecutor(4) as many:
        list(many.map(lambda _: kernels.load(specs), range(8)))
    assert kernels.compiled == len(specs)
    assert len({kernels.address(spec) for spec in specs}) == len(specs)
