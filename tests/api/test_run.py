"""What a run accepts, refuses and returns."""

import threading

import numpy as np
import pytest
import runtime as ort
from models import BOOL, FLOAT, INT64, dense, dense_reference, model, node
from onnx import TensorProto, helper
from runtime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
from stopping import least_seconds_to_stop

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(dense())


@pytest.mark.parametrize(
    "feed",
    [
        X.tolist(),
        X.astype(">f4"),
        np.asfortranarray(X),
        np.repeat(X, 2, 0)[::2],
        X[::-1][::-1],
        ort.OrtValue.ortvalue_from_numpy(X),
    ],
    ids=["list", "big-endian", "fortran", "strided", "reversed", "OrtValue"],
)
def test_equal_values_in_any_layout_give_the_same_answer(session, feed):
    got = session.run(["y"], {"x": feed})[0]
    np.testing.assert_allclose(got, dense_reference(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("feed", "match"),
    [
        ({}, r"Required inputs \(\['x'\]\) are missing"),
        ({"x": X, "z": X}, "Invalid input name: z"),
        ({"x": X.astype(np.float64)}, r"Actual: \(tensor\(double\)\).*for input: x"),
        ({"x": X[0]}, "Invalid rank for input: x Got: 1 Expected: 2"),
        ({"x": X[:, :3]}, r"index: 1 Got: 3 Expected: 4"),
        ({"x": object()}, "Unable to handle object of type object for input: x"),
        ({"x": None}, "Unable to handle object of type NoneType"),
        ({"x": [["a"]]}, "input x"),
        ({"x": np.array([["a"]])}, r"tensor\(string\)"),
        ([X], "mapping"),
    ],
)
def test_a_wrong_feed_says_what_was_found_and_expected(session, feed, match):
    with pytest.raises(InvalidArgument, match=match):
        session.run(None, feed)


def test_every_fault_is_reported_at_once():
    two = model(
        [node("Add", ["a", "b"], ["y"])],
        {"a": (FLOAT, [2]), "b": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()
    with pytest.raises(InvalidArgument) as raised:
        ort.InferenceSession(two).run(
            None, {"a": np.ones(3, np.float32), "b": np.ones(2)}
        )
    assert "input: a" in str(raised.value)
    assert "input: b" in str(raised.value)


def test_an_unknown_output_is_an_error(session):
    with pytest.raises(InvalidArgument, match="Invalid output name:nope"):
        session.run(["nope"], {"x": X})
    with pytest.raises(TypeError, match="did you mean"):
        session.run("y", {"x": X})


def test_results_are_fresh_writable_and_contiguous():
    passing = model(
        [node("Identity", ["x"], ["y"]), node("Transpose", ["x"], ["z"])],
        {"x": (FLOAT, [5, 4])},
        {"x": (FLOAT, [5, 4]), "y": (FLOAT, [5, 4]), "z": (FLOAT, [4, 5])},
    ).SerializeToString()
    results = ort.InferenceSession(passing).run(None, {"x": X})
    for one in results:
        assert one.flags.writeable
        assert one.flags.c_contiguous
        assert not np.shares_memory(one, X)
        assert sum(np.shares_memory(one, other) for other in results) == 1


def test_an_overridable_initializer_has_its_default_unless_fed():
    scaled = model(
        [node("Mul", ["x", "s"], ["y"])],
        {"x": (FLOAT, [2]), "s": (FLOAT, [1])},
        {"y": (FLOAT, [2])},
        {"s": np.array([3], np.float32)},
    ).SerializeToString()
    session = ort.InferenceSession(scaled)
    assert [i.name for i in session.get_inputs()] == ["x"]
    assert [i.name for i in session.get_overridable_initializers()] == ["s"]
    x = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], [3, 6])
    fed = session.run(None, {"x": x, "s": np.array([5], np.float32)})[0]
    np.testing.assert_array_equal(fed, [5, 10])


def loop_model(body_op="Add"):
    body = helper.make_graph(
        [
            node(body_op, ["v", "step"], ["v_out"]),
            node("Identity", ["cond"], ["cond_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("cond", BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("cond_out", BOOL, []),
            helper.make_tensor_value_info("v_out", FLOAT, [2]),
        ],
    )
    return model(
        [node("Loop", ["n", "", "v0"], ["y"], body=body)],
        {"n": (INT64, []), "v0": (FLOAT, [2]), "step": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()


def test_a_loop_runs_its_body_and_reads_outer_values():
    result = ort.InferenceSession(loop_model()).run(
        None,
        {
            "n": np.array(4),
            "v0": np.array([1, 2], np.float32),
            "step": np.array([10, 20], np.float32),
        },
    )[0]
    np.testing.assert_array_equal(result, [41, 82])


def test_bodies_run_on_any_mix_of_providers(registered):
    from doubles import Choosy, DeviceProvider

    registered(
        DeviceProvider("SimExecutionProvider", ["Add"]),
        Choosy("LoopExecutionProvider", ["Loop"]),
    )
    session = ort.InferenceSession(
        loop_model(), providers=["SimExecutionProvider", "LoopExecutionProvider"]
    )
    owners = {n.op_type: n.provider for n in session.explain().nodes}
    assert owners["Add"] == "SimExecutionProvider"
    assert owners["Loop"] == "LoopExecutionProvider"
    result = session.run(
        None,
        {
            "n": np.array(3),
            "v0": np.zeros(2, np.float32),
            "step": np.ones(2, np.float32),
        },
    )[0]
    np.testing.assert_array_equal(result, [3, 3])


def test_terminate_stops_a_long_loop():
    session = ort.InferenceSession(loop_model())
    options = ort.RunOptions()
    threading.Timer(0.2, lambda: setattr(options, "terminate", True)).start()
    with pytest.raises(Fail, match="stopped"):
        session.run(
            None,
            {
                "n": np.array(2**40),
                "v0": np.zeros(2, np.float32),
                "step": np.ones(2, np.float32),
            },
            options,
        )


def test_terminate_is_seen_within_ten_milliseconds():
    session = ort.InferenceSession(loop_model())
    feed = {
        "n": np.array(2**40),
        "v0": np.zeros(2, np.float32),
        "step": np.ones(2, np.float32),
    }
    assert least_seconds_to_stop(session, feed, 0.02) < 0.010


def test_strings_sequences_and_maps_pass_through():
    strings = model(
        [node("Identity", ["s"], ["t"])],
        {"s": (TensorProto.STRING, [2])},
        {"t": (TensorProto.STRING, [2])},
    ).SerializeToString()
    got = ort.InferenceSession(strings).run(None, {"s": np.array(["ä", "b"])})[0]
    assert got.dtype == object
    assert got.tolist() == ["ä", "b"]


def test_narrow_floats_go_in_and_come_out_as_ml_dtypes():
    import ml_dtypes

    halves = model(
        [node("Add", ["x", "x"], ["y"])],
        {"x": (TensorProto.BFLOAT16, [3])},
        {"y": (TensorProto.BFLOAT16, [3])},
    ).SerializeToString()
    x = np.array([1, 2, 3], ml_dtypes.bfloat16)
    got = ort.InferenceSession(halves).run(None, {"x": x})[0]
    assert got.dtype == ml_dtypes.bfloat16
    assert got.tolist() == [2, 4, 6]


def test_sixteen_threads_share_one_session():
    session = ort.InferenceSession(dense())
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            x = rng.standard_normal((rng.integers(1, 9), 4)).astype(np.float32)
            y = session.run(None, {"x": x})[0]
            if not np.allclose(y, dense_reference(x), rtol=1e-4, atol=1e-6):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_predictor_pickles_and_passes_columns_through(tmp_path):
    import pickle

    path = tmp_path / "dense.onnx"
    path.write_bytes(dense())
    predictor = ort.Predictor(path, passthrough=True)
    copy = pickle.loads(pickle.dumps(predictor))
    result = copy({"x": X, "id": np.arange(5)})
    assert list(result) == ["id", "y"]
    np.testing.assert_allclose(result["y"], dense_reference(X), rtol=1e-5)


def test_a_session_pickles_as_its_arguments():
    import pickle

    session = ort.InferenceSession(dense())
    again = pickle.loads(pickle.dumps(session))
    np.testing.assert_array_equal(
        again.run(None, {"x": X})[0], session.run(None, {"x": X})[0]
    )


def test_a_closed_session_says_so():
    with ort.InferenceSession(dense()) as session:
        session.run(None, {"x": X})
    with pytest.raises(Fail, match="closed"):
        session.run(None, {"x": X})


def test_only_the_path_to_what_is_asked_for_runs():
    branches = model(
        [
            node("Relu", ["x"], ["a"], name="wanted"),
            node("Reshape", ["x", "shape"], ["b"], name="fails"),
        ],
        {"x": (FLOAT, [4]), "shape": (INT64, [1])},
        {"a": (FLOAT, [4]), "b": (FLOAT, None)},
    ).SerializeToString()
    feed = {"x": np.array([-1, 2, -3, 4], np.float32), "shape": np.array([3])}
    for level in (0, 99):
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel(level)
        session = ort.InferenceSession(branches, options)
        with pytest.raises(Fail):
            session.run(["a"], feed)
        narrow = ort.RunOptions()
        narrow.only_execute_path_to_fetches = True
        for _ in range(2):
            assert session.run(["a"], feed, narrow)[0].tolist() == [0, 2, 0, 4]
        with pytest.raises(Fail):
            session.run(None, feed, narrow)
