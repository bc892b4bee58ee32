"""ONNX's node cases with native code required, for every target of this machine.

Whatever else is tested of single operators runs with native code required by

    RUNTIME_TEST_CPU=native=required,target=avx2 pytest tests/ep_cpu tests/conformance
"""

import warnings
from pathlib import Path

import pytest
from beside_numpy import opened, programs
from runtime_ep_cpu.codegen.target import host
from runtime_ep_cpu.ops.random import set_seed

CONFORMANCE = Path(__file__).parent.parent.parent / "conformance"

NATIVE = 920
"""Cases that native code runs from end to end, at least."""

LEFT = ("empty_", "zero_size", "allowzero", "rotary_embedding", "out_of_bounds")
LEFT += ("kernel_size_one", "tril_zero", "triu_zero")
"""Parts of the names of cases that have native code, of which NumPy takes the runs:
tensors without elements."""


def _target(name):
    here = host().name
    order = ("generic", "avx2", "avx512")
    if here not in order or order.index(name) > order.index(here):
        pytest.skip(f"the machine is {here}")
    return name


@pytest.mark.parametrize(
    "target",
    [
        "avx512",
        pytest.param("avx2", marks=pytest.mark.slow),
        pytest.param("generic", marks=pytest.mark.slow),
    ],
)
def test_node_cases_hold_and_none_moves_to_numpy_unnoticed(target):
    name = host().name if target == "avx512" else target
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(CONFORMANCE))
        from cases import node_cases
    _target(name)
    native, moved, wrong = 0, [], []
    for case_name, case in sorted(node_cases().items()):
        if "bernoulli" in case_name:
            continue
        set_seed(2)
        try:
            found = _run(case, name)
        except Exception as error:
            wrong.append(f"{case_name}: {error!r:.200}")
            continue
        native += found == "native"
        moved += [case_name] * (found == "moved")
    assert not wrong
    unexpected = [m for m in moved if not any(part in m for part in LEFT)]
    assert not unexpected
    assert native >= NATIVE


def _run(case, target):
    """Run a case; return whether native code took it, moved it, or had no part in it."""
    from cases import same, value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = opened(case.model, target)
        names = [info.name for info in case.model.graph.input]
        for inputs, outputs in case.data_sets:
            feed = dict(zip(names, map(value, inputs), strict=False))
            for got, want in zip(session.run(None, feed), outputs, strict=True):
                same(got, value(want), case.rtol, case.atol)
    found = programs(session)
    if not found:
        return "numpy"
    return "moved" if any(program.moved for program in found) else "native"
