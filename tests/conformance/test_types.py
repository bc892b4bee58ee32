"""Every operator in every element type that its newest schema admits, one call each.

The result has the type that the standard infers, and the value that a wider type gives.
"""

import ml_dtypes
import numpy as np
import pytest
import runtime as ort
from evaluate import run_graph
from record_types import recorded
from retyped import TENSOR, code_of, schemas, templates, variants, wide_kind, widened
from runtime.model import from_proto
from runtime.valuetypes import ELEMENT_TYPES
from templates import WITHOUT

OPERATORS = sorted(templates())
NARROW = {
    entry.name
    for entry in ELEMENT_TYPES.values()
    if entry.name.startswith(("float", "bfloat", "int", "uint"))
} - {"float", "int64"}

# bits are read anew, ranges differ, nothing makes draws repeat, or nothing is given
TYPE_MATTERS = {"BitCast", "Cast", "CastLike", "Bernoulli", "Constant"}

# these types make no sense for the call; the reason is told
REFUSED = {
    ("Col2Im", "tensor(string)"): "strings cannot be added up",
    ("GridSample", "tensor(string)"): "strings cannot be sampled with mode 'linear'",
    ("Resize", "tensor(string)"): "cubic Resize cannot interpolate",
    ("TfIdfVectorizer", "tensor(string)"): "pool_int64s",
    ("Imputer", "tensor(int32)"): "needs imputed_value_int64s",
    ("Imputer", "tensor(int64)"): "needs imputed_value_int64s",
    ("OneHotEncoder", "tensor(string)"): "the keys are numbers",
}


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString())
    names = [entry.name for entry in model.graph.input]
    return session.run(None, dict(zip(names, feeds, strict=True)))


def test_there_is_a_call_of_every_operator():
    assert set(schemas()) == set(OPERATORS) | set(WITHOUT)


@pytest.mark.parametrize("key", OPERATORS, ids=":".join)
def test_results_have_the_inferred_type(key):
    ran = 0
    for variant in variants(key):
        told = REFUSED.get((key[1], variant.kind))
        if told:
            with pytest.raises(Exception, match=told):
                run(variant.model, variant.feeds)
            continue
        results = run(variant.model, variant.feeds)
        for result, expected in zip(results, variant.expected, strict=True):
            check_type(result, expected, f"{variant.variable} {variant.kind}")
        ran += 1
    assert ran or not schemas()[key].type_constraints


def types_run(key):
    """Return the element types of the variants that are not refused."""
    kinds = {v.kind for v in variants(key) if (key[1], v.kind) not in REFUSED}
    return sorted({TENSOR.search(kind)[1] for kind in kinds})


@pytest.mark.parametrize("key", OPERATORS, ids=":".join)
def test_the_page_of_operators_tells_the_types(key):
    assert recorded()[":".join(key)] == types_run(key)


def check_type(result, expected, what):
    """Compare a value with a type that inference gave; it may give none."""
    if expected.HasField("tensor_type"):
        wanted = expected.tensor_type.elem_type
        assert isinstance(result, np.ndarray), what
        assert wanted in (0, code_of(result)), what
    elif expected.HasField("sequence_type"):
        assert isinstance(result, list), what
        for item in result:
            check_type(item, expected.sequence_type.elem_type, what)
    elif expected.HasField("optional_type") and result is not None:
        check_type(result, expected.optional_type.elem_type, what)


VALUED = [key for key in OPERATORS if key[1] not in TYPE_MATTERS]


@pytest.mark.parametrize("key", VALUED, ids=":".join)
def test_narrow_types_give_what_wide_ones_give(key):
    """Rounded or wrapped to the narrow type; results that are not arrays are skipped."""
    every = {(v.variable, v.kind): v for v in variants(key)}
    for (variable, kind), variant in every.items():
        wide = every.get((variable, wide_kind(kind)))
        name = TENSOR.search(kind)[1]
        if wide is None or name not in NARROW or (key[1], kind) in REFUSED:
            continue
        got = run_graph(from_proto(variant.model).graph, list(variant.feeds))
        feeds = widened(variant, wide)
        want = run_graph(from_proto(wide.model).graph, list(feeds))
        for ours, exact in zip(got, want, strict=True):
            if isinstance(ours, np.ndarray):
                close(ours, exact, f"{variable} {kind}")


def close(ours, exact, what):
    """Compare within two steps of the narrow type; integers exactly, as they wrap."""
    assert ours.shape == exact.shape, what
    if ours.dtype == object or ours.dtype == bool:
        assert ours.tolist() == exact.tolist(), what
    elif "int" in ours.dtype.name:
        assert (ours == exact.astype(np.int64).astype(ours.dtype)).all(), what
    else:
        step = float(ml_dtypes.finfo(ours.dtype).eps)
        with np.errstate(all="ignore"):
            rounded = exact.astype(ours.dtype).astype(np.float64)
        size = np.max(abs(rounded), where=np.isfinite(rounded), initial=1e-3)
        np.testing.assert_allclose(
            ours.astype(np.float64), rounded, 2 * step, step * size, err_msg=what
        )
