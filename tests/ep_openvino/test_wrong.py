"""Every line of `capability.WRONG` is true of the OpenVINO that is installed."""

import numpy as np
import pytest

pytest.importorskip("openvino")

from runtime.testing.subject import Subject
from runtime_ep_openvino import capability, integers
from wrong_cases import CASES

LINES = [(op, wrong) for op, lines in capability.WRONG.items() for wrong in lines]
SUBJECT = Subject(("OpenVINOExecutionProvider", "cpu"), {})


def differs(got, want):
    """Whether a result is not what it should be; NaN equals NaN."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return True
    return not np.allclose(got, want, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_every_line_has_a_case_that_shows_it():
    shown = {(case.operator, case.reason) for case in CASES}
    told = [
        (operator, wrong.reason)
        for operator, wrong in LINES
        if not any(operator == o and wrong.reason.startswith(r) for o, r in shown)
    ]
    assert not told


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.operator}: {c.reason}")
def test_what_goes_wrong_is_refused_and_goes_wrong(case, monkeypatch):
    refused = SUBJECT.open(case.model, cache=False)
    assert case.operator not in {node.op_type for node in refused.owned}
    want = SUBJECT.alone(case.model)(case.feed)
    monkeypatch.setattr(capability, "WRONG", {})
    monkeypatch.setattr(integers, "against", lambda node: "")
    taken = SUBJECT.open(case.model, cache=False)
    if any("OpenVINO infers the shape" in told for told in taken.refusals):
        return  # what goes wrong shows in the shape already
    assert taken.owned or taken.faults, f"OpenVINO refuses it: {taken.refusals}"
    got = taken(case.feed)
    right = not any(map(differs, got, want))
    assert taken.faults or not right, "OpenVINO is right: the line can go"
