"""Measure latency, throughput and session creation, with what ran where beside them."""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import add_feeds, add_output, add_session, amount, positive
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.cli.timing import Times

ABOUT = """Measure a model: session creation by stage, first run, then latency percentiles
and throughput after a warm-up that lasts until times are stable. What ran where stands
beside the figures: a fast number on the wrong provider is the classic error."""
EXAMPLES = """  runtime bench model.onnx --dim batch=8
  runtime bench model.onnx -p cuda -p cpu --concurrency 4 --min-seconds 10
  runtime bench model.onnx --vs-onnxruntime --json"""
CREATIONS = 5
CREATION_SECONDS = 3.0


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    add_feeds(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument(
        "--min-seconds",
        type=amount,
        default=3.0,
        metavar="S",
        help="measure at least so long (default: 3)",
    )
    group.add_argument(
        "--min-runs",
        type=positive,
        default=10,
        metavar="N",
        help="measure at least so many runs (default: 10)",
    )
    group.add_argument(
        "--warm-up",
        type=amount,
        default=0.2,
        metavar="S",
        help="warm up at least so long (default: 0.2)",
    )
    group.add_argument(
        "--concurrency",
        type=positive,
        default=1,
        metavar="N",
        help="run from so many threads at once (default: 1)",
    )
    group.add_argument(
        "--vs-onnxruntime",
        action="store_true",
        help="measure onnxruntime in turns with ours, and print the ratios",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Measure creation, the first run and then the rest, and print it."""
    from runtime.cli.feeds import cases
    from runtime.cli.random_inputs import symbols_used
    from runtime.cli.sessions import placement_data, summary

    if args.vs_onnxruntime:
        from runtime.cli.peer import imported

        imported()
    console.progress("making sessions")
    sessions, creation = _create(args)
    session = sessions[0]
    given = cases(args, session)
    if len(given) > 1:
        raise Stop(
            f"bench takes one set of inputs, found {len(given)}; name one folder"
        )
    feeds = given[0].feeds
    sizes = symbols_used(session.get_inputs(), dict(args.dims))
    console.line(f"{args.model}, inputs: {given[0].label}{_sized(sizes)}")
    for line in summary(session.explain()):
        console.line(f"  {line}")
    _show_creation(console, creation)
    data = {"model": args.model, "inputs": given[0].label, "dims": sizes}
    data |= {"placement": placement_data(session.explain()), "creation": creation}
    data |= _measure(args, console, sessions, feeds)
    console.result(data)
    return Exit.OK


def _sized(sizes: dict[str, int]) -> str:
    told = ", ".join(f"{symbol}={size}" for symbol, size in sizes.items())
    return f" ({told})" if told else ""


def _create(args: Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Make each session several times in turns; return the last ones, and the times."""
    from runtime.cli.sessions import import_engine, open_session

    makers = [partial(open_session, args)]
    imports = import_engine(args.providers)
    if args.vs_onnxruntime:
        from runtime.cli.peer import open_peer

        makers.append(partial(open_peer, args))
    taken: list[list[float]] = [[] for _ in makers]
    stages: list[dict[str, float]] = []
    began = time.perf_counter()
    while len(taken[0]) < CREATIONS:
        sessions = []
        for make, own in zip(makers, taken, strict=True):
            start = time.perf_counter()
            sessions.append(make())
            own.append(time.perf_counter() - start)
        stages.append(_stages(sessions[0].explain().seconds, taken[0][-1]))
        if len(taken[0]) > 1 and time.perf_counter() - began > CREATION_SECONDS:
            break
    found: dict[str, Any] = {
        "import": imports,
        "first": taken[0][0],
        "first_stages": stages[0],
        "seconds": statistics.median(taken[0]),
        "stages": {
            key: statistics.median(each[key] for each in stages) for key in stages[0]
        },
    }
    if len(makers) > 1:
        theirs = statistics.median(taken[1])
        found |= {
            "onnxruntime_first": taken[1][0],
            "onnxruntime_seconds": theirs,
            "ratio": found["seconds"] / theirs,
            "before_compile_ratio": found["stages"]["before_compile"] / theirs,
        }
    return sessions, found


def _stages(seconds: dict[str, float], whole: float) -> dict[str, float]:
    """Return the time of each stage; what is in no other stage counts as loading."""
    known = {key: seconds.get(key, 0.0) for key in ("simplify", "partition", "compile")}
    return {
        "load": whole - sum(known.values()),
        **known,
        "before_compile": whole - known["compile"],
    }


def _show_creation(console: Console, found: dict[str, Any]) -> None:
    from runtime.pages import milliseconds as ms

    stages = found["stages"]
    split = ", ".join(
        f"{key} {ms(stages[key])}"
        for key in ("load", "simplify", "partition", "compile")
    )
    console.line(
        f"session creation: {ms(found['seconds'])} ({split}); "
        f"first {ms(found['first'])}, imports before it {ms(found['import'])}"
    )
    versus = whole = ""
    if "ratio" in found:
        theirs = ms(found["onnxruntime_seconds"])
        versus = f", {found['before_compile_ratio']:.2f}× onnxruntime's whole session creation"
        whole = f"  onnxruntime's: {theirs}; ours takes {found['ratio']:.2f}× as long"
    console.line(
        f"loading, passes and partitioning: {ms(stages['before_compile'])}{versus}"
    )
    if whole:
        console.line(whole)


def _measure(
    args: Namespace, console: Console, sessions: list[Any], feeds: dict[str, Any]
) -> dict[str, Any]:
    from runtime.cli.timing import alternate, warm_up
    from runtime.pages import milliseconds as ms

    names = ("runtime", "onnxruntime")[: len(sessions)]
    calls = [partial(made.run, None, feeds) for made in sessions]
    data: dict[str, Any] = {}
    for name, call in zip(names, calls, strict=True):
        console.progress(f"first run and warm-up of {name}")
        began = time.perf_counter()
        call()
        first = time.perf_counter() - began
        data[name] = {"first_run": first, "warm_up_runs": warm_up(call, args.warm_up)}
    firsts = ", ".join(f"{name} {ms(data[name]['first_run'])}" for name in names)
    console.line(
        f"first run: {firsts if len(names) > 1 else ms(data['runtime']['first_run'])}"
    )

    def progress(done: float) -> None:
        console.progress(f"measuring, {done:.0%}")

    progress(0)
    times, rounds = alternate(
        calls, args.min_seconds, args.min_runs, args.concurrency, progress
    )
    for name, own in zip(names, times, strict=True):
        data[name] |= own.summary()
    _show_latency(console, dict(zip(names, times, strict=True)), args.concurrency)
    if len(names) > 1:
        data["versus"] = _versus(console, rounds, data, sessions, feeds)
    return data


def _show_latency(console: Console, times: dict[str, Times], threads: int) -> None:
    from runtime.pages import milliseconds as ms

    keys = ("p50", "p90", "p95", "p99", "max", "mean")
    rows = []
    for name, own in times.items():
        found = own.summary()
        rows.append(
            [
                name,
                *(ms(found[key]) for key in keys),
                f"{found['per_second']:.4g}/s",
                f"{int(found['runs']):,}",
            ]
        )
    titles = (*(f"{key}#" for key in keys), "throughput#", "runs#")
    together = f", {threads} threads at once" if threads > 1 else ""
    console.line(f"latency{together}:")
    console.table(("", *titles), rows)


def _versus(
    console: Console,
    rounds: list[list[float]],
    data: dict[str, Any],
    sessions: list[Any],
    feeds: dict[str, Any],
) -> dict[str, Any]:
    """Return the ratio of medians, its spread over rounds, and whether outputs agree."""
    from runtime.cli.agreement import Tolerance, agree

    ratios = sorted(ours / theirs for ours, theirs in rounds)
    ratio = data["runtime"]["p50"] / data["onnxruntime"]["p50"]
    names = [arg.name for arg in sessions[1].get_outputs()]
    ours, theirs = (
        dict(zip(names, made.run(names, feeds), strict=True)) for made in sessions
    )
    results = agree(ours, theirs, Tolerance(equal_nan=True))
    same = all(one.ok for one in results)
    word = "slower" if ratio >= 1 else "faster"
    factor = ratio if ratio >= 1 else 1 / ratio
    console.line(
        f"ratio of medians: {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} over "
        f"{len(ratios)} rounds), {factor:.2f}× {word} than onnxruntime"
    )
    if not same:
        bad = ", ".join(one.name for one in results if not one.ok)
        console.warn(
            f"the outputs differ from onnxruntime's: {bad} (see runtime compare)"
        )
    return {"ratio": ratio, "rounds": ratios, "outputs_agree": same}
