"""Text of LLVM IR: types, constants, arithmetic, loops, branches, memory."""

import ctypes
import struct

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from hypothesis import given
from hypothesis import strategies as st
from runtime_ep_cpu.codegen.builder import (
    Function,
    Kind,
    Module,
    kind,
    literal,
    vector,
    with_element,
)
from runtime_ep_cpu.codegen.machine import Code, compiled, function
from runtime_ep_cpu.codegen.target import host


def made(write, parameters, returns):
    """Compile one function and return it as Python calls it."""
    module = Module()
    f = Function(module, "f", parameters, returns)
    write(f, *f.parameters)
    code = Code(host(), compiled(module.text(), host()))
    types = {"i64": ctypes.c_int64, "float": ctypes.c_float, "ptr": ctypes.c_void_p}
    native = function(
        code.address("f"),
        *(types[type] for type, _ in parameters),
        returns=types.get(returns),
    )
    native.code = code
    return native


def test_types_are_taken_apart_and_put_together():
    assert kind("<16 x float>") == Kind("float", 16)
    assert kind("i64") == Kind("i64", 0)
    assert vector("half", 8) == "<8 x half>"
    assert vector("half", 0) == "half"
    assert with_element("<4 x i1>", "i8") == "<4 x i8>"
    assert kind("<4 x bfloat>").suffix == "v4bf16"
    assert kind("<8 x ptr>").suffix == "v8p0"
    assert kind("i1").bits == 1


@given(st.floats(width=32, allow_nan=False))
def test_a_float32_constant_is_that_number(value):
    bits = int(literal(value, "float"), 16)
    assert struct.unpack("<d", struct.pack("<Q", bits))[0] == value
    assert np.signbit(struct.unpack("<d", struct.pack("<Q", bits))[0]) == np.signbit(
        value
    )


@given(st.floats(-60000, 60000))
def test_half_constants_are_rounded_to_nearest_even(value):
    bits = int(literal(value, "half").removeprefix("0xH"), 16)
    assert bits == np.float16(value).view(np.uint16)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_bfloat_constants_are_rounded_to_nearest_even(value):
    bits = int(literal(value, "bfloat").removeprefix("0xR"), 16)
    assert bits == np.float32(value).astype(ml_dtypes.bfloat16).view(np.uint16)


def test_both_zeros_are_constants_of_their_own():
    assert literal(0.0, "float") != literal(-0.0, "float")
    assert literal(-0.0, "<4 x float>") != literal(0.0, "<4 x float>")


def test_numbers_float32_cannot_hold_are_infinite():
    assert literal(1e39, "float") == literal(float("inf"), "float")
    assert literal(-1e39, "float") == literal(float("-inf"), "float")
    assert literal(3.4028234663852886e38, "float") != literal(float("inf"), "float")


def test_arithmetic_with_numbers_and_values():
    def write(f, a, b):
        f.ret((a + 3) * b - a // 2 + (10 - b) % 7)

    native = made(write, [("i64", "a"), ("i64", "b")], "i64")
    assert native(9, 5) == 12 * 5 - 4 + 5


def test_types_are_not_mixed():
    f = Function(Module(), "f", [("i64", "a"), ("float", "b")])
    a, b = f.parameters
    with pytest.raises(TypeError, match="different types"):
        _ = a + b


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_loop_carries_values(count):
    def write(f, n):
        with f.loop(0, n, carried=[f.value(0, "i64"), f.value(1, "i64")]) as loop:
            one, other = loop.carried
            loop.next(other, one + other)
        f.ret(loop.results[0])

    assert made(write, [("i64", "n")], "i64")(count) == [0, 1, 1, 2, 3, 5, 8, 13][count]


def test_loops_nest_and_step():
    def write(f, n):
        with f.loop(0, n, 3, carried=[f.value(0, "i64")]) as outer:
            with f.loop(outer.index, n, carried=outer.carried) as inner:
                inner.next(inner.carried[0] + inner.index)
            outer.next(*inner.results)
        f.ret(outer.results[0])

    want = sum(j for i in range(0, 11, 3) for j in range(i, 11))
    assert made(write, [("i64", "n")], "i64")(11) == want


def test_a_loop_that_forgets_what_it_carries_is_an_error():
    f = Function(Module(), "f", [])
    with (
        pytest.raises(ValueError, match="1 values are carried, 0 go on"),
        f.loop(0, 3, carried=[f.value(0, "i64")]),
    ):
        pass


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (-5, -6)])
def test_branches_choose(a, b):
    def write(f, a, b):
        (most,) = f.choose(a > b, lambda: [a], lambda: [b])
        place = f.allocate("i64", 1)
        f.store(most, place)
        with f.when(a.equals(1)):
            f.store(most * 100, place)
        f.ret(f.load(place, "i64") + f.maximum(a, b) - f.minimum(a, b))

    native = made(write, [("i64", "a"), ("i64", "b")], "i64")
    assert native(a, b) == max(a, b) * (100 if a == 1 else 1) + abs(a - b)


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_masked_memory_touches_only_the_lanes_that_are_set(count):
    def write(f, source, target, n):
        mask = f.tail(n, 8)
        value = f.load_masked(source, "<8 x float>", mask)
        f.store_masked(value * 2.0, target, mask)
        f.ret()

    native = made(write, [("ptr", "a"), ("ptr", "b"), ("i64", "n")], "void")
    a = np.arange(1, 9, dtype=np.float32)
    b = np.full(8, -1, np.float32)
    native(a.ctypes.data, b.ctypes.data, count)
    assert b.tolist() == [*(a[:count] * 2).tolist(), *([-1] * (8 - count))]


def test_lanes_are_shuffled_extracted_and_taken_together():
    def write(f, source):
        value = f.load(source, "<4 x float>")
        turned = f.shuffle(value, value, [3, 2, 1, 0])
        f.ret(f.extract(turned, 0) * 10.0 + f.reduce("fadd", value))

    native = made(write, [("ptr", "a")], "float")
    a = np.array([1, 2, 3, 4], np.float32)
    assert native(a.ctypes.data) == 4 * 10 + 10


def test_comparisons_with_nan_are_false_but_for_differs():
    def write(f, a, b):
        total = f.value(0, "i64")
        for one in (a < b, a <= b, a > b, a >= b, a.equals(b), a.differs(b)):
            total = total * 2 + f.convert(one, "i64", unsigned=True)
        f.ret(total)

    native = made(write, [("float", "a"), ("float", "b")], "i64")
    assert native(float("nan"), 1.0) == 0b000001
    assert native(1.0, 1.0) == 0b010110
    assert native(1.0, 2.0) == 0b110001


def test_a_module_declares_each_outside_function_once_and_no_own_one():
    module = Module()
    inner = Function(module, "inner", [("i64", "a")], "i64", internal=True)
    inner.ret(inner.parameters[0] + 1)
    f = Function(module, "f", [("i64", "a")], "i64")
    one = f.call("inner", "i64", f.parameters[0])
    f.ret(f.intrinsic("llvm.smax", one, f.intrinsic("llvm.smax", one, one)))
    text = module.text()
    assert module.has("inner")
    assert not module.has("outer")
    assert text.count("declare") == 1
    assert "declare i64 @inner" not in text
    assert compiled(text, host())
