"""Which nodes become one group, and which must not; groups run in order of dependence."""

import numpy as np
import pytest
from beside_numpy import checked, groups, opened, programs
from models import FLOAT, model, node, random_graph

RNG = np.random.default_rng(5)
ROWS = (FLOAT, ["rows", 4])


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


W, SCALE, ROW = floats(4, 4), floats(4), floats(4)


def made(nodes, outputs=("y",), inputs=("x",), opset=20, feed=None, **initializers):
    """Run nodes over (3, 4) inputs both ways and return the groups' labels."""
    proto = model(
        nodes,
        dict.fromkeys(inputs, ROWS),
        dict.fromkeys(outputs, (FLOAT, None)),
        {"w": W, "scale": SCALE, "row": ROW, **initializers},
        opset=opset,
    )
    feed = feed or {name: floats(3, 4) for name in inputs}
    return groups(checked(proto, feed))


def test_a_product_takes_its_bias_activation_and_residual():
    found = made([
        node("MatMul", ["x", "w"], ["p"]),
        node("Add", ["p", "row"], ["b"]),
        node("Sigmoid", ["b"], ["a"]),
        node("Add", ["a", "x"], ["y"]),
    ])  # fmt: skip
    assert found == ["MatMul+Add+Sigmoid+Add"]


def test_a_residual_that_others_read_too_is_added_all_the_same():
    found = made(
        [
            node("Sigmoid", ["x"], ["r"]),
            node("MatMul", ["r", "w"], ["p"]),
            node("Add", ["p", "r"], ["y"]),
            node("Neg", ["r"], ["z"]),
        ],
        ("y", "z"),
    )
    assert sorted(found) == ["MatMul+Add", "Neg", "Sigmoid"]


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_what_commutes_has_one_kernel_for_both_orders(operator):
    def specs(*order):
        nodes = [node("MatMul", ["x", "w"], ["p"]), node(operator, order, ["y"])]
        rows = {"x": ROWS, "r": ROWS}
        proto = model(nodes, rows, {"y": (FLOAT, None)}, {"w": W})
        session = checked(proto, {"x": floats(3, 4), "r": floats(3, 4)})
        return [stage.specs for each in programs(session) for stage in each.stages]

    assert specs("p", "r") == specs("r", "p")


def test_a_product_that_is_an_output_is_written_before_anything_follows():
    found = made(
        [node("MatMul", ["x", "w"], ["p"]), node("Relu", ["p"], ["y"])], ("p", "y")
    )
    assert found == ["MatMul", "Relu"]


def test_a_product_read_twice_is_written_before_anything_follows():
    found = made([
        node("MatMul", ["x", "w"], ["p"]),
        node("Relu", ["p"], ["a"]),
        node("Neg", ["p"], ["b"]),
        node("Concat", ["a", "b"], ["y"], axis=0),
    ])  # fmt: skip
    assert found == ["MatMul", "Relu", "Neg", "Concat"]


def test_a_value_read_twice_by_one_node_stays_inside():
    found = made([
        node("MatMul", ["x", "w"], ["p"]),
        node("Sigmoid", ["p"], ["s"]),
        node("Mul", ["s", "s"], ["y"]),
    ])  # fmt: skip
    assert found == ["MatMul+Sigmoid+Mul"]


def test_of_two_products_added_the_later_one_takes_the_sum():
    found = made([
        node("MatMul", ["x", "w"], ["p"]),
        node("MatMul", ["x", "v"], ["q"]),
        node("Add", ["p", "q"], ["y"]),
    ], v=floats(4, 4))  # fmt: skip
    assert found == ["MatMul", "MatMul+Add"]


def test_what_widens_a_product_comes_after_it():
    found = made(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "wide"], ["y"])],
        wide=floats(2, 3, 4),
    )
    assert found == ["MatMul", "Add"]


def test_elementwise_nodes_that_meet_become_one_expression():
    found = made(
        [
            node("Sigmoid", ["x"], ["a"]),
            node("Tanh", ["z"], ["b"]),
            node("Mul", ["a", "b"], ["c"]),
            node("Sub", ["c", "x"], ["y"]),
        ],
        inputs=("x", "z"),
    )
    assert found == ["Sigmoid+Tanh+Mul+Sub"]


def test_an_expression_reads_at_most_eight_values():
    names = [f"x{i}" for i in range(12)]
    nodes = [node("Mul", ["x0", "x1"], ["s1"])]
    nodes += [node("Sub", [f"s{i - 1}", f"x{i}"], [f"s{i}"]) for i in range(2, 12)]
    nodes[-1].output[0] = "y"
    found = made(nodes, inputs=names)
    assert len(found) == 2
    assert found[0].count("Sub") == 6


def test_a_norm_works_on_its_input_while_reading_it_and_writes_what_others_read():
    found = made(
        [
            node("Add", ["x", "z"], ["h"]),
            node("LayerNormalization", ["h", "scale"], ["n"]),
            node("Add", ["n", "h"], ["y"]),
        ],
        inputs=("x", "z"),
    )
    assert found == ["Add+LayerNormalization", "Add"]


def test_a_norm_that_comes_after_another_reader_of_its_input_takes_nothing_along():
    found = made([
        node("Sigmoid", ["x"], ["h"]),
        node("MatMul", ["h", "w"], ["p"]),
        node("LayerNormalization", ["h", "scale"], ["n"]),
        node("Add", ["n", "p"], ["y"]),
    ])  # fmt: skip
    assert "Sigmoid" in found


def test_a_norm_waits_for_nothing_whose_shape_is_asked_for_earlier():
    any_size = (FLOAT, ["m", "n"])
    proto = model(
        [
            node("Add", ["x", "z"], ["h"]),
            node("Shape", ["h"], ["s"]),
            node("Concat", ["s", "one"], ["longer"], axis=0),
            node("Reshape", ["flat", "longer"], ["r"]),
            node("Relu", ["r"], ["y"]),
            node("LayerNormalization", ["h", "scale"], ["n"]),
        ],
        {
            "x": any_size,
            "z": any_size,
            "flat": (FLOAT, ["all"]),
            "scale": (FLOAT, ["n"]),
        },
        {"y": (FLOAT, None), "n": (FLOAT, None)},
        {"one": np.array([1])},
    )
    feed = {"x": floats(3, 4), "z": floats(3, 4), "flat": floats(12)}
    feed["scale"] = floats(4)
    assert groups(checked(proto, feed))[0] == "Add"


def test_a_softmax_takes_scale_and_mask_of_fewer_dims_along():
    proto = model(
        [
            node("Mul", ["s", "k"], ["a"]),
            node("Add", ["a", "mask"], ["b"]),
            node("Softmax", ["b"], ["y"], axis=-1),
        ],
        {"s": (FLOAT, ["b", "h", "q", "k"]), "mask": (FLOAT, ["b", 1, 1, "k"])},
        {"y": (FLOAT, None)},
        {"k": np.float32(0.5)},
    )
    found = checked(proto, {"s": floats(2, 3, 5, 7), "mask": floats(2, 1, 1, 7)})
    assert groups(found) == ["Mul+Add+Softmax"]


def test_a_norm_whose_scale_is_its_input_computes_it_first():
    proto = model(
        [
            node("Sigmoid", ["x"], ["h"]),
            node("LayerNormalization", ["h", "h"], ["y"], axis=0),
        ],
        {"x": (FLOAT, ["n"])},
        {"y": (FLOAT, None)},
    )
    assert groups(checked(proto, {"x": floats(9)})) == ["Sigmoid", "LayerNormalization"]


def test_what_nobody_reads_is_left_out():
    proto = model(
        [node("Sigmoid", ["x"], ["y"]), node("Tanh", ["x"], ["unread"])],
        {"x": ROWS},
        {"y": (FLOAT, None)},
    )
    assert groups(opened(proto)) == ["Sigmoid"]


def mixed_graph(seed, size=25):
    """Return a random graph of element-wise nodes, products, norms and views."""
    rng = np.random.default_rng(seed)
    names, nodes = ["x", "z"], []
    for number in range(size):
        one, other = (str(rng.choice(names[-6:])) for _ in range(2))
        kind = rng.integers(9)
        name = f"v{number}"
        if kind == 0:
            nodes.append(node("MatMul", [one, "w"], [name]))
        elif kind == 1:
            nodes.append(node("LayerNormalization", [one, "scale"], [name]))
        elif kind == 2:
            nodes.append(node("Softmax", [one], [name], axis=int(rng.integers(2))))
        elif kind == 3:
            nodes.append(node("Transpose", [one], [f"{name}t"], perm=[1, 0]))
            nodes.append(node("Tanh", [f"{name}t"], [f"{name}s"]))
            nodes.append(node("Transpose", [f"{name}s"], [name], perm=[1, 0]))
        elif kind == 4:
            nodes.append(node("ReduceMean", [one, "last"], [f"{name}m"], keepdims=1))
            nodes.append(node("Sub", [one, f"{name}m"], [name]))
        elif kind == 5:
            nodes.append(node("Shape", [one], [f"{name}s"]))
            nodes.append(node("Reshape", [other, f"{name}s"], [name]))
        elif kind == 6:
            nodes.append(node("Gemm", [one, "w", "row"], [name], alpha=0.5))
        else:
            op = str(rng.choice(["Add", "Sub", "Mul", "Max"]))
            nodes.append(node(op, [one, other], [f"{name}p"]))
            nodes.append(node("Sigmoid", [f"{name}p"], [name]))
        names.append(name)
    outputs = {str(rng.choice(names[2:])) for _ in range(3)} | {names[-1]}
    return model(
        nodes,
        {"x": ROWS, "z": ROWS},
        dict.fromkeys(sorted(outputs), (FLOAT, None)),
        {"w": W, "scale": SCALE, "row": ROW, "last": np.array([1])},
        opset=20,
    )


@pytest.mark.parametrize("seed", range(25))
def test_a_random_graph_gives_numpys_results_and_its_groups_are_in_order(seed):
    draw = np.random.default_rng(seed).standard_normal
    feeds = [
        {name: draw((rows, 4)).astype(np.float32) for name in "xz"} for rows in (3, 1)
    ]
    session = checked(mixed_graph(seed), *feeds, tolerance=2e-5, least=1.0)
    for program in programs(session):
        for stage in program.stages:
            _in_order(stage)


def _in_order(stage):
    made = set()
    covered = [inner for group in stage.groups for inner in group.nodes]
    assert len(covered) == len(set(covered))
    inside = set(covered)
    for group in stage.groups:
        own = {value for inner in group.nodes for value in inner.outputs}
        for inner in group.nodes:
            for value in inner.inputs:
                if value is not None and value.producer in inside:
                    assert value in made or value in own, group.label
        made |= set(group.results)


@pytest.mark.parametrize("seed", range(6))
def test_elementwise_graphs_are_few_groups_and_give_numpys_results(seed):
    proto = random_graph(seed, 40)
    feed = {info.name: floats(2, 3) for info in proto.graph.input}
    session = checked(proto, feed, least=1.0)
    assert len(groups(session)) < len(proto.graph.node) / 1.2


def test_an_activation_behind_a_reshape_of_a_product_is_part_of_it():
    nodes = [
        node("Gemm", ["x", "w"], ["g"]),
        node("Reshape", ["g", "shape"], ["r"]),
        node("Relu", ["r"], ["y"]),
    ]
    assert made(nodes, shape=np.array([0, 2, 2])) == ["Gemm+Relu", "Reshape"]
