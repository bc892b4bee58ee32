"""Kernels of every family, in the forms that models ask for, by name."""

import runtime_ep_cpu.codegen.families  # noqa: F401  registers every family
from oracle import identity, one
from runtime_ep_cpu.codegen import (
    attention,
    copies,
    cumulative,
    elementwise,
    grid_sample,
    interleave,
    linear,
    mapped,
    normed,
    roi,
    scatter,
    scores,
    short_rows,
    support,
    suppression,
    top_k,
    trees,
)
from runtime_ep_cpu.codegen import depthwise_tile as depthwise
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.microkernel import shapes, tiles, usual_width
from runtime_ep_cpu.codegen.recurrence_cells import Cell, Function
from runtime_ep_cpu.codegen.strassen import first_tiles
from runtime_ep_cpu.codegen.target import crossed, host
from runtime_ep_cpu.codegen.winograd_forms import FORMS

SCALED = Expression(
    ("float",) * 3,
    (Instruction("multiply", (0, 1)), Instruction("add", (3, 2))),
    ((4, "float"),),
)
SUM = one("add", "float", "float")
HALVES = Expression(("half",) * 2, (Instruction("add", (0, 1)),), ((2, "half"),))
ROUNDED = Expression(
    ("float",),
    (
        *(Instruction(name, (0,)) for name in ("floor", "ceil", "trunc", "rint")),
        *(Instruction("add", pair) for pair in ((1, 2), (3, 4), (5, 6))),
    ),
    ((7, "float"),),
)  # fmt: skip
INDICES = identity("i64")
PLAIN = {"prologue": identity(), "epilogue": identity()}
FUSED = {"epilogue": SCALED, "wide": (True, True)}
SIGMOID, TANH = Function("sigmoid"), Function("tanh")
CELLS = {
    "lstm": (Cell("LSTM", (SIGMOID, TANH, TANH)), (1,)),
    "gru": (Cell("GRU", (SIGMOID, TANH)), (1, 1)),
    "gru_linear": (Cell("GRU_LINEAR", (SIGMOID, TANH)), (1,)),
    "rnn": (Cell("RNN", (TANH,)), (1,)),
}
VECTOR_MATHS = ("exp", "log", "sin", "cos", "tanh", "erf", "sqrt", "sigmoid", "gelu")


def readable():
    """Return targets by name whose code can be made here: the host's, and of others.

    LLVM, as llvmlite has it, parses the host's inline assembly only: x86's on x86.
    """
    machines = {"avx512": "x86_64", "avx2": "x86_64", "neon": "aarch64"}
    found = {
        name: crossed(name, f"{machine}-unknown-linux-gnu")
        for name, machine in machines.items()
        if machine != "x86_64" or host().is_x86
    }
    return found | ({host().name: host()} if host().name in found else {})


def rows():
    """Return kernels that go along rows, and element by element."""
    found = {
        "add": elementwise.spec(SUM),
        "add_halves": elementwise.spec(HALVES),
        "rounded": elementwise.spec(ROUNDED),
        "divide_i64": elementwise.spec(one("divide", "i64", "i64", result="i64")),
        "power": elementwise.spec(one("pow", "float", "float")),
        "swiglu": elementwise.spec(one("swiglu", "float", "float")),
        "softmax": Spec.of("softmax", **PLAIN),
        "log_softmax": Spec.of("log_softmax", **PLAIN),
        "layer_norm": Spec.of(
            "layer_norm", prologue=SUM, epilogue=SCALED, stores=True, statistics=False
        ),
        "rms_norm": Spec.of("rms_norm", prologue=identity(), epilogue=SUM),
        "channel_moments": Spec.of("channel_moments"),
        "group_scales": Spec.of("group_scales"),
    }
    for word in VECTOR_MATHS:
        found[word] = elementwise.spec(one(word, "float"))
    for word in ("sum", "mean", "max"):
        found[word] = Spec.of("reduce_last", operation=word, **PLAIN)
        found[f"{word}_down"] = Spec.of("reduce_middle", operation=word, **PLAIN)
    found["arg_max"] = Spec.of(
        "reduce_last", operation="arg_max", prologue=identity(), epilogue=INDICES
    )
    return found


def products(target):
    """Return what multiplies, its packing and its largest tiles."""
    width = usual_width(target)
    found = {
        "gemm": Spec.of("gemm", vectors=width, **FUSED),
        "strassen": Spec.of("strassen", vectors=width),
        "strassen_finish": Spec.of("strassen_finish", vectors=width, **FUSED),
        "strassen_rows": Spec.of("strassen_rows"),
        "strassen_scales": Spec.of("strassen_scales", vectors=width),
        "difference_tile": first_tiles(target, width)[-1],
        "pack": Spec.of("pack", vectors=width),
        "pack_turned": Spec.of("pack", vectors=width, element="half", turned=True),
        "convolution": Spec.of("convolution", vectors=width, **FUSED),
        "depthwise": Spec.of("depthwise", **FUSED),
        "gates": Spec.of("gates", vectors=width),
        "channel_rows": Spec.of("sequence"),
    }
    for vectors in shapes(target):
        for runs in (False, True):
            kind = "runs" if runs else "tile"
            found[f"{kind}_{vectors}"] = tiles(target, vectors, runs)[-1]
    for taps, step, gap in ((3, 1, 1), (3, 2, 1), (5, 1, 1), (7, 1, 1), (3, 1, 2)):
        for spec in depthwise.tiles(target, taps, step, gap):
            pixels = dict(spec.parameters)["pixels"]
            found[f"depthwise_{taps}_{step}_{gap}_{pixels}"] = spec
    for size in FORMS:
        found[f"winograd_{size}"] = Spec.of(
            "winograd", size=size, vectors=width, **FUSED
        )
        found[f"winograd_input_{size}"] = Spec.of("winograd_input", size=size)
        found[f"winograd_filters_{size}"] = Spec.of("winograd_filters", size=size)
    for word, (cell, units) in CELLS.items():
        found[word] = Spec.of("recurrence", cell=cell, units=units)
    for family in attention.PLANS:
        found[family] = Spec.of(family, elements=("float",) * 4)
        found[f"{family}_masked"] = Spec.of(
            family, elements=("half",) * 4, mask="float", banded=True, softcap=True
        )
    return found


def moves():
    """Return what moves elements, and what reads them by index."""
    found = {
        "rows": Spec.of("copy_rows"),
        "triangle": Spec.of("triangle", size=4, upper=True),
        "pixels": interleave.spec(3),
        "resample": Spec.of("resample", element="float", taps=(1, 2, 2)),
        "resample_moved": Spec.of("resample", element="i32", taps=(1, 1, 1)),
        "resample_along": Spec.of("resample_along", element="float", result="float"),
        "max_pool": Spec.of("pool", operation="max", **PLAIN),
        "average_pool": Spec.of("pool", operation="mean", **PLAIN),
        "pool_positions": Spec.of("pool_positions", element="float"),
        "roi_align": roi.align_spec("avg", True, "float", "float", "i64"),
        "roi_pool": roi.pool_spec("float"),
        "top_k": top_k.spec("float", largest=True, by_value=True),
        "suppress": suppression.spec(center=True, bounded=True),
        "suppressed": suppression.COLLECT,
        "rotary": Spec.of("rotary", element="float"),
        "rotary_halves": Spec.of("rotary", element="half", interleaved=True),
        "repeat_begin": Spec.of("repeat_begin"),
        "repeat": Spec.of("repeat"),
    }
    for size in copies.SIZES:
        for kind in ("transposed", "strided", "repeated", "reversed"):
            found[f"{kind}_{size}"] = Spec.of(f"copy_{kind}", size=size)
    for mode, padding in (("linear", "zeros"), ("cubic", "reflection")):
        found[f"grid_{mode}"] = grid_sample.spec(mode, padding, 2, "float", "float")
    combined = scatter.specs("float", "i64", 2, "add")
    for spec in (*combined, *cumulative.specs("float", "add", exclusive=True)):
        found[spec.family] = spec
    found["gather_lanes"] = Spec.of("gather_lanes", index="i64")
    for way in ("gather", "scatter"):
        found[f"{way}_rows"] = Spec.of(f"{way}_rows", index="i64", depth=2)
        found[f"{way}_elements"] = Spec.of(
            f"{way}_elements", index="i32", depth=1, size=4
        )
    return found


def learned():
    """Return kernels of classical models."""
    return {
        **{
            kind: trees.spec(kind, "float", "float", "float", "sum", 1, 32)
            for kind in ("forest", "forest_row")
        },
        "linear": linear.spec("float", "float"),
        "normed": normed.spec("float", "float", "L2"),
        "mapped": mapped.spec("i64", "i64", 8),
        "scores": scores.spec("float", "float", "float", transform="SOFTMAX"),
        "support": support.spec("float", "RBF", 0.0, classifies=True),
        "support_row": support.spec("float", "RBF", 0.0, classifies=True, single=True),
        "coupled": support.coupled_spec(),
        "short_rows": short_rows.spec("sum"),
    }


def every(target):
    """Return a target's kernels by name: each family at least once."""
    return rows() | products(target) | moves() | learned()
