"""Constant matrices are packed once for all who share them, and told as repacked."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import onnx
import pytest
import runtime as ort
from beside_numpy import CPU, checked, opened, programs, same
from models import FLOAT, INT64, model, node
from runtime.abilities import Context
from runtime_ep_cpu.native import packing

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


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save a model so that it is read piece by piece, however small; return its path."""
    monkeypatch.setattr("runtime.weights.PIECES_FROM", 1)

    def save(proto):
        path = tmp_path / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return save


def from_file(path, **choice):
    options = [(CPU, {"native": "required", **choice})]
    return ort.InferenceSession(str(path), providers=options)


def constants(session):
    """Return the packed constants of a session by name."""
    requests = [r for p in programs(session) for s in p.stages for r in s.requests]
    return {request.value.name: request.const for request in requests}


def drawn(dtype, *shape):
    """Return numbers of all kinds: large, denormal, infinite, zeros of both signs."""
    dtype = np.dtype(dtype)
    found = (RNG.standard_normal(shape) * 1e3).astype(dtype)
    tiny = np.array(1, f"u{dtype.itemsize}").view(dtype)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0]).astype(dtype)
    found.reshape(-1)[:6] = [*special, tiny]
    return found


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(33, 70), (64, 64), (16, 33), (700, 1)])
def test_packed_matrices_are_let_go_and_restored_from_their_panels(
    saved, dtype, turned, shape
):
    weights = drawn(dtype, *shape)
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    k = shape[1 if turned else 0]
    proto = model(
        [node("Gemm", ["x", "w"], ["y"], transB=turned)],
        {"x": (code, ["n", k])},
        {"y": (code, None)},
        {"w": weights},
    )
    path = saved(proto)
    session = from_file(path)
    path.write_bytes(b"")
    const = constants(session)["w"]
    session.run(None, {"x": np.ones((2, k), dtype)})
    assert not const.is_held, "a run needs nothing but the panels"
    bits = f"u{weights.dtype.itemsize}"
    np.testing.assert_array_equal(const.numpy().view(bits), weights.view(bits))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((64, 32, 1, 1), 1),
        ((256, 128, 3, 3), 1),
        ((70, 20, 1, 1), 1),
        ((40, 16, 3, 2), 1),
        ((300, 1, 9), 1),
        ((50, 7, 2, 2, 3), 1),
        ((32, 4, 3, 3), 4),
        ((36, 9, 3, 3), 2),
        ((150, 6, 3), 3),
    ],
)
def test_filters_are_let_go_and_restored_from_their_panels(saved, dtype, shape, groups):
    weights = drawn(dtype, *shape)
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    image = (1, shape[1] * groups, *(size + 3 for size in shape[2:]))
    proto = model(
        [node("Conv", ["x", "w"], ["y"], group=groups)],
        {"x": (code, list(image))},
        {"y": (code, None)},
        {"w": weights},
    )
    path = saved(proto)
    session = from_file(path, winograd="off")
    path.write_bytes(b"")
    const = constants(session)["w"]
    session.run(None, {"x": np.ones(image, dtype)})
    assert not const.is_held, "a run needs nothing but the panels"
    bits = f"u{weights.dtype.itemsize}"
    np.testing.assert_array_equal(const.numpy().view(bits), weights.view(bits))


def stacked(count=5, width=40):
    names = [f"w{i}" for i in range(count)]
    nodes = [node("MatMul", [f"p{i}", f"w{i}"], [f"p{i + 1}"]) for i in range(count)]
    return model(
        nodes,
        {"p0": (FLOAT, ["n", width])},
        {f"p{count}": (FLOAT, None)},
        {name: floats(width, width) / 6 for name in names},
    )


@pytest.mark.parametrize("piece", [1, 10_000, 1 << 23])
def test_pieces_of_any_size_give_the_same_panels(saved, monkeypatch, piece):
    monkeypatch.setattr("runtime_ep_cpu.native.packing.PIECE", piece)
    proto, feed = stacked(), {"p0": floats(3, 40)}
    session = from_file(saved(proto))
    assert not any(const.is_held for const in constants(session).values())
    (got,) = session.run(None, feed)
    (want,) = opened(proto).run(None, feed)
    np.testing.assert_array_equal(got, want)


def test_numpys_kernels_get_what_was_let_go(saved):
    proto, feed = stacked(), {"p0": floats(3, 40)}
    path = saved(proto)
    session = from_file(path)
    path.write_bytes(b"")
    (program,) = programs(session)
    (got,) = program._numpy()([feed["p0"]], [None], Context())
    (want,) = opened(proto, native="off").run(None, feed)
    np.testing.assert_array_equal(got, want)


def test_sessions_of_one_file_each_have_their_weights(saved):
    proto, feed = stacked(), {"p0": floats(3, 40)}
    path = saved(proto)
    choices = ["required", "off", "required", "off"]
    sessions = [from_file(path, native=choice) for choice in choices]
    path.write_bytes(b"")
    del sessions[:2]
    found = [session.run(None, feed)[0] for session in sessions]
    same(found[0], found[1], 5e-6)


def test_sessions_made_at_once_each_have_their_weights(saved):
    proto, feed = stacked(), {"p0": floats(3, 40)}
    path = saved(proto)
    with ThreadPoolExecutor(4) as workers:
        sessions = list(workers.map(lambda _: from_file(path), range(8)))
    (want,) = opened(proto).run(None, feed)
    for session in sessions:
        np.testing.assert_array_equal(session.run(None, feed)[0], want)


def test_a_matrix_that_others_read_too_is_kept(saved):
    proto = model(
        [
            node("Gather", ["w", "i"], ["x"]),
            node("Gemm", ["x", "w"], ["y"], transB=1),
        ],
        {"i": (INT64, ["n"])},
        {"y": (FLOAT, None)},
        {"w": floats(50, 20)},
    )
    path = saved(proto)
    session = from_file(path)
    path.write_bytes(b"")
    assert constants(session)["w"].is_held
    feed = {"i": np.array([3, 0, 49])}
    same(
        session.run(None, feed)[0], opened(proto, native="off").run(None, feed)[0], 5e-6
    )


def test_a_matrix_packed_straight_and_turned_is_kept(saved):
    proto = model(
        [node("Gemm", ["x", "w"], ["p"]), node("Gemm", ["p", "w"], ["y"], transB=1)],
        {"x": (FLOAT, ["n", 20])},
        {"y": (FLOAT, None)},
        {"w": floats(20, 20)},
    )
    path = saved(proto)
    session = from_file(path)
    path.write_bytes(b"")
    assert constants(session)["w"].is_held
    feed = {"x": floats(3, 20)}
    same(
        session.run(None, feed)[0], opened(proto, native="off").run(None, feed)[0], 5e-6
    )


def test_providers_set_anew_find_the_weights_again(saved):
    proto, feed = stacked(), {"p0": floats(3, 40)}
    session = from_file(saved(proto))
    (want,) = session.run(None, feed)
    session.set_providers([(CPU, {"native": "off"})])
    same(session.run(None, feed)[0], want, 5e-6)
    session.set_providers([(CPU, {"native": "required"})])
    np.testing.assert_array_equal(session.run(None, feed)[0], want)


def test_a_file_cut_short_while_it_is_packed_is_an_error(saved, monkeypatch):
    path = saved(stacked())
    monkeypatch.setattr("runtime_ep_cpu.native.packing.PIECE", 1)
    packed, release = [], packing._release

    def cut(*arguments):
        packed.append(release(*arguments))
        os.truncate(path, 2000)

    monkeypatch.setattr(packing, "_release", cut)
    with pytest.raises(Exception, match="written while"):
        from_file(path)
    assert len(packed) == 1
