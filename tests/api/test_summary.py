"""The one line that tells which provider asked for took little of the model, or nothing."""

import logging
import warnings

import pytest
import runtime as ort
from doubles import Choosy, Failing
from models import dense

NAME = "AnyExecutionProvider"


def told(caplog, *names, **more):
    """Return what is logged as a warning while a session is made."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "runtime"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ort.FallbackWarning)
        ort.InferenceSession(dense(), providers=list(names), **more)
    records = [r for r in caplog.records if r.levelno == logging.WARNING]
    return [record.getMessage() for record in records]


@pytest.mark.parametrize(
    ("likes", "share"),
    [([], "0 of 4 nodes, 0% of the work"), (["Relu"], "1 of 4 nodes, ")],
)
def test_nothing_or_little_is_one_line_with_share_reasons_and_the_way_on(
    likes, share, registered, caplog
):
    registered(Choosy(NAME, likes))
    (line,) = told(caplog, NAME)
    assert line.startswith(f"{NAME} took little of the model: {share}")
    assert "MatMul x1 (AnyExecutionProvider does not like MatMul)" in line
    assert line.endswith("session.explain() tells who runs what and why")
    assert "\n" not in line


def test_a_dry_run_tells_it_too(registered, caplog):
    choosy = Choosy(NAME, ["Relu"])
    registered(choosy)
    assert len(told(caplog, NAME, dry_run=True)) == 1
    assert not choosy.compiled


def test_most_of_the_work_is_no_news(registered, caplog):
    registered(Choosy(NAME, ["MatMul"]))
    assert not told(caplog, NAME)


def test_a_provider_that_failed_was_told_already(registered, caplog):
    registered(Failing(NAME, "compile", ["Relu"]))
    (line,) = told(caplog, NAME)
    assert "on fire" in line


def test_of_two_providers_only_the_idle_one_is_named(registered, caplog):
    idle = "IdleExecutionProvider"
    registered(Choosy(NAME, ["MatMul", "Add"]), Choosy(idle, []))
    (line,) = told(caplog, NAME, idle)
    assert line.startswith(idle)


def test_who_was_left_nothing_is_not_named(registered, caplog):
    second = "SecondExecutionProvider"
    all_ = ["MatMul", "Add", "Relu", "Softmax"]
    registered(Choosy(NAME, all_), Choosy(second, all_))
    assert not told(caplog, NAME, second)


def test_what_the_preferred_took_is_not_counted(registered, caplog):
    second, third = "SecondExecutionProvider", "ThirdExecutionProvider"
    registered(
        Choosy(NAME, ["MatMul"]),
        Choosy(second, ["Add", "Softmax"]),
        Choosy(third, ["Relu"]),
    )
    assert not told(caplog, NAME, second)
    (line,) = told(caplog, NAME, third)
    assert line.startswith(
        f"{third} took little of the model: 1 of 3 nodes, 33% of the work"
    )


def test_islands_that_do_not_pay_are_the_reason(registered, caplog):
    registered(Choosy(NAME, ["MatMul"], flops=1e12, overhead=1.0))
    (line,) = told(caplog, NAME)
    assert "MatMul x1 (an island of 1 node would gain 0 µs and cost 1000000 µs)" in line


def test_explain_counts_connected_pieces_and_the_bytes_that_cross_an_edge(registered):
    """Of MatMul, Add, Relu, Softmax the first and third are two pieces of one provider."""
    registered(Choosy(NAME, ["MatMul", "Relu"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ort.FallbackWarning)
        placement = ort.InferenceSession(dense(), providers=[NAME]).explain()
    assert placement.components == {NAME: 2, "CPUExecutionProvider": 2}
    rows = 32  # what is assumed of a dim of which nothing is known
    (first,) = [p for p in placement.partitions if "MatMul" in p.op_types]
    assert first.boundary_bytes == rows * (4 + 3) * 4
    shown = str(placement)
    assert f"{NAME}: 2 nodes in 2 partitions (2 connected)" in shown
    assert f"in and out: about {first.boundary_bytes} bytes a run" in shown
