"""Loop and Scan with native bodies give what NumPy's kernels give, round by round."""

import threading

import numpy as np
import onnx
import pytest
from beside_numpy import checked, kernels, opened, roles, same
from onnx import parser
from stopping import least_seconds_to_stop


def model(text, opset=20, **constants):
    """Return a model from onnx's text form; constants become initializers."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>\n'
    made = parser.parse_model(head + text)
    for name, array in constants.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return made


def native(session, operator):
    """Return the roles of all nodes of an operator."""
    return [role for name, role in roles(session) if name == operator]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CELL = """
agraph (float[B, 6] first, float[T, B, 4] x) => (float[B, 6] last, float[T, B, 6] y) {{
    last, y = Scan <num_scan_inputs = 1, {attributes} body = cell (
        float[B, 6] h, float[B, 4] v) => (float[B, 6] following, float[B, 6] out) {{
            a = MatMul (v, w)
            b = MatMul (h, r)
            c = Add (a, b)
            following = Tanh (c)
            out = Mul (following, following)
    }}> (first, x)
}}"""
WEIGHTS = {"w": random(4, 6, seed=1), "r": random(6, 6, seed=2)}


@pytest.mark.parametrize("target", ["auto", "avx2", "generic"])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("made", [0, 1])
def test_a_cell_is_scanned_either_way(steps, given, made, target):
    attributes = (
        f"scan_input_directions = [{given}], scan_output_directions = [{made}],"
    )
    built = model(CELL.format(attributes=attributes), **WEIGHTS)
    feed = {"first": random(3, 6), "x": random(steps, 3, 4)}
    session = checked(built, feed, feed, target=target)
    assert native(session, "Scan") == ["native"]


@pytest.mark.parametrize("given", [0, 1, 2, -1])
@pytest.mark.parametrize("made", [0, 1, -1])
def test_slices_lie_along_any_axis(given, made):
    built = model(
        f"""
        agraph (float[A, B, C] x) => (float[K, L, M] y, float[D, E] last) {{
            zero = Constant <value = float {{0.0}}> ()
            axis = Constant <value = int64[1] {{{given}}}> ()
            first = ReduceSum <keepdims = 0> (x, axis)
            last, y = Scan <num_scan_inputs = 1, scan_input_axes = [{given}],
                scan_output_axes = [{made}], scan_input_directions = [1], body = sum (
                float[D, E] total, float[D, E] v) => (float[D, E] more, float[D, E] out) {{
                more = Add (total, v)
                out = Relu (more)
            }}> (first, x)
        }}"""
    )
    session = checked(built, {"x": random(3, 4, 5)}, {"x": random(2, 1, 6)})
    assert native(session, "Scan") == ["native"]


def looped(body, states, inputs="int64 trips", start="", outputs="", made=""):
    """Return a Loop of states, each a name with its type, over a body."""
    given = ", ".join(f"{kind} {name}" for name, kind in states.items())
    firsts = ", ".join(f"{kind} {name}0" for name, kind in states.items())
    lasts = ", ".join(f"{kind} {name}9" for name, kind in states.items())
    nexts = ", ".join(f"{kind} {name}1" for name, kind in states.items())
    names = ", ".join(f"{name}9" for name in states)
    args = ", ".join(f"{name}0" for name in states)
    trips = "trips" if "trips" in inputs else ""
    listed = ", ".join(part for part in (inputs, firsts) if part)
    return f"""
    agraph ({listed}) => ({lasts}{outputs}) {{
        {names}{made and ", " + made.split()[-1] + "s"} = Loop <body = body (
            int64 i, bool going, {given}) => (bool more, {nexts}{made and ", " + made}) {{
            {body}
        }}> ({trips}, {start}, {args})
    }}"""


COUNTED = looped("more = Identity (going) a1 = Add (a, a)", {"a": "float[N]"})


@pytest.mark.parametrize("trips", [0, 1, 2, 9, -3])
def test_rounds_are_counted_in_a_run(trips):
    feed = {"trips": np.array(trips, np.int64), "a0": random(5)}
    session = checked(model(COUNTED), feed, feed)
    assert native(session, "Loop") == ["native"]
    (got,) = session.run(None, feed)
    np.testing.assert_array_equal(got, feed["a0"] * np.float32(2.0) ** max(0, trips))


def test_one_plan_serves_any_number_of_rounds():
    session = opened(model(COUNTED))
    for trips in (3, 0, 8, 1):
        feed = {"trips": np.array(trips, np.int64), "a0": random(5)}
        (got,) = session.run(None, feed)
        np.testing.assert_array_equal(got, feed["a0"] * 2.0**trips)


WHILE = """
    limit = Constant <value = float {100.0}> ()
    two = Constant <value = float {2.0}> ()
    a1 = Mul (a, two)
    sum = ReduceSum <keepdims = 0> (a1)
    more = Less (sum, limit)
"""


@pytest.mark.parametrize(
    ("inputs", "start", "feed"),
    [
        ("bool start", "start", {"start": np.array(True)}),
        ("bool start", "start", {"start": np.array(False)}),
        ("int64 trips, bool start", "start", {"trips": 4, "start": np.array(True)}),
        ("int64 trips, bool start", "start", {"trips": 40, "start": np.array(True)}),
        ("int64 trips, bool start", "start", {"trips": 4, "start": np.array(False)}),
        ("int64 trips", "", {"trips": 12}),
        ("", "", {}),
    ],
)
def test_the_condition_counts_where_the_standard_says(inputs, start, feed):
    text = looped(WHILE, {"a": "float[N]"}, inputs, start)
    feed = {name: np.array(value) for name, value in feed.items()}
    feed["a0"] = np.array([1, 0.5, 0.25], np.float32)
    session = checked(model(text), feed, feed)
    assert native(session, "Loop") == ["native"]


def test_states_may_change_places_and_stay_and_begin_anew():
    body = """
        more = Identity (going)
        a1 = Identity (b)
        b1 = Add (a, b)
        c1 = Identity (c)
        d1 = Identity (outside)
        e1 = Identity (a)
    """
    names = dict.fromkeys("abcde", "int64[2]")
    text = looped(body, names, "int64 trips, int64[2] outside")
    feed = {f"{name}0": np.array([i, i + 3], np.int64) for i, name in enumerate(names)}
    feed["outside"] = np.array([7, 8], np.int64)
    for trips in range(6):
        feed["trips"] = np.array(trips)
        session = checked(model(text), feed)
    assert native(session, "Loop") == ["native"]


@pytest.mark.parametrize("trips", [1, 5])
def test_rounds_know_their_number_and_leave_slices(trips):
    body = """
        more = Identity (going)
        row = Gather <axis = 0> (table, i)
        number = Cast <to = 1> (i)
        scaled = Mul (row, number)
        a1 = Add (a, scaled)
        kept = Identity (a1)
    """
    text = looped(
        body,
        {"a": "float[3]"},
        "int64 trips, float[R, 3] table",
        outputs=", float[T, 3] kepts",
        made="float[3] kept",
    )
    feed = {"trips": np.array(trips), "a0": random(3), "table": random(6, 3)}
    session = checked(model(text), feed, feed)
    assert native(session, "Loop") == ["native"]


def test_a_round_whose_index_is_wrong_is_told_in_words():
    body = (
        "more = Identity (going) row = Gather <axis = 0> (table, i) a1 = Add (a, row)"
    )
    text = looped(body, {"a": "float[3]"}, "int64 trips, float[R, 3] table")
    feed = {"trips": np.array(9), "a0": random(3), "table": random(6, 3)}
    with pytest.raises(Exception, match="Gather"):
        opened(model(text)).run(None, feed)


def test_loops_stand_in_loops():
    text = """
    agraph (float[T, N] x, float[N] first, int64 trips) => (float[N] last, float[T, N] y) {
        last, y = Scan <num_scan_inputs = 1, body = outer (
            float[N] h, float[N] v) => (float[N] following, float[N] out)
            <float[N] inner> {
            inner = Loop <body = twice (
                int64 i, bool going, float[N] a) => (bool more, float[N] b) {
                more = Identity (going)
                half = Constant <value = float {0.5}> ()
                c = Mul (a, half)
                b = Add (c, v)
            }> (trips, , h)
            following = Tanh (inner)
            out = Add (following, first)
        }> (first, x)
    }"""
    feed = {"x": random(6, 5), "first": random(5), "trips": np.array(3)}
    session = checked(model(text), feed, feed, {**feed, "trips": np.array(0)})
    assert native(session, "Scan") == ["native"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_a_large_body_and_change_nothing(threads):
    text = """
    agraph (float[4, 300] first, float[9, 4, 300] x)
        => (float[4, 300] last, float[9, 4, 300] y) {
        last, y = Scan <num_scan_inputs = 1, body = cell (
            float[4, 300] h, float[4, 300] v) => (float[4, 300] k, float[4, 300] out) {
            a = MatMul (h, w)
            b = Add (a, v)
            k = Tanh (b)
            out = Softmax (k)
        }> (first, x)
    }"""
    weights = random(300, 300) / np.float32(20)
    built = model(text, w=weights)
    feed = {"first": random(4, 300), "x": random(9, 4, 300)}
    want = opened(built, threads=1).run(None, feed)
    session = opened(built, threads=threads)
    for _ in range(10):
        for one, other in zip(session.run(None, feed), want, strict=True):
            np.testing.assert_array_equal(one, other)
    plain = opened(built, native="off").run(None, feed)
    for one, other in zip(want, plain, strict=True):
        same(one, other, 2e-5)
    assert "repeat" in kernels(session)


def test_runs_side_by_side_do_not_disturb_each_other():
    session = opened(model(CELL.format(attributes=""), **WEIGHTS))
    feeds = [
        {"first": random(3, 6, seed=s), "x": random(50, 3, 4, seed=s)} for s in range(4)
    ]
    want = [session.run(None, feed) for feed in feeds]
    wrong = []

    def work(feed, result):
        for _ in range(30):
            for one, other in zip(session.run(None, feed), result, strict=True):
                if not np.array_equal(one, other):
                    wrong.append(feed)

    workers = [
        threading.Thread(target=work, args=pair)
        for pair in zip(feeds, want, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_loop_without_an_end_stops_when_it_is_told_to():
    body = "more = Identity (going) a1 = Add (a, a)"
    session = opened(model(looped(body, {"a": "float[64]"}, "")), threads=2)
    assert least_seconds_to_stop(session, {"a0": random(64)}, 0.05) < 0.05


def test_a_state_that_grows_is_left_to_numpy():
    body = "more = Identity (going) a1 = Concat <axis = 0> (a, a)"
    text = looped(body, {"a": "float[N]"})
    feed = {"trips": np.array(3), "a0": random(2)}
    checked(model(text), feed, moves=True)


def test_a_body_that_is_not_native_is_left_to_numpy():
    body = """
        more = Identity (going)
        b = NonZero (a)
        c = Cast <to = 1> (b)
        d = ReduceSum <keepdims = 0> (c)
        a1 = Add (a, d)
    """
    built = model(looped(body, {"a": "float[N]"}))
    feed = {"trips": np.array(3), "a0": random(4)}
    session = opened(built)
    assert native(session, "Loop") == []
    got, want = (s.run(None, feed) for s in (session, opened(built, native="off")))
    np.testing.assert_array_equal(got, want)


STEPS = (
    "{y} = Tanh ({a})",
    "{y} = Add ({a}, {b})",
    "{y} = Sub ({a}, {b})",
    "{y} = MatMul ({a}, square)",
    "{y} = MatMul (square, {a})",
    "{y} = Softmax <axis = 1> ({a})",
    "{y} = LayerNormalization <axis = -1> ({a}, scale)",
    "{y}t = Transpose <perm = [0, 2, 1]> ({a}) {y} = Tanh ({y}t)",
    "{y}m = ReduceMean <keepdims = 1> ({a}, axis) {y} = Sub ({b}, {y}m)",
    "{y}c = Concat <axis = 1> ({a}, {b}) {y} = Slice ({y}c, begin, end, axis)",
    "{y}g = Gather <axis = 2> ({a}, order) {y} = Mul ({y}g, {b})",
    "{y} = Identity ({a})",
    "{y}r = Reshape ({a}, flat) {y}s = Relu ({y}r) {y} = Reshape ({y}s, cube)",
)
CONSTANTS = {
    "square": random(4, 4, seed=3),
    "scale": random(4, seed=4),
    "axis": np.array([1]),
    "begin": np.array([2]),
    "end": np.array([6]),
    "order": np.array([3, 0, 1, 2]),
    "flat": np.array([-1]),
    "cube": np.array([2, 4, 4]),
}


@pytest.mark.parametrize("target", ["auto", "avx2"])
@pytest.mark.parametrize("seed", range(40))
def test_any_body_gives_what_numpys_kernels_give(seed, target):
    rng = np.random.default_rng(seed)
    names, lines = ["s0", "s1", "v", "outside"], []
    for index in range(rng.integers(1, 9)):
        a, b = rng.choice(names, 2)
        lines.append(rng.choice(STEPS).format(y=f"y{index}", a=a, b=b))
        names.append(f"y{index}")
    n0, n1, o0, o1 = rng.choice(names, 4)
    kind = "float[2, 4, 4]"
    axis = rng.integers(-4, 4)
    ways = rng.integers(0, 2, 2)
    text = f"""
    agraph ({kind} a, {kind} b, float[T, 2, 4, 4] x, {kind} outside)
        => ({kind} a9, {kind} b9, float[K, L, M, N] y, float[T, 2, 4, 4] z) {{
        a9, b9, y, z = Scan <num_scan_inputs = 1, scan_input_directions = [{ways[0]}],
            scan_output_axes = [{axis}, 0], scan_output_directions = [{ways[1]}, 0],
            body = body ({kind} s0, {kind} s1, {kind} v)
            => ({kind} n0, {kind} n1, {kind} o0, {kind} o1) {{
            {" ".join(lines)}
            n0 = Tanh ({n0}) n1 = Identity ({n1}) o0 = Identity ({o0}) o1 = Neg ({o1})
        }}> (a, b, x)
    }}"""
    feed = {
        "a": random(2, 4, 4, seed=seed),
        "b": random(2, 4, 4, seed=seed + 1),
        "x": random(rng.integers(1, 6), 2, 4, 4, seed=seed + 2),
        "outside": random(2, 4, 4, seed=seed + 3),
    }
    session = checked(
        model(text, **CONSTANTS), feed, feed, target=target, tolerance=2e-5
    )
    assert native(session, "Scan") == ["native"]


def test_images_are_carried_too():
    text = """
    agraph (float[1, 8, H, W] first, float[T, 1, 8, H, W] x)
        => (float[1, 8, H, W] last, float[T, 1, 8, H, W] y) {
        last, y = Scan <num_scan_inputs = 1, body = body (
            float[1, 8, H, W] h, float[1, 8, H, W] v)
            => (float[1, 8, H, W] k, float[1, 8, H, W] out) {
            a = Conv <pads = [1, 1, 1, 1]> (h, w)
            b = Add (a, v)
            k = Tanh (b)
            out = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (k)
        }> (first, x)
    }"""
    weights = random(8, 8, 3, 3, seed=5) / np.float32(9)
    feed = {"first": random(1, 8, 5, 7), "x": random(4, 1, 8, 5, 7)}
    session = checked(model(text, w=weights), feed, feed, tolerance=2e-5)
    assert native(session, "Scan") == ["native"]


def test_results_of_unknown_rank_are_made_too():
    built = model(COUNTED)
    built.graph.output[0].type.tensor_type.ClearField("shape")
    feed = {"trips": np.array(3), "a0": random(5)}
    session = checked(built, feed)
    assert native(session, "Loop") == ["native"]
