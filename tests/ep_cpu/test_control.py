"""If, Loop, Scan and SequenceMap: what bodies get, and what becomes of their results."""

import numpy as np
import onnx
import pytest
from evaluate import run_model
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from peers import run_onnxruntime
from runtime.errors import EngineError

FLOAT, INT, BOOL, TEXT = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.STRING,
)


def parsed(text: str, opset: int = 21) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}]> {text}'
    )


def graph_of(text: str) -> onnx.GraphProto:
    return onnx.parser.parse_graph(text)


def declared(name: str, kind: int, shape: list | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def around(node: onnx.NodeProto, inputs: list, outputs: list, opset: int = 21):
    """Return a model of one node with bodies."""
    graph = helper.make_graph([node], "g", inputs, outputs)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


# If -----------------------------------------------------------------------------------

BRANCHES = """
    g (bool cond, float[N] x) => (float[M] y) {
        y = If (cond) <
            then_branch = g1 () => (float[N] a) { a = Neg (x) },
            else_branch = g2 () => (float[M] b) { b = Concat <axis = 0> (x, x) }
        >
    }
"""


@pytest.mark.parametrize("opset", [11, 13, 16, 25])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_if_runs_one_branch_with_what_it_captures(opset, shape):
    x = np.float32([1, 2])
    model = parsed(BRANCHES, opset)
    assert run_model(model, [np.full(shape, True), x])[0].tolist() == [-1, -2]
    assert run_model(model, [np.full(shape, False), x])[0].tolist() == [1, 2, 1, 2]


def test_if_wants_one_condition():
    with pytest.raises(EngineError, match="cond must hold one element"):
        run_model(parsed(BRANCHES), [np.array([True, True]), np.float32([1])])


# Loop ---------------------------------------------------------------------------------

SUMS = """
    body (int64 i, bool going, float[N] sum) => (bool more, float[N] next, float[N] seen)
    {
        step = Cast <to = 1> (i)
        next = Add (sum, step)
        seen = Identity (next)
        limit = Constant <value_float = 3.0> ()
        most = ReduceMax <keepdims = 0> (next)
        more = Less (most, limit)
    }
"""


def summing(trips: bool, condition: bool, opset: int = 21) -> onnx.ModelProto:
    """Return a loop that adds 0, 1, 2, … and whose body stops once the sum is 3."""
    names = ["m" if trips else "", "c" if condition else "", "x"]
    node = helper.make_node("Loop", names, ["last", "all"], body=graph_of(SUMS))
    inputs = [declared("m", INT, [])] * trips + [declared("c", BOOL, [])] * condition
    inputs.append(declared("x", FLOAT, ["N"]))
    outputs = [declared("last", FLOAT, ["N"]), declared("all", FLOAT, ["T", "N"])]
    return around(node, inputs, outputs, opset)


@pytest.mark.parametrize("opset", [13, 16, 25])
@pytest.mark.parametrize(
    ("trips", "condition", "sums"),
    [
        (10, True, [0, 1, 3]),
        (2, True, [0, 1]),
        (10, False, []),
        (0, True, []),
        (-5, True, []),
        (None, True, [0, 1, 3]),
        (None, False, []),
        (5, None, [0, 1, 3, 6, 10]),
        (2**63 - 1, True, [0, 1, 3]),
        (None, None, [0, 1, 3]),
    ],
)
def test_a_loop_ends_by_count_or_condition(opset, trips, condition, sums):
    model = summing(trips is not None, condition is not None, opset)
    inputs = [np.array(x) for x in (trips, condition) if x is not None]
    last, every = run_model(model, [*inputs, np.float32([0])])
    assert every.dtype == np.float32
    assert every.reshape(-1).tolist() == sums
    assert last.tolist() == [sums[-1] if sums else 0]


def test_a_loop_agrees_with_onnxruntime():
    inputs = [np.array(10), np.array(True), np.float32([0, 1])]
    model = summing(True, True)
    want = run_onnxruntime(model, dict(zip("mcx", inputs, strict=True)))
    for ours, theirs in zip(run_model(model, inputs), want, strict=True):
        assert (ours.dtype, ours.tolist()) == (theirs.dtype, theirs.tolist())


def without_runs(outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Return a loop of no trips whose body declares some scan outputs."""
    nodes = [helper.make_node("Identity", ["going"], ["more"])]
    nodes += [helper.make_node("Identity", ["seen"], [o.name]) for o in outputs]
    inputs = [declared("i", INT, []), declared("going", BOOL, [])]
    body = helper.make_graph(
        nodes, "body", inputs, [declared("more", BOOL, []), *outputs]
    )
    names = [f"all_{o.name}" for o in outputs]
    node = helper.make_node("Loop", ["m", ""], names, body=body)
    results = [onnx.ValueInfoProto(name=name) for name in names]
    feeds = [declared("m", INT, []), declared("seen", FLOAT, None)]
    return around(node, feeds, results)


def test_a_loop_that_never_runs_gives_empty_scan_outputs_of_the_declared_type():
    outputs = [
        declared("a", TensorProto.FLOAT16, [2, "n", 3]),
        declared("b", TEXT, []),
        declared("c", INT, None),
    ]
    got = run_model(without_runs(outputs), [np.array(0), np.float32(1)])
    found = [(array.shape, array.dtype) for array in got]
    assert found == [
        ((0, 2, 0, 3), np.float16),
        ((0,), np.dtype(object)),
        ((0,), np.int64),
    ]


def test_a_loop_that_never_runs_cannot_guess_a_type():
    untyped = onnx.ValueInfoProto(name="a")
    with pytest.raises(EngineError, match="type of its output 'a' is unknown"):
        run_model(without_runs([untyped]), [np.array(0), np.float32(1)])


def test_scan_outputs_must_not_change_their_shape():
    body = graph_of(
        """
        body (int64 i, bool going, float[N] x) => (bool more, float[N] y, float[N] seen)
        {
            more = Identity (going)
            y = Concat <axis = 0> (x, x)
            seen = Identity (y)
        }
        """
    )
    node = helper.make_node("Loop", ["m", "", "x"], ["y", "all"], body=body)
    outputs = [declared("y", FLOAT, ["n"]), declared("all", FLOAT, None)]
    feeds = [declared("m", INT, []), declared("x", FLOAT, ["n"])]
    model = around(node, feeds, outputs)
    assert run_model(model, [np.array(1), np.float32([1])])[1].shape == (1, 2)
    with pytest.raises(EngineError, match="changes from one run"):
        run_model(model, [np.array(2), np.float32([1])])


def test_sequences_are_carried_and_the_trip_number_is_kept_apart():
    text = """
    g (int64 m, seq(float[1]) start) => (seq(float[1]) all, int64[T] trips) {
        all, trips = Loop (m, , start) <
            body = b (int64 i, bool going, seq(float[1]) old)
                => (bool more, seq(float[1]) new, int64 trip) {
                more = Identity (going)
                number = Cast <to = 1> (i)
                one = Constant <value_ints = [1]> ()
                row = Reshape (number, one)
                new = SequenceInsert (old, row)
                trip = Identity (i)
            }
        >
    }
    """
    start = [np.float32([7])]
    got, trips = run_model(parsed(text), [np.array(3), start])
    assert [float(array[0]) for array in got] == [7, 0, 1, 2]
    assert trips.tolist() == [0, 1, 2]
    assert len(start) == 1


def test_a_loop_inside_an_if_inside_a_loop_reads_outer_values():
    text = """
    g (int64 m, float x) => (float y) {
        y = Loop (m, , x) <
            body = b (int64 i, bool going, float old) => (bool more, float new) {
                more = Identity (going)
                zero = Constant <value_int = 0> ()
                even = Equal (i, zero)
                new = If (even) <
                    then_branch = t () => (float a) { a = Add (old, x) },
                    else_branch = e () => (float b) {
                        b = Loop (m, , old) <
                            body = c (int64 j, bool on, float p) => (bool q, float r) {
                                q = Identity (on)
                                r = Add (p, x)
                            }
                        >
                    }
                >
            }
        >
    }
    """
    got = run_model(parsed(text), [np.array(3), np.float32(1)])[0]
    assert float(got) == 1 + 1 + 3 + 3


# Scan ---------------------------------------------------------------------------------


def accumulating() -> onnx.GraphProto:
    return graph_of(
        """
        body (float[N] sum, float[N] x) => (float[N] next, float[N] seen) {
            next = Add (sum, x)
            seen = Mul (next, x)
        }
        """
    )


def scanning(opset: int = 21, **attributes) -> onnx.ModelProto:
    node = helper.make_node(
        "Scan",
        ["s", "x"],
        ["last", "all"],
        body=accumulating(),
        num_scan_inputs=1,
        **attributes,
    )
    feeds = [declared("s", FLOAT, ["n"]), declared("x", FLOAT, ["a", "b"])]
    outputs = [declared("last", FLOAT, ["n"]), declared("all", FLOAT, ["c", "d"])]
    return around(node, feeds, outputs, opset)


FLAG = st.sampled_from([None, 0, 1])


@given(FLAG, FLAG, st.sampled_from([None, 0, 1, -1, -2]), st.integers(-2, 1))
def test_scan_agrees_with_onnxruntime(backward, prepend, input_axis, output_axis):
    given_ = {
        "scan_input_directions": backward,
        "scan_output_directions": prepend,
        "scan_input_axes": input_axis,
        "scan_output_axes": output_axis,
    }
    attributes = {name: [x] for name, x in given_.items() if x is not None}
    model = scanning(**attributes)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    x = x.T if input_axis in (None, 0, -2) else x
    feeds = {"s": np.float32([1, 2]), "x": np.ascontiguousarray(x)}
    want = run_onnxruntime(model, feeds)
    for ours, theirs in zip(run_model(model, list(feeds.values())), want, strict=True):
        assert (ours.shape, ours.tolist()) == (theirs.shape, theirs.tolist())


def test_scan_goes_over_scalars_and_several_inputs():
    text = """
    g (int64 s, int64[4] x, int64[2, 4] y) => (int64 last, int64[T, 2] all) {
        last, all = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1],
            scan_input_directions = [0, 1],
            body = b (int64 s, int64 x, int64[2] y) => (int64 t, int64[2] z) {
                t = Add (s, x)
                z = Mul (t, y)
            }> (s, x, y)
    }
    """
    x, y = np.arange(4), np.arange(8).reshape(2, 4)
    last, every = run_model(parsed(text), [np.array(0), x, y])
    assert (last.shape, int(last)) == ((), 6)
    assert every.tolist() == (np.cumsum(x)[:, None] * y.T[::-1]).tolist()


def test_a_scan_of_nothing_keeps_its_states_and_gives_empty_outputs():
    model = scanning(scan_output_axes=[1])
    last, every = run_model(model, [np.float32([5]), np.zeros((0, 1), np.float32)])
    assert last.tolist() == [5]
    assert (every.shape, every.dtype) == ((0, 0), np.float32)


def test_bad_scans_are_refused():
    x = np.zeros((2, 1), np.float32)
    for attributes in (
        {"scan_input_axes": [2]},
        {"scan_input_axes": [0, 0]},
        {"scan_input_directions": [2]},
        {"scan_output_axes": [3]},
    ):
        with pytest.raises(EngineError):
            run_model(scanning(**attributes), [np.float32([0]), x])


def batched(lengths: bool, directions: list[int] | None = None) -> onnx.ModelProto:
    attributes = {} if directions is None else {"directions": directions}
    node = helper.make_node(
        "Scan",
        ["l" if lengths else "", "s", "x"],
        ["last", "all"],
        body=accumulating(),
        num_scan_inputs=1,
        **attributes,
    )
    feeds = [declared("l", INT, ["b"])] * lengths
    feeds += [declared("s", FLOAT, ["b", "n"]), declared("x", FLOAT, ["b", "t", "n"])]
    outputs = [declared("last", FLOAT, None), declared("all", FLOAT, None)]
    return around(node, feeds, outputs, 8)


def by_rule(x: np.ndarray, lengths: list[int], backward: bool):
    last, every = np.zeros((x.shape[0], x.shape[2]), np.float32), np.zeros_like(x)
    for batch, length in enumerate(lengths):
        steps = x[batch, :length]
        for step, row in enumerate(steps[::-1] if backward else steps):
            last[batch] += row
            every[batch, step] = last[batch] * row
    return last, every


@given(st.lists(st.integers(0, 3), max_size=3), st.booleans())
def test_scan_of_opset_8_runs_each_batch_for_its_length(lengths, backward):
    count = len(lengths)
    x = np.arange(count * 6, dtype=np.float32).reshape(count, 3, 2)
    states = np.zeros((count, 2), np.float32)
    model = batched(True, [int(backward)])
    last, every = run_model(model, [np.array(lengths, np.int64), states, x])
    want = by_rule(x, lengths, backward)
    assert last.tolist() == want[0].tolist()
    if any(lengths):
        assert every.tolist() == want[1].tolist()


def test_scan_of_opset_8_without_lengths_takes_every_step():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    last, every = run_model(batched(False), [np.zeros((2, 2), np.float32), x])
    want = by_rule(x, [3, 3], False)
    assert (last.tolist(), every.tolist()) == (want[0].tolist(), want[1].tolist())
    with pytest.raises(EngineError, match="sequence_lens"):
        run_model(batched(True), [np.array([4, 0]), np.zeros((2, 2), np.float32), x])


# SequenceMap --------------------------------------------------------------------------


def test_sequence_map_pairs_sequences_and_repeats_tensors():
    text = """
    g (seq(float[1]) a, seq(float[1]) b, float[1] c)
        => (seq(float[1]) sums, seq(float[1]) products) {
        sums, products = SequenceMap <
            body = f (float[1] x, float[1] y, float[1] z) => (float[1] s, float[1] p) {
                t = Add (x, y)
                s = Add (t, z)
                p = Mul (x, y)
            }> (a, b, c)
    }
    """
    model = parsed(text)
    a, b = ([np.float32([n]) for n in row] for row in ((1, 2), (3, 4)))
    sums, products = run_model(model, [a, b, np.float32([10])])
    assert [float(x[0]) for x in sums] == [14, 16]
    assert [float(x[0]) for x in products] == [3, 8]
    assert run_model(model, [[], [], np.float32([10])]) == [[], []]
    with pytest.raises(EngineError, match="2 and 1"):
        run_model(model, [a, b[:1], np.float32([10])])
