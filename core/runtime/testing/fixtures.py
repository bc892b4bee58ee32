"""What the kit's tests are given: the provider under test, and what it claims."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from runtime.testing import cases, child, results
from runtime.testing.samples import SIZE, Sample, samples
from runtime.testing.subject import Opened, Subject

FOUND = "found"
"""Stands for a node case the provider claims; used when it claims no sample."""

Record = Callable[..., None]


@dataclass(frozen=True, slots=True)
class NodeSample(Sample):
    """A node case in the place of a sample; its data is what it is."""

    def feed(self, size: int = SIZE, seed: int = 0) -> dict[str, Any]:
        """Return the case's data."""
        feed, _ = cases.node_feeds(cases.node_cases()[self.name])[0]
        return feed


@dataclass(frozen=True, slots=True)
class Claimed:
    """A model of which the provider under test runs at least a part."""

    subject: Subject
    sample: Sample
    opened: Opened

    def fresh(self, **settings: Any) -> Opened:
        """Open the model once more."""
        return self.subject.open(self.sample.model, **settings)

    def expected(self, feed: dict[str, Any]) -> list[Any]:
        """Return what the host's provider computes alone."""
        return _alone(self.subject, self.sample)(feed)

    def check(self, got: list[Any], feed: dict[str, Any]) -> None:
        """Assert that results are what the host's provider computes."""
        close(got, self.expected(feed))

    def sizes(self, *sizes: int) -> list[int]:
        """Return those sizes of the free dim that the model admits."""
        if isinstance(self.sample, NodeSample):
            return [SIZE]
        return [size for size in sizes if size >= self.sample.minimum]


@functools.cache
def _alone(subject: Subject, sample: Sample) -> Opened:
    return subject.alone(sample.model)


def close(got: list[Any], want: list[Any]) -> None:
    """Assert that results agree, allowing for another order of summation."""
    assert len(got) == len(want), f"expected {len(want)} results, found {len(got)}"
    for one, other in zip(got, want, strict=True):
        cases.same(one, other, 1e-3, 1e-4 * _magnitude(other))


def _magnitude(value: Any) -> float:
    items = value if isinstance(value, list) else [value]
    highest = 1.0
    for item in items:
        if isinstance(item, np.ndarray) and item.size and item.dtype.kind not in "OSU":
            highest = max(highest, float(np.nanmax(np.abs(item.astype(np.float64)))))
    return highest


@functools.cache
def claimed_sample(subject: Subject, name: str) -> Claimed | None:
    """Return an opened sample, or ``None`` where nothing of it is claimed."""
    sample = samples()[name]
    opened = subject.open(sample.model)
    if opened.faults:
        pytest.fail(f"{name}: {'; '.join(opened.faults)}", pytrace=False)
    return Claimed(subject, sample, opened) if opened.owned else None


@functools.cache
def claimed_case(subject: Subject) -> Claimed | None:
    """Return the first node case of which something is claimed."""
    for name, case in cases.node_cases().items():
        sample = NodeSample(name, case.model.SerializeToString())
        opened = subject.open(sample.model)
        if opened.owned and cases.node_feeds(case):
            return Claimed(subject, sample, opened)
    return None


def any_claimed(subject: Subject) -> Claimed | None:
    """Return the first sample that is claimed, else the first node case."""
    for name in samples():
        if (found := claimed_sample(subject, name)) is not None:
            return found
    return claimed_case(subject)


def kit_of(request: pytest.FixtureRequest) -> Any:
    """Return the plugin's state; the test fails where no provider was named."""
    kit = request.config.pluginmanager.get_plugin("runtime-kit")
    if kit is None:
        pytest.fail("name the provider under test: --ep NAME", pytrace=False)
    return kit


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Subject:
    """The provider under test; it has answered in a child process before."""
    found: Subject = kit_of(request).subject
    outcome = child.answer_of(found, request.config.getoption("ep_limit"))
    if outcome.fatal:
        pytest.skip("it hangs or crashes: see test_it_answers")
    if outcome.unusable:
        pytest.exit(outcome.unusable, pytest.ExitCode.USAGE_ERROR)
    return found


@pytest.fixture(scope="session", params=[*samples(), FOUND])
def claimed(request: pytest.FixtureRequest, subject: Subject) -> Claimed:
    """Each sample of which the provider claims something; the others are skipped."""
    if request.param != FOUND:
        found = claimed_sample(subject, request.param)
    elif any(claimed_sample(subject, name) for name in samples()):
        pytest.skip("there are samples that are claimed")
    else:
        found = claimed_case(subject)
    if found is None:
        pytest.skip("nothing of it is claimed")
    return found


@pytest.fixture(scope="session")
def one(subject: Subject) -> Claimed:
    """One model that is claimed, for what takes long."""
    found = any_claimed(subject)
    if found is None:
        pytest.skip("it claims nothing")
    return found


@pytest.fixture
def record_case(request: pytest.FixtureRequest) -> Record:
    """Return a function that adds facts to a node case's record."""
    facts: dict[str, Any] = {"owned": 0, "nodes": 0, "reasons": []}
    properties = request.node.user_properties

    def record(**more: Any) -> None:
        facts.update(more)
        properties[:] = [p for p in properties if p[0] != results.PROPERTY]
        properties.append((results.PROPERTY, json.dumps(facts)))

    return record
