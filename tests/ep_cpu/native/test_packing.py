"""Constant matrices are packed once for all who share them, and told as repacked."""

import json

import numpy as np
import pytest
import runtime as ort
from beside_numpy import CPU, checked, opened, programs
from models import FLOAT, model, node

RNG = np.random.default_rng(9)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def shared(count=3, width=48):
    nodes = [node("MatMul", ["x", "w"], ["p0"])]
    nodes += [node("MatMul", [f"p{i}", "w"], [f"p{i + 1}"]) for i in range(count)]
    return model(
        [*nodes, node("Identity", [f"p{count}"], ["y"])],
        {"x": (FLOAT, ["n", width])},
        {"y": (FLOAT, None)},
        {"w": floats(width, width) / 8},
    )


def test_a_matrix_read_by_several_products_is_packed_once():
    session = checked(shared(), {"x": floats(4, 48)}, tolerance=1e-5)
    (program,) = programs(session)
    requests = [r for stage in program.stages for r in stage.requests]
    assert len(requests) == 4
    width = requests[0].width
    assert program.memory()["packed"] == -(-48 // width) * width * 48 * 4


def test_weights_are_told_as_repacked_or_kept():
    proto = model(
        [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "scale"], ["y"])],
        {"x": (FLOAT, ["n", 4])},
        {"y": (FLOAT, None)},
        {"w": floats(4, 5), "scale": floats(5)},
    )
    (program,) = programs(opened(proto))
    assert program.weights == {"w": "repacked", "scale": "kept"}


def test_the_same_matrix_straight_and_turned_is_packed_twice():
    proto = model(
        [node("Gemm", ["x", "w"], ["p"]), node("Gemm", ["p", "w"], ["y"], transB=1)],
        {"x": (FLOAT, ["n", 20])},
        {"y": (FLOAT, None)},
        {"w": floats(20, 20)},
    )
    session = checked(proto, {"x": floats(3, 20)}, tolerance=1e-5)
    (program,) = programs(session)
    assert len({r.key for stage in program.stages for r in stage.requests}) == 2


def test_a_batch_of_constant_matrices_is_packed_for_each_run():
    proto = model(
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": (FLOAT, [3, "n", 6])},
        {"y": (FLOAT, None)},
        {"w": floats(3, 6, 10)},
    )
    checked(proto, {"x": floats(3, 4, 6)}, tolerance=5e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_trace_tells_each_group_with_its_nodes_shapes_and_time(tmp_path, threads):
    proto = model(
        [
            node("MatMul", ["x", "w"], ["p"], name="first"),
            node("Relu", ["p"], ["r"], name="second"),
            node("Softmax", ["r"], ["y"], name="third"),
        ],
        {"x": (FLOAT, ["n", 64])},
        {"y": (FLOAT, None)},
        {"w": floats(64, 96)},
    )
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace")
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=[(CPU, {"native": "required"})]
    )
    session.run(None, {"x": floats(200, 64)})
    with open(session.end_profiling()) as file:
        events = json.load(file)
    kernels = [e for e in events if e.get("cat") == "Node" and "dur" in e]
    names = [event["name"] for event in kernels]
    assert any("first" in name for name in names), names
    assert any("third" in name for name in names), names
    assert all(event["dur"] >= 0 for event in kernels)
    (run,) = [e for e in events if e.get("cat") == "Partition"]
    assert sum(event["dur"] for event in kernels) <= run["dur"] * 1.01 + 5
