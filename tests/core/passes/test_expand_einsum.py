"""Einsums of two operands are products in any order of axes, and give the same."""

import numpy as np
import pytest
from models import FLOAT, model, node
from simplified import operators, same, simplified

SIZES = {c: i + 2 for i, c in enumerate("bhijkdn")}
PRODUCTS = [
    "ij,jk->ik", "ij,kj->ik", "ij,jk", "bij,bjk->bik", "bhid,bhjd->bhij",
    "bihd,bjhd->bhij", "bhij,bjhd->bihd", "bni,ihd->bnhd", "bhid,hdk->bik", "ij,j->i",
    "j,jk->k", "ij,ij->", "bij,bjk->kbi", "bijk,bijd->bkd", "ij,jbhn->inhb", "bij,jk->bik",
    "bhi,bij->bhj", "hbid,jdbk->bhijk",
]  # fmt: skip
MULTIPLES = ["i,j->ij", "bi,bj->bij", "bh,d->bhd", "ij,ji->ij", "b,bij->jbi"]


def einsum(equation, dims=None, dtype=np.float32):
    """Return a model of one Einsum, and operands; ``dims`` are those that have a name."""
    names = equation.replace("->", ",").split(",")[:2]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([SIZES[c] for c in n]).astype(dtype) for n in names]
    shapes = [[c if c in (dims or "") else SIZES[c] for c in name] for name in names]
    made = model(
        [node("Einsum", ["x", "z"], ["y"], equation=equation)],
        {"x": (FLOAT, shapes[0]), "z": (FLOAT, shapes[1])},
        {"y": (FLOAT, None)},
        {},
        20,
    )
    return made, arrays


@pytest.mark.parametrize("equation", PRODUCTS)
def test_a_sum_over_shared_axes_is_a_product_of_matrices(equation):
    proto, arrays = einsum(equation)
    found = operators(same(proto, arrays, tolerance=1e-5).graph)
    assert found["MatMul"] == 1
    assert found["Einsum"] == 0


@pytest.mark.parametrize("equation", MULTIPLES)
def test_without_a_sum_it_is_a_multiplication(equation):
    proto, arrays = einsum(equation)
    found = operators(same(proto, arrays).graph)
    assert found["Mul"] == 1
    assert found["Einsum"] == 0


@pytest.mark.parametrize(
    ("equation", "dims"),
    [("bhid,bhjd->bhij", "bij"), ("bij,bjk->bik", "bijk"), ("bni,ihd->bnhd", "bn")],
)
def test_sizes_may_be_unknown_where_nothing_is_joined(equation, dims):
    proto, arrays = einsum(equation, dims)
    found = operators(same(proto, arrays, tolerance=1e-5).graph)
    assert found["Einsum"] == 0


@pytest.mark.parametrize(
    ("equation", "dims"),
    [
        ("ii,ij->ij", ""),
        ("ij,jk->k", ""),
        ("...ij,...jk->...ik", ""),
        ("bijk,bijd->bkd", "i"),
        ("bhid,bjd->bhij", "h"),
    ],
)
def test_what_stays(equation, dims):
    if "." in equation:
        proto = model(
            [node("Einsum", ["x", "z"], ["y"], equation=equation)],
            {"x": (FLOAT, [2, 3, 4]), "z": (FLOAT, [2, 4, 5])},
            {"y": (FLOAT, None)},
            {},
            20,
        )
    else:
        proto, _ = einsum(equation, dims)
    assert operators(simplified(proto).graph)["Einsum"] == 1


def test_a_sum_over_an_axis_that_may_be_of_one_element_stays():
    proto = model(
        [node("Einsum", ["x", "z"], ["y"], equation="ij,jk->ik")],
        {"x": (FLOAT, ["a", "b"]), "z": (FLOAT, ["c", "d"])},
        {"y": (FLOAT, None)},
        {},
        20,
    )
    found = simplified(proto)
    assert operators(found.graph)["Einsum"] == 1
