"""KernelTable: the newest kernel not newer than the opset, attributes filled in."""

import numpy as np
import pytest
from runtime.graph import Attribute, AttributeKind, Node, Value
from runtime.kernels import Kernel, KernelTable
from runtime.plugin import Claim, Refusal, Unsupported


def twice(x, /, *, factor=2.0):
    return x * factor


def test_the_newest_kernel_not_newer_than_the_opset_is_chosen():
    table = KernelTable()
    table("Op", since=1)(lambda x, /: 1)
    table("Op", since=7)(lambda x, /: 7)
    assert [table.find("", "Op", v).since for v in (1, 6, 7, 20)] == [1, 1, 7, 7]
    assert table.find("", "Other", 7) is None
    assert table.find("else.where", "Op", 7) is None


def test_a_kernel_may_end():
    table = KernelTable()
    table("Op", since=1, until=8)(lambda x, /: 1)
    assert table.find("", "Op", 8) is not None
    assert table.find("", "Op", 9) is None


def test_registering_twice_is_an_error():
    table = KernelTable()
    table("Op", since=1)(lambda x, /: 1)
    with pytest.raises(ValueError, match="Op since opset 1 is registered twice"):
        table("Op", since=1)(lambda x, /: 2)


def test_attributes_are_filled_in():
    table = KernelTable()
    table("Twice", since=1)(twice)
    entry = Attribute(AttributeKind.FLOAT, 3.0)
    node = Node("Twice", [Value("x")], attributes={"factor": entry}, version=1)
    assert table.bind(node)(np.float32(2)) == 6
    assert table.bind(Node("Twice", [Value("x")], version=1))(np.float32(2)) == 4


def test_an_unknown_attribute_is_refused():
    table = KernelTable()
    table("Twice", since=1)(twice)
    entry = Attribute(AttributeKind.FLOAT, 3.0)
    node = Node("Twice", [Value("x")], attributes={"fctor": entry}, version=1)
    with pytest.raises(Unsupported, match="no attribute 'fctor'"):
        table.bind(node)


def test_claims_and_refusals_follow_the_table():
    table = KernelTable()
    table("Twice", since=5)(twice)
    known, old, other = (
        Node("Twice", version=6),
        Node("Twice", version=4),
        Node("Nope", version=6),
    )
    answers = list(table.capability([known, old, other]))
    assert answers[0] == Claim((known,))
    assert answers[1] == Refusal(
        old, "no kernel for Twice at opset 4; kernels begin at 5"
    )
    assert answers[2] == Refusal(other, "no kernel for Nope")


def test_a_kernel_learns_which_outputs_are_wanted():
    seen = []
    table = KernelTable()

    @table("Pair", since=1)
    def pair(x, /, *, call):
        seen.append(call.wanted)
        return x, x

    node = Node("Pair", [Value("x")], [Value("a"), Value("")], version=1)
    table.bind(node)(1)
    assert seen == [(True, False)]


def test_policy_wraps_every_kernel_once_per_node():
    wrapped = []

    def wrap(kernel, node, function):
        wrapped.append((kernel.op_type, node.op_type))
        return lambda *a: -function(*a)

    table = KernelTable(wrap=wrap)
    table.add(Kernel("", "Twice", 1, twice))
    run = table.bind(Node("Twice", [Value("x")], version=1))
    assert run(3) == -6
    assert wrapped == [("Twice", "Twice")]
