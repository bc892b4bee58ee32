"""Products in cublasLt's words: what a library that thinks in columns would compute."""

import ctypes
import math
import re
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from double.evaluate import MODES, evaluate
from library.specs import attention, biased, product, rows
from runtime_ep_cuda import cublaslt, cublaslt_lowering
from runtime_ep_cuda.cublaslt_lowering import (
    EPILOGUE_BIAS,
    EPILOGUE_GELU,
    EPILOGUE_RELU,
    folded,
    lower,
    refusal,
)
from runtime_ep_cuda.operations import Pointwise, Spec

HEADERS = Path(sysconfig.get_path("purelib")) / "nvidia/cu13/include"


def in_memory(spec, seed):
    """Random numbers as they lie in memory: a flat array, and the view of it."""
    random = np.random.default_rng(seed)
    axes = zip(spec.shape, spec.strides, strict=True)
    span = 1 + sum((dim - 1) * step for dim, step in axes)
    whole = spec.dtype.startswith("int")
    values = random.integers(-9, 9, span) if whole else random.standard_normal(span)
    flat = values.astype(spec.dtype)
    steps = [step * flat.itemsize for step in spec.strides]
    return flat, np.lib.stride_tricks.as_strided(flat, spec.shape, steps)


def matrix(flat, side, number):
    """One matrix of a batch: (rows, columns) read by columns, turned if it says so."""
    start = number * side.offset
    steps = (flat.itemsize, side.ld * flat.itemsize)
    found = np.lib.stride_tricks.as_strided(
        flat[start:], (side.rows, side.columns), steps
    )
    return found.T if side.turned else found


def computed(operation, flats):
    """Carry out a lowered product as cublasLt's documentation says it does."""
    lowered = lower(operation)
    a, b, *operands, y = flats
    for number in range(lowered.d.batch):
        left = matrix(b, lowered.a, number).astype(float)
        total = lowered.alpha * left @ matrix(a, lowered.b, number)
        if lowered.residual >= 0:
            total += matrix(operands[lowered.residual], lowered.c, number)
        if lowered.epilogue & EPILOGUE_BIAS:
            total += operands[lowered.bias].reshape(-1, 1)
        for kind, mode in ((EPILOGUE_RELU, "relu"), (EPILOGUE_GELU, "gelu_tanh")):
            if lowered.epilogue & kind:
                total = MODES[mode](total, None)
        matrix(y, lowered.d, number)[...] = total


def turned(spec):
    _, long, wide = spec.shape
    return spec._replace(strides=(long * wide, 1, long))


def spread(spec, gap=3):
    _, long, wide = spec.shape
    step = wide + gap
    return spec._replace(strides=((long + 1) * step, step, 1))


PLAIN = product((2, 5, 7), (2, 7, 6), dtype="float32", alpha=0.5)
BIAS, RESIDUAL = rows("float32", 6), rows("float32", 2, 5, 6)
CASES = {
    "rows": PLAIN,
    "b in columns": replace(PLAIN, b=turned(PLAIN.b)),
    "a in columns": replace(PLAIN, a=turned(PLAIN.a)),
    "both in columns": replace(PLAIN, a=turned(PLAIN.a), b=turned(PLAIN.b)),
    "gaps": replace(
        PLAIN, a=spread(PLAIN.a), b=spread(PLAIN.b), y=spread(PLAIN.y, gap=1)
    ),
    "a shared b": product((2, 5, 7), (1, 7, 6), dtype="float32"),
    "a shared b that lies apart": replace(
        product((2, 5, 7), (1, 7, 6), dtype="float32"), a=spread(PLAIN.a)
    ),
    "heads in the middle": replace(
        product((3, 5, 4), (3, 4, 6), dtype="float32"),
        a=Spec("float32", (3, 5, 4), (4, 12, 1)),
        b=Spec("float32", (3, 4, 6), (4, 1, 12)),
        y=Spec("float32", (3, 5, 6), (6, 18, 1)),
    ),
    "bias": replace(PLAIN, operands=(BIAS,), epilogue=(biased(),)),
    "bias and relu": replace(
        PLAIN,
        operands=(rows("float32", 1, 1, 6),),
        epilogue=(biased(), Pointwise("relu")),
    ),
    "residual, bias and gelu": replace(
        PLAIN,
        operands=(RESIDUAL, BIAS),
        epilogue=(biased(0), biased(1), Pointwise("gelu_tanh")),
    ),
    "residual, folded": replace(
        product((2, 5, 7), (1, 7, 6), dtype="float32"),
        operands=(BIAS, RESIDUAL),
        epilogue=(biased(0), biased(1)),
    ),
    "one row": product((1, 1, 7), (1, 7, 6), dtype="float32"),
    "one column": product((1, 5, 7), (1, 7, 1), dtype="float32"),
    "one of everything": product((1, 1, 1), (1, 1, 1), dtype="float32"),
    "int8": product((2, 5, 8), (2, 8, 4), dtype="int8", out="int32", columns=True),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_by_columns_is_the_product_of_rows(name):
    operation = CASES[name]
    specs = [operation.a, operation.b, *operation.operands, operation.y]
    memory = [in_memory(spec, seed) for seed, spec in enumerate(specs)]
    computed(operation, [flat for flat, _ in memory])
    expected = evaluate(operation, [view for _, view in memory[:-1]])
    found = memory[-1][1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_matrices_that_share_b_become_one_tall_matrix():
    assert lower(CASES["a shared b"]).d.batch == 1
    assert lower(CASES["residual, folded"]).d.columns == 10
    assert lower(CASES["a shared b that lies apart"]).d.batch == 2
    assert folded(PLAIN) is PLAIN


def test_an_alignment_is_that_of_every_matrix_of_a_batch():
    operation = product((3, 5, 7), (3, 7, 8), dtype="float16")
    b, a, c, d, bias = lower(operation).alignments
    assert (a, b) == (math.gcd(16, 5 * 7 * 2), math.gcd(16, 7 * 8 * 2))
    assert (c, d, bias) == (16, 16, 16)


REFUSED = {
    "it is no product": attention((1, 1, 8, 8), (1, 1, 8, 8)),
    "it has no product of int8 and int8 to float16": product(
        (1, 4, 4), (1, 4, 4), dtype="int8", out="float16"
    ),
    "nothing after an activation": replace(
        PLAIN, operands=(BIAS,), epilogue=(Pointwise("relu"), biased())
    ),
    "has no sigmoid": replace(PLAIN, epilogue=(Pointwise("sigmoid"),)),
    "has no gelu": replace(PLAIN, epilogue=(Pointwise("gelu"),)),
    "has no add": replace(PLAIN, epilogue=(Pointwise("add", scalar=1.0),)),
    "must have the result's type": replace(
        PLAIN, operands=(rows("float16", 6),), epilogue=(biased(),)
    ),
    "one bias and one residual": replace(
        PLAIN, operands=(BIAS, BIAS), epilogue=(biased(), biased(1))
    ),
    "its bias has gaps": replace(
        PLAIN, operands=(Spec("float32", (6,), (2,)),), epilogue=(biased(),)
    ),
    "one bias and one residual at most": replace(
        PLAIN, operands=(rows("float32"),), epilogue=(biased(),)
    ),
    "its result does not lie in rows": replace(PLAIN, y=turned(PLAIN.y)),
    "neighbours in memory": replace(PLAIN, a=Spec("float32", (2, 5, 7), (200, 20, 2))),
    "have no epilogue": replace(
        product((1, 4, 4), (1, 4, 4), dtype="int8", out="int32", columns=True),
        alpha=2.0,
    ),
    "a in rows and b in columns": product(
        (1, 4, 4), (1, 4, 4), dtype="int8", out="int32"
    ),
    "multiples of 4": product(
        (1, 4, 6), (1, 6, 4), dtype="int8", out="int32", columns=True
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_cannot_do_is_refused_with_the_reason(reason):
    assert reason in refusal(REFUSED[reason])
    assert cublaslt.candidates(cublaslt.Device(), REFUSED[reason], 1 << 20) == []
    assert (
        cublaslt.restore(cublaslt.Device(), REFUSED[reason], cublaslt.MARK + bytes(64))
        is None
    )


NAMES = {
    "CUBLAS_COMPUTE_32F": cublaslt.COMPUTE_32F,
    "CUBLAS_COMPUTE_32I": cublaslt.COMPUTE_32I,
    "CUBLAS_COMPUTE_32F_FAST_TF32": cublaslt.COMPUTE_32F_FAST_TF32,
    "CUBLAS_OP_N": cublaslt.OP_N,
    "CUBLAS_OP_T": cublaslt.OP_T,
    "CUBLAS_STATUS_SUCCESS": cublaslt.SUCCESS,
    "CUDA_R_32F": cublaslt.TYPES["float32"],
    "CUDA_R_16F": cublaslt.TYPES["float16"],
    "CUDA_R_16BF": cublaslt.TYPES["bfloat16"],
    "CUDA_R_8I": cublaslt.TYPES["int8"],
    "CUDA_R_32I": cublaslt.TYPES["int32"],
    "CUBLASLT_MATMUL_DESC_TRANSA": cublaslt.DESC_TRANSA,
    "CUBLASLT_MATMUL_DESC_TRANSB": cublaslt.DESC_TRANSB,
    "CUBLASLT_MATMUL_DESC_EPILOGUE": cublaslt.DESC_EPILOGUE,
    "CUBLASLT_MATMUL_DESC_BIAS_POINTER": cublaslt.DESC_BIAS_POINTER,
    "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT": cublaslt.LAYOUT_BATCH_COUNT,
    "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": cublaslt.LAYOUT_STRIDED_BATCH_OFFSET,
    "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": cublaslt.PREF_MAX_WORKSPACE_BYTES,
    **{
        f"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{side}_BYTES": number
        for side, number in zip("ABCD", cublaslt.PREF_MIN_ALIGNMENT_BYTES, strict=True)
    },
    "CUBLASLT_EPILOGUE_DEFAULT": cublaslt_lowering.EPILOGUE_DEFAULT,
    "CUBLASLT_EPILOGUE_RELU": cublaslt_lowering.EPILOGUE_RELU,
    "CUBLASLT_EPILOGUE_BIAS": cublaslt_lowering.EPILOGUE_BIAS,
    "CUBLASLT_EPILOGUE_GELU": cublaslt_lowering.EPILOGUE_GELU,
}
headers = pytest.mark.skipif(
    not (HEADERS / "cublasLt.h").exists(), reason="the headers are not installed"
)


def declared(*names):
    return "\n".join((HEADERS / name).read_text() for name in names)


@headers
def test_every_constant_is_that_of_the_headers():
    text = declared("cublasLt.h", "cublas_api.h", "library_types.h")
    for name, value in NAMES.items():
        found = re.search(rf"\b{name}\s*=\s*(\d+)", text)
        assert found, name
        assert int(found[1]) == value, name


@headers
def test_every_function_has_the_headers_arguments():
    text = declared("cublasLt.h")
    enums = {"cudaDataType", "cudaDataType_t", "cublasComputeType_t", "int"}
    enums |= set(re.findall(r"} (cublasLt\w+Attributes?_t);", text))
    plain = {"size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64}
    plain |= {"int64_t": ctypes.c_int64, **dict.fromkeys(enums, ctypes.c_int)}
    for name, arguments in cublaslt._SIGNATURES.items():
        pattern = rf"CUBLASWINAPI cublasLt{name}\((.*?)\);"
        found = re.search(pattern, text, re.DOTALL)
        assert found, name
        cleaned = re.sub(r"//.*?$|/\*.*?\*/", "", found[1], flags=re.MULTILINE)
        written = [each.strip() for each in cleaned.split(",")]
        expected = tuple(
            plain.get(" ".join(each.split()[:-1]), ctypes.c_void_p) for each in written
        )
        assert expected == arguments, name


@headers
def test_structures_have_the_headers_sizes():
    text = declared("cublasLt.h")
    words = re.search(r"uint64_t data\[(\d+)\];\n} cublasLtMatmulAlgo_t;", text)
    assert ctypes.sizeof(cublaslt.Algorithm) == 8 * int(words[1])
    found = re.search(
        r"typedef struct \{((?:(?!typedef).)*?)\} cublasLtMatmulHeuristicResult_t;",
        text,
        re.DOTALL,
    )
    fields = re.findall(r"^  (\w+) (\w+)(?:\[(\d+)\])?;", found[1], re.MULTILINE)
    assert fields == [
        ("cublasLtMatmulAlgo_t", "algo", ""),
        ("size_t", "workspaceSize", ""),
        ("cublasStatus_t", "state", ""),
        ("float", "wavesCount", ""),
        ("int", "reserved", "4"),
    ]
    assert ctypes.sizeof(cublaslt.HeuristicResult) == 64 + 8 + 4 + 4 + 16


@pytest.fixture
def library():
    """The library itself, which makes descriptors where there is no device."""
    pytest.importorskip("cuda.pathfinder")
    try:
        return cublaslt.library()
    except Exception as error:
        pytest.skip(f"no cublasLt: {error}")


def told(kind, descriptor, attribute, number):
    written = ctypes.c_size_t()
    arguments = (attribute, ctypes.byref(number), ctypes.sizeof(number))
    name = f"{kind}GetAttribute"
    cublaslt.call(name, descriptor, *arguments, ctypes.byref(written))
    assert written.value == ctypes.sizeof(number)
    return number.value


@pytest.mark.parametrize("name", CASES)
def test_descriptors_hold_what_they_were_told(library, name):
    lowered = lower(CASES[name])
    made = cublaslt.Descriptors(lowered)
    for attribute, side in (
        (cublaslt.DESC_TRANSA, lowered.a),
        (cublaslt.DESC_TRANSB, lowered.b),
    ):
        turn = told("MatmulDesc", made.product, attribute, ctypes.c_int32())
        assert turn == side.turned
    attribute = cublaslt.DESC_EPILOGUE
    epilogue = told("MatmulDesc", made.product, attribute, ctypes.c_uint32())
    assert epilogue == lowered.epilogue
    for layout, side in zip(
        made.layouts(), (lowered.a, lowered.b, lowered.c, lowered.d), strict=True
    ):
        words = (ctypes.c_int32, ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64)
        kind, order, high, wide, ld, count, offset = (
            told("MatrixLayout", layout, attribute, word())
            for attribute, word in enumerate(
                (*words, ctypes.c_int64, ctypes.c_int32, ctypes.c_int64)
            )
        )
        assert (kind, order) == (cublaslt.TYPES[side.dtype], 0)
        assert (high, wide, ld) == (side.rows, side.columns, side.ld)
        assert (count, offset) == (side.batch, side.offset)
    assert made.preference(1 << 20, lowered.alignments[:4])


def test_without_a_device_there_are_no_candidates(library):
    try:
        cublaslt.Device().handle  # noqa: B018
    except RuntimeError as error:
        assert "cublasLtCreate failed" in str(error)
        assert cublaslt.candidates(cublaslt.Device(), PLAIN, 1 << 20) == []
        assert (
            cublaslt.restore(cublaslt.Device(), PLAIN, cublaslt.MARK + bytes(64))
            is None
        )
    else:
        pytest.skip("there is a device")
