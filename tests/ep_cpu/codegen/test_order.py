"""What waits for another value is written behind it, and is the same value."""

import re

import pytest

pytest.importorskip("llvmlite")

import kernels
from runtime_ep_cpu.codegen.builder import Function, Module
from runtime_ep_cpu.codegen.machine import assembly
from runtime_ep_cpu.codegen.order import after
from runtime_ep_cpu.codegen.target import crossed


def roots(target, waits):
    """Return a module that takes two roots, of which the second may wait for the first."""
    module = Module()
    f = Function(module, "roots", [("ptr", "x"), ("ptr", "y")])
    x, y = f.parameters
    first = f.intrinsic("llvm.sqrt", f.load(x, "<8 x float>"))
    place = after(f, target, y, first) if waits else y
    second = f.intrinsic("llvm.sqrt", f.load(place, "<8 x float>"))
    f.store(second, y)
    f.store(first, x)
    f.ret()
    return module.text()


@pytest.mark.skipif("avx2" not in kernels.readable(), reason="no processor of x86's")
def test_a_read_that_waits_is_behind_what_it_waits_for():
    target = kernels.readable()["avx2"]
    text = assembly(roots(target, True), target)
    assert re.search(r"sqrtps.*#APP\s+#NO_APP.*sqrtps", text, re.DOTALL)


def test_where_registers_are_enough_nothing_waits():
    target = crossed("neon", "aarch64-unknown-linux-gnu")
    assert roots(target, True) == roots(target, False)
