"""Element types in memory against NumPy and ml_dtypes, on every target."""

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from runtime_ep_cpu.codegen import memory
from runtime_ep_cpu.codegen.builder import Function
from runtime_ep_cpu.codegen.library import FAMILIES, Spec
from runtime_ep_cpu.codegen.target import named, runnable

TARGETS = runnable()
DTYPES = {"half": np.float16, "bfloat": ml_dtypes.bfloat16, "float": np.float32}


def convert(module, target, name, *, source, to):
    """Write a conversion of ``count`` elements: out[i] = in[i]."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, lanes = f.parameters[0], target.lanes
    out, given = f.field(arguments, 0, "ptr"), f.field(arguments, 1, "ptr")
    count = f.field(arguments, 2)
    with f.loop(0, count, lanes) as loop:
        mask = memory.mask_of(f, target, count - loop.index, lanes)
        place = given.at(loop.index, memory.stored(source))
        value = memory.read(f, target, place, source, lanes, mask)
        place = out.at(loop.index, memory.stored(to))
        memory.write(f, target, value, place, to, mask)
    f.ret()


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(FAMILIES, "convert_for_test", convert)


def converted(values, source, to, target):
    values = guarded(values)
    out = guarded(np.zeros(values.shape, DTYPES[to]))
    spec = Spec.of("convert_for_test", source=source, to=to)
    run(spec, [out, values, values.size], 1, target=named(target))
    return out


def same(a, b):
    """Whether bits are equal, any NaN being like any other."""
    number = {2: np.uint16, 4: np.uint32}[a.itemsize]
    either = np.isnan(a.astype(np.float32)) & np.isnan(b.astype(np.float32))
    return (
        np.array_equal(a.view(number)[~either], b.view(number)[~either])
        and (np.isnan(a.astype(np.float32)) == np.isnan(b.astype(np.float32))).all()
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("narrow", ["half", "bfloat"])
def test_every_narrow_float_is_read_exactly(target, narrow):
    values = np.arange(65536, dtype=np.uint16).view(DTYPES[narrow])
    assert same(converted(values, narrow, "float", target), values.astype(np.float32))
    assert same(converted(values, narrow, narrow, target), values)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("narrow", ["half", "bfloat"])
def test_floats_are_rounded_to_the_nearest_even(target, narrow):
    every = np.arange(65536, dtype=np.uint16).view(DTYPES[narrow]).astype(np.float32)
    bits = every.view(np.uint32)
    half = {"half": 1 << 12, "bfloat": 1 << 15}[narrow]
    around = [bits + half - 1, bits + half, bits + half + 1, bits + 2 * half - 1]
    random = np.random.default_rng(1).integers(0, 2**32, 100_003, np.uint64)
    values = np.concatenate([*around, random.astype(np.uint32)]).astype(np.uint32)
    values = values.view(np.float32)
    with np.errstate(all="ignore"):
        wanted = values.astype(DTYPES[narrow])
    assert same(converted(values, "float", narrow, target), wanted)


@pytest.mark.parametrize("target", TARGETS)
def test_booleans_are_bytes_and_any_byte_but_zero_is_true(target):
    values = guarded(np.array([0, 1, 2, 255, 0, 7, 0] * 5, np.uint8))
    out = guarded(np.full(values.shape, 9, np.uint8))
    spec = Spec.of("convert_for_test", source="i1", to="i1")
    run(spec, [out, values, values.size], 1, target=named(target))
    np.testing.assert_array_equal(out, values != 0)


def test_a_value_of_another_type_is_not_written():
    with pytest.raises(TypeError, match="cannot be a i64"):
        run(Spec.of("convert_for_test", source="half", to="i64"), [0, 0, 0], 1)
