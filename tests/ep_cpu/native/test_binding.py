"""Native code finds arrays' memory by itself, or is told it; results are the same."""

import ctypes

import numpy as np
import onnx
import pytest
from beside_numpy import opened, programs
from onnx import TensorProto, helper
from runtime_ep_cpu.codegen import binding
from runtime_ep_cpu.native import plan as plans


def model():
    """Return a model whose inputs are read in another order than they are declared in."""
    nodes = [
        helper.make_node("Sub", ["b", "a"], ["y"]),
        helper.make_node("Relu", ["b"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3])
            for name in "ab"
        ],
        [onnx.ValueInfoProto(name=name) for name in "yz"],
    )
    imports = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def feeds(count):
    random = np.random.default_rng(count)
    shape = (count, 3)
    return {name: random.standard_normal(shape, np.float32) for name in "ab"}


def test_offsets_are_those_of_the_headers():
    items, data = binding.offsets()
    array = np.arange(4.0)
    held = [array]
    first = ctypes.c_void_p.from_address(id(held) + items).value
    assert ctypes.c_void_p.from_address(first).value == id(array)
    assert ctypes.c_void_p.from_address(id(array) + data).value == array.ctypes.data


@pytest.mark.parametrize("change", [lambda held: held[:2], lambda held: held.T])
def test_offsets_that_tell_something_else_are_not_used(monkeypatch, change):
    told = binding._told
    monkeypatch.setattr(binding, "_told", lambda held: told(change(held)))
    assert binding.offsets.__wrapped__() is None


class Labelled(np.ndarray):
    """An array of another class."""


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:1],
        lambda a: a[0],
        lambda a: a[None],
        lambda a: a.astype(np.float64),
        lambda a: a.astype(">f4"),
        lambda a: np.asfortranarray(a),
        lambda a: np.frombuffer(b"-" + a.tobytes(), np.uint8)[1:].view("f4").reshape(a.shape),
        lambda a: a.view(Labelled),
        lambda a: a.tolist(),
        lambda a: None,
    ],
    ids=[
        "smaller", "of lower rank", "of higher rank", "wider", "big-endian",
        "Fortran order", "unaligned", "subclass", "list", "nothing",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_a_plan_runs_what_it_was_made_for_and_nothing_else(change, place):
    session = opened(model())
    given = feeds(2)
    session.run(None, given)
    (program,) = programs(session)
    arrays = [given[value.name] for value in program._partition.inputs]
    run = program.prepared(arrays)
    assert run.vouches
    np.testing.assert_array_equal(run(arrays)[0], given["b"] - given["a"])
    arrays[place] = change(arrays[place])
    assert run(arrays) is None


@pytest.mark.parametrize("finds", [True, False])
def test_repeated_runs_read_what_they_are_given(monkeypatch, finds):
    if not finds:
        monkeypatch.setattr(plans.binding, "offsets", lambda: None)
    session = opened(model())
    given = feeds(2)
    for _ in range(3):
        session.run(None, given)
    for seed in range(5):
        fresh = {k: v + np.float32(seed) for k, v in given.items()}
        fresh["a"].flags.writeable = False
        y, z = session.run(None, fresh)
        np.testing.assert_array_equal(y, fresh["b"] - fresh["a"])
        np.testing.assert_array_equal(z, np.maximum(fresh["b"], 0))
    (program,) = programs(session)
    assert program.stages[0]._latest[1].is_swift is finds
