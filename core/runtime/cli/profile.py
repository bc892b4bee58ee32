"""Profile a model: a trace, and where the time goes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.cli.arguments import add_feeds, add_output, add_session, positive
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """Run the model several times and tell where the time of a run goes: by operator,
by provider, and for each transfer between devices. The trace can be opened in Perfetto or
chrome://tracing. Timing each kernel costs time itself: runtime bench measures without."""
EXAMPLES = """  runtime profile model.onnx --dim batch=8
  runtime profile model.onnx -p cuda -o trace.json --runs 20"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    add_feeds(parser)
    group = parser.add_argument_group("profile")
    group.add_argument(
        "--runs", type=positive, default=10, metavar="N", help="default: 10"
    )
    group.add_argument(
        "--top", type=positive, default=15, metavar="N", help="operators to show (15)"
    )
    group.add_argument("-o", "--output", metavar="FILE", help="write the trace there")
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Run with profiling on, after one run without, and show what the trace says."""
    from runtime.cli.feeds import cases
    from runtime.cli.sessions import open_session

    console.progress("making the session")
    with open_session(args, profiling=True) as session:
        case = cases(args, session)[0]
        console.progress("running")
        session.run(None, case.feeds)
        trace = session._runnable.trace
        settled = len(trace.events)
        for _ in range(args.runs):
            session.run(None, case.feeds)
        events = trace.events[settled:]
        if args.output:
            trace.write(args.output)
    tables = {
        "operators": rows(_by_operator(events), args.runs),
        "providers": rows(_by_provider(events), args.runs),
        "transfers": rows(_of_category(events, "Transfer"), args.runs),
    }
    for title, found in tables.items():
        _show(console, title, found, args.top)
    if args.output:
        console.line(f"trace written to {args.output}")
    data = {title: [row.data() for row in found] for title, found in tables.items()}
    console.result(
        {"model": args.model, "runs": args.runs, "trace": args.output, **data}
    )
    return Exit.OK


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: calls, and microseconds of a run, with the share of it."""

    name: str
    calls: float
    microseconds: float
    share: float

    def data(self) -> dict[str, Any]:
        """Return the row for ``--json``."""
        return {
            "name": self.name,
            "calls": self.calls,
            "microseconds": round(self.microseconds, 3),
            "share": round(self.share, 6),
        }


def rows(spent: Iterable[tuple[str, float]], runs: int) -> list[Row]:
    """Return names with what they took in a run, the longest first."""
    totals: dict[str, tuple[int, float]] = {}
    for name, microseconds in spent:
        count, total = totals.get(name, (0, 0.0))
        totals[name] = count + 1, total + microseconds
    everything = sum(total for _, total in totals.values()) or 1.0
    found = [
        Row(name, count / runs, total / runs, total / everything)
        for name, (count, total) in totals.items()
    ]
    return sorted(found, key=lambda row: -row.microseconds)


def _by_operator(events: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, float]]:
    for event in events:
        if event["cat"] == "Node":
            fused = event["args"].get("fused") or [event["args"]["op_name"]]
            yield "+".join(fused), event["dur"]


def _by_provider(events: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, float]]:
    for event in events:
        if event["cat"] == "Partition":
            yield event["name"].rpartition("_")[0], event["dur"]


def _of_category(
    events: Sequence[Mapping[str, Any]], category: str
) -> Iterable[tuple[str, float]]:
    for event in events:
        if event["cat"] == category:
            yield event["name"], event["dur"]


def _show(console: Console, title: str, found: Sequence[Row], top: int) -> None:
    if not found:
        console.line(f"{title}: none")
        return
    console.line(f"{title}:")
    lines = [
        (
            row.name[:60],
            f"{row.calls:g}",
            f"{row.microseconds:,.1f}",
            f"{row.share:.1%}",
        )
        for row in found[:top]
    ]
    console.table(("", "calls#", "µs a run#", "share#"), lines)
    if len(found) > top:
        console.line(f"  and {len(found) - top} more")
