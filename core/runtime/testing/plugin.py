"""The pytest plugin of the conformance kit; switch it on with ``-p``.

``pytest -p runtime.testing.plugin --pyargs runtime.testing --ep NAME``
"""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.testing import child, expectations, matrix, results
from runtime.testing.fixtures import claimed, one, record_case, subject
from runtime.testing.subject import NotUsable, Subject

__all__ = ["claimed", "one", "record_case", "subject"]

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the kit's options."""
    group = parser.getgroup("runtime", "conformance of execution providers")
    group.addoption(
        "--ep",
        action="append",
        default=[],
        metavar="NAME",
        help="a provider, by name, alias or module:attribute of an object that is not "
        "installed; the first one is under test, further ones take what it refuses",
    )
    group.addoption(
        "--ep-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the provider under test",
    )
    group.addoption(
        "--ep-limit",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="end the process, with a stack, when one test takes longer (default: 300)",
    )
    group.addoption(
        "--xfails",
        metavar="FILE",
        help="tests known to fail: a glob a line, two spaces, # and the reason",
    )
    group.addoption(
        "--capabilities",
        metavar="FILE",
        help="write which node cases are claimed and which pass, as JSON",
    )
    group.addoption(
        "--support-matrix",
        metavar="FILE",
        help="write a Markdown page of operators, opsets and element types",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Look for the providers, so that a mistake is told before anything runs."""
    config.addinivalue_line("markers", "kit: a test of the conformance kit")
    if config.getoption("ep"):
        config.pluginmanager.register(Kit(config), "runtime-kit")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Refuse to run the kit without a provider to test."""
    if any(map(_is_ours, items)) and not config.getoption("ep"):
        raise pytest.UsageError("name the provider under test: --ep NAME")


def _is_ours(item: pytest.Item) -> bool:
    return item.path.parent == HERE


class Kit:
    """What one run of the kit holds: the provider, what is known to fail, the results."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        try:
            self.subject = Subject(tuple(config.getoption("ep")), _options(config))
            self.name = self.subject.name
        except NotUsable as error:
            raise pytest.UsageError(str(error)) from error
        self.expectations = _expectations(config)
        self.records: list[dict[str, Any]] = []
        self._stderr = os.dup(2)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Mark what is known to fail; a line that means no test is an error."""
        ours = [item for item in items if _is_ours(item)]
        for item in ours:
            for expected in self.expectations:
                if expected.matches(item.name):
                    mark = pytest.mark.xfail(
                        reason=expected.reason, strict=not expected.by_chance
                    )
                    item.add_marker(mark)
        missing = expectations.unmatched(self.expectations, [i.name for i in ours])
        if (
            missing
            and {i.path.name for i in ours} >= _modules()
            and not _chosen(config)
        ):
            told = "; ".join(f"line {e.line}: {e.glob}" for e in missing)
            name = config.getoption("xfails")
            raise pytest.UsageError(f"{name}: lines that mean no test: {told}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[Any]:
        """Limit the time in which what a test needs is made."""
        with self._limited(item):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[Any]:
        """Limit the time of a test."""
        with self._limited(item):
            return (yield)

    @contextmanager
    def _limited(self, item: pytest.Item) -> Iterator[None]:
        """End the process, stack told, when a test of the kit takes too long."""
        limit = self.config.getoption("ep_limit")
        if _is_ours(item) and limit:
            faulthandler.dump_traceback_later(limit, exit=True, file=self._stderr)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what the node cases tell."""
        told = dict(report.user_properties).get(results.PROPERTY)
        if report.when != "call" or told is None:
            return
        record = json.loads(str(told))
        known = hasattr(report, "wasxfail")
        record["status"] = results.status(report.outcome, known, record["owned"])
        if report.failed:
            record["error"] = report.longreprtext.strip().splitlines()[-1]
        self.records.append(record)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for, once, in the main process."""
        if hasattr(self.config, "workerinput"):
            return
        subject, option = self.subject, self.config.getoption
        paths = (option("capabilities"), option("support_matrix"))
        if not any(paths) or child.answer_of(subject, option("ep_limit")).fatal:
            return
        data = results.capabilities(subject.entry, subject.order, self.records)
        for write, path in zip((results.write, matrix.write), paths, strict=True):
            if path:
                write(data, path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say in one line what the provider claims."""
        if not self.records:
            return
        counts = dict.fromkeys(("passed", "failed", "xfailed", "refused"), 0)
        for record in self.records:
            counts[record["status"]] += 1
        told = ", ".join(f"{count} {key}" for key, count in counts.items())
        terminalreporter.section(f"{self.name}: {len(self.records)} node cases")
        terminalreporter.line(told)


def _options(config: pytest.Config) -> dict[str, str]:
    found = {}
    for text in config.getoption("ep_option"):
        key, separator, value = text.partition("=")
        if not separator:
            raise pytest.UsageError(f"--ep-option: expected KEY=VALUE, found {text!r}")
        found[key] = value
    return found


def _expectations(config: pytest.Config) -> list[expectations.Expectation]:
    path = config.getoption("xfails")
    if not path:
        return []
    try:
        return expectations.read(path)
    except (OSError, expectations.BadLine) as error:
        raise pytest.UsageError(f"--xfails: {error}") from error


def _modules() -> set[str]:
    return {path.name for path in HERE.glob("test_*.py")}


def _chosen(config: pytest.Config) -> bool:
    """Whether single tests were named, so that lines for others mean nothing."""
    return any("::" in str(argument) for argument in config.args)
