"""What libraries are called with, when candidates are found, run, saved and restored."""

import ctypes
import sys
from types import SimpleNamespace

import pytest
from library.specs import biased, product, rows
from runtime_ep_cuda import cublaslt, cudnn
from runtime_ep_cuda.operations import Pointwise

A, B, BIAS, RESIDUAL, Y, SCRATCH, STREAM = range(4096, 4096 + 7 * 256, 256)
OPERATION = product(
    (2, 4, 8),
    (2, 8, 16),
    alpha=0.5,
    operands=(rows("float16", 16), rows("float16", 2, 4, 16)),
    epilogue=(biased(0), biased(1), Pointwise("relu")),
)


class FakeLt:
    """cublasLt as far as it is called: descriptors are numbers, attributes are kept."""

    def __init__(self, algorithms=2):
        self.algorithms = algorithms
        self.calls, self.made, self.destroyed, self.attributes = [], 0, [], {}

    def __getattr__(self, name):
        name = name.removeprefix("cublasLt")

        def function(*arguments):
            self.calls.append((name, arguments))
            if name.endswith("Create"):
                self.made += 1
                arguments[0]._obj.value = self.made
                self.attributes[self.made] = {"created": arguments[1:]}
            elif name.endswith("Destroy"):
                self.destroyed.append(arguments[0])
            elif name.endswith("SetAttribute"):
                descriptor, attribute, value, size = arguments
                assert size == ctypes.sizeof(value._obj)
                self.attributes[descriptor][attribute] = value._obj.value
            return self.answer(name, arguments)

        return function

    def answer(self, name, arguments):
        if name == "MatmulAlgoGetHeuristic":
            *_, asked, results, count = arguments
            count._obj.value = min(self.algorithms, asked)
            for number in range(count._obj.value):
                results[number].algorithm.data[0] = 100 + number
                results[number].workspace = 512 * number
                results[number].state = 15 if number == 1 else 0
        if name == "MatmulAlgoCheck":
            algorithm, result = arguments[-2]._obj, arguments[-1]._obj
            result.workspace = 77
            return 0 if algorithm.data[0] == 100 else 8
        return 0

    def last(self, name):
        return next(given for called, given in reversed(self.calls) if called == name)


@pytest.fixture
def fake(monkeypatch):
    library = FakeLt(algorithms=3)
    monkeypatch.setattr(cublaslt, "library", lambda: library)
    return library


def test_cublaslt_is_asked_with_everything_that_was_lowered(fake):
    device = cublaslt.Device(most=5)
    found = cublaslt.candidates(device, OPERATION, 1 << 20)
    assert [each.workspace for each in found] == [0, 1024], "one of three had failed"
    handle, made, a, b, c, d, preference, asked, *_ = fake.last(
        "MatmulAlgoGetHeuristic"
    )
    assert (handle, asked) == (device.handle, 5)
    assert fake.attributes[made]["created"] == (cublaslt.COMPUTE_32F, 0)
    assert fake.attributes[made][cublaslt.DESC_EPILOGUE] == 2 | 4
    assert fake.attributes[made][cublaslt.DESC_BIAS_POINTER] == 16
    created = [fake.attributes[each]["created"] for each in (a, b, c, d)]
    assert created == [(2, 16, 8, 16), (2, 8, 4, 8), (2, 16, 4, 16), (2, 16, 4, 16)]
    assert fake.attributes[preference][cublaslt.PREF_MAX_WORKSPACE_BYTES] == 1 << 20


def test_cublaslt_runs_with_b_for_its_a_and_the_residual_for_its_c(fake):
    device = cublaslt.Device()
    _, chosen = cublaslt.candidates(device, OPERATION, 1 << 20)
    chosen.run([A, B, BIAS, RESIDUAL, Y], SCRATCH, STREAM)
    handle, made, alpha, a, _, b, _, beta, c, _, d, _, algorithm, *rest = fake.last(
        "Matmul"
    )
    assert handle == device.handle
    assert (a, b, c, d) == (B, A, RESIDUAL, Y)
    assert (alpha._obj.value, beta._obj.value) == (0.5, 1.0)
    assert fake.attributes[made][cublaslt.DESC_BIAS_POINTER] == BIAS
    assert algorithm._obj.data[0] == 102
    assert rest == [SCRATCH, 1024, STREAM]
    plain = product((1, 4, 8), (1, 8, 16), dtype="float32", tf32=True)
    cublaslt.candidates(device, plain, 0)[0].run([A, B, Y], 0, 0)
    given = fake.last("Matmul")
    assert fake.attributes[given[1]]["created"] == (cublaslt.COMPUTE_32F_FAST_TF32, 0)
    assert (given[8], given[10], given[7]._obj.value) == (Y, Y, 0.0)


def test_cublaslt_restores_an_algorithm_that_its_check_accepts(fake):
    device = cublaslt.Device()
    first, second = cublaslt.candidates(device, OPERATION, 1 << 20)
    again = cublaslt.restore(device, OPERATION, first.save())
    assert (again.name, again.workspace) == (first.name, 77)
    assert cublaslt.restore(device, OPERATION, second.save()) is None
    assert cublaslt.restore(device, OPERATION, first.save()[:-1]) is None
    assert cublaslt.restore(device, OPERATION, b"cudnn:" + bytes(64)) is None


def test_integers_are_scaled_by_integers(fake):
    whole = product((1, 4, 8), (1, 8, 16), dtype="int8", out="int32", columns=True)
    chosen = cublaslt.candidates(cublaslt.Device(), whole, 0)[0]
    chosen.run([A, B, Y], 0, 0)
    given = fake.last("Matmul")
    assert fake.attributes[given[1]]["created"] == (cublaslt.COMPUTE_32I, 10)
    assert (type(given[2]._obj), given[2]._obj.value) == (ctypes.c_int32, 1)


def test_every_descriptor_is_destroyed(fake):
    device = cublaslt.Device()
    found = cublaslt.candidates(device, OPERATION, 1 << 20)
    assert fake.destroyed == []
    del found
    device.close()
    assert sorted(fake.destroyed) == list(range(1, fake.made + 1))


class Refused(Exception):
    """The frontend's ``cudnnGraphNotSupportedError``, which is no ``RuntimeError``."""


class FakeGraph:
    """A graph with two plans, as far as a plan uses it."""

    def __init__(self):
        self.executed, self.built, self.refused = [], None, False

    def get_workspace_size_plan_at_index(self, index):
        return 100 + index

    def _execute_plan_at_index(self, pointers, workspace, index, handle):
        if self.refused:
            raise Refused("not in this layout")
        self.executed.append((pointers, workspace, index, handle))

    def build_plan_at_index(self, index):
        self.built = index
        if self.refused:
            raise Refused("no serialization")

    def serialize(self):
        return [1, 2, self.built]


@pytest.fixture
def frontend(monkeypatch):
    """The frontend's module as far as a device uses it."""
    calls = []
    inner = SimpleNamespace(
        create_handle=lambda: calls.append("create") or 10 + len(calls),
        _raw_set_stream=lambda handle, stream: calls.append((handle, stream)),
        _raw_destroy_handle=lambda handle: calls.append(("destroy", handle)),
    )
    module = SimpleNamespace(_pybind_module=inner, cudnnGraphNotSupportedError=Refused)
    monkeypatch.setitem(sys.modules, "cudnn", module)
    return calls


def test_a_plan_of_cudnns_runs_with_uids_counted_from_one(frontend):
    graph = FakeGraph()
    plan = cudnn.Plan(cudnn.Device(90, 132), graph, 1, "eng7")
    assert plan.workspace == 101
    plan.run([A, B, Y], SCRATCH, 0)
    assert graph.executed == [({1: A, 2: B, 3: Y}, SCRATCH, 1, 11)]
    assert plan.save() == cudnn.MARK + bytes([1, 2, 1])


def test_what_cudnn_refuses_to_run_or_save_is_a_runtime_error(frontend):
    graph = FakeGraph()
    plan = cudnn.Plan(cudnn.Device(90, 132), graph, 1, "eng7")
    graph.refused = True
    with pytest.raises(RuntimeError, match="eng7: not in this layout"):
        plan.run([A, B, Y], SCRATCH, 0)
    with pytest.raises(RuntimeError, match="eng7: no serialization"):
        plan.save()


def test_plans_run_by_a_handle_of_their_own_made_before_they_run(frontend):
    runner = cudnn.Device(90, 132)
    builder = cudnn.Device(90, 132, runner=runner)
    assert builder.handle
    graph = FakeGraph()
    plan = cudnn.Plan(builder, graph, 1, "eng7")
    assert frontend == ["create", "create"]
    plan.run([A, B, Y], SCRATCH, STREAM)
    assert frontend[2:] == [(runner.handle, STREAM)]
    assert graph.executed[0][-1] == runner.handle != builder.handle


def test_cudnn_is_told_of_a_stream_only_when_it_changes(frontend):
    device = cudnn.Device(90, 132)
    plan = cudnn.Plan(device, FakeGraph(), 0, "eng7")
    for stream in (0, 0, STREAM, STREAM, 0):
        plan.run([A, B, Y], SCRATCH, stream)
    assert frontend == ["create", (11, STREAM), (11, 0)]
    device.close()
    device.close()
    assert frontend[-1] == ("destroy", 11)
    assert frontend.count(("destroy", 11)) == 1
