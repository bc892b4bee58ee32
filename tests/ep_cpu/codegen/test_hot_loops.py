"""The innermost loops of kernels keep everything in registers."""

import re

import pytest

pytest.importorskip("llvmlite")

from oracle import identity, one
from runtime_ep_cpu.codegen import (  # noqa: F401
    columns,
    copies,
    elementwise,
    normalization,
    recurrence,
    reduction,
    softmax,
)
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec, written
from runtime_ep_cpu.codegen.machine import assembly
from runtime_ep_cpu.codegen.recurrence_cells import Cell, Function
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.codegen.winograd_forms import FORMS

pytestmark = pytest.mark.skipif(host().name != "avx512", reason="reads AVX-512 code")

SCALED = Expression(
    ("float",) * 3,
    (Instruction("multiply", (0, 1)), Instruction("add", (3, 2))),
    ((4, "float"),),
)
SUM = one("add", "float", "float")
PLAIN = {"prologue": identity(), "epilogue": identity()}
REDUCTION = {**PLAIN, "last": False}
SIGMOID, TANH = Function("sigmoid"), Function("tanh")
CELLS = {
    "lstm": (Cell("LSTM", (SIGMOID, TANH, TANH)), (1,)),
    "gru": (Cell("GRU", (SIGMOID, TANH)), (1, 1)),
    "gru_linear": (Cell("GRU_LINEAR", (SIGMOID, TANH)), (1,)),
    "rnn": (Cell("RNN", (TANH,)), (1,)),
}
KERNELS = {
    "add": elementwise.spec(SUM),
    "gelu": elementwise.spec(one("gelu", "float")),
    "swiglu": elementwise.spec(one("swiglu", "float", "float")),
    "softmax": Spec.of("softmax", **PLAIN),
    "log_softmax": Spec.of("log_softmax", **PLAIN),
    "layer_norm": Spec.of(
        "layer_norm", prologue=SUM, epilogue=SCALED, stores=True, statistics=False
    ),
    "rms_norm": Spec.of("rms_norm", prologue=identity(), epilogue=SUM),
    "sum": Spec.of("reduce_last", operation="sum", **REDUCTION),
    "arg_max": Spec.of("reduce_last", operation="arg_max", **{
        **REDUCTION, "epilogue": identity("i64"),
    }),
    "mean_down": Spec.of("reduce_middle", operation="mean", **REDUCTION),
    "max_down": Spec.of("reduce_middle", operation="max", **REDUCTION),
    **{
        f"transpose_{size}": Spec.of("copy_transposed", size=size)
        for size in copies.SIZES
    },
    "rows": Spec.of("copy_rows"),
    **{f"winograd_{size}": Spec.of("winograd", size=size, vectors=4) for size in FORMS},
    **{
        name: Spec.of("recurrence", cell=cell, units=units)
        for name, (cell, units) in CELLS.items()
    },
    **{f"winograd_input_{size}": Spec.of("winograd_input", size=size) for size in FORMS},
}  # fmt: skip


def innermost_loops(text):
    """Return the lines of each block that ends with a jump to its own beginning."""
    loops, label, lines = [], None, []
    for line in text.splitlines():
        found = re.match(r"(\.?\w+):", line)
        if found:
            label, lines = found[1], []
            continue
        lines.append(line)
        jump = re.match(r"\s+j\w+\s+(\.?\w+)$", line)
        if jump and jump[1] == label:
            loops.append(list(lines))
    return loops


@pytest.mark.parametrize("name", KERNELS)
def test_no_vector_is_spilled_in_an_innermost_loop(name):
    text = assembly(written([KERNELS[name]], host()), host())
    stack = r"%r[sb]p" if re.search(r"mov\w\s+%rsp, %rbp", text) else "%rsp"
    loops = [loop for loop in innermost_loops(text) if any("mm" in i for i in loop)]
    assert loops
    for loop in loops:
        spills = [line for line in loop if "mm" in line and re.search(stack, line)]
        assert not spills, "\n".join(loop)
