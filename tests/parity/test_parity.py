"""Every public name of onnxruntime answers here, and does what the migration page says."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parent))

import onnxruntime
import report
import runtime
from names import names
from outcomes import outcome, plain
from record import failing, recorded
from rows import ACCEPTED, BETTER, judge, refusal
from runtime.api.refused import REFUSED

NAMES = names()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_does_what_its_row_says(name):
    probe = report.probe_of(name, onnxruntime)
    assert probe is not None, f"write a probe for {name}"
    ours, theirs = outcome(probe, runtime), outcome(probe, onnxruntime)
    told = report.fault(name, ours, theirs)
    assert not told, f"{told}\nours   {ours}\ntheirs {theirs}"


@pytest.mark.parametrize("item", report.ITEMS, ids=lambda item: item.what)
def test_what_is_better_is_so_here_and_is_not_in_onnxruntime(item):
    ours = outcome(item.probe, runtime)
    assert not ours.error, ours
    assert ours.value == plain(item.wanted)
    theirs = outcome(item.probe, onnxruntime)
    assert theirs.error or theirs.value != plain(item.wanted), theirs


def test_how_onnxruntime_fails_what_is_better_was_written_down():
    found = recorded()
    assert "1.31.1" in found
    for release in found.values():
        assert release.keys() == {item.what for item in report.ITEMS}
        assert all(release.values())
    here = found.get(onnxruntime.__version__)
    if here is not None:
        assert here == {item.what: failing(item) for item in report.ITEMS}


def test_at_most_twenty_names_are_refused():
    assert len(REFUSED) <= 20
    refused = {row for name in NAMES if (row := refusal(name))}
    assert len(refused) <= 20


def test_every_row_is_of_a_name_that_there_is():
    from packaging.version import Version

    known = {*NAMES}
    newer = Version(onnxruntime.__version__) >= Version("1.32")
    rows = {*ACCEPTED, *BETTER}
    assert {name for name in rows if name not in known} == set() if newer else True
    assert all(judge(name).kind != "same" for name in rows)


def test_every_reason_says_something():
    for name in NAMES:
        kind, why = judge(name)
        assert kind == "same" or len(why) > 10, name
