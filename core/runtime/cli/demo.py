"""Read digits and dates with three small models, and show the result as a page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import add_output, provider
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.cli.demo_tasks import Result

ABOUT = """Run three small models that come with the runtime on data they were not trained
on: a convolutional network and boosted trees read handwritten digits, a transformer
reads dates. Prints accuracy, latency and placement, and writes one HTML page with
pictures. Exit code 1 if a model does worse than it did when it was trained."""
EXAMPLES = """  runtime demo
  runtime demo -p cuda --page /tmp/demo.html"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "-p",
        "--provider",
        dest="providers",
        action="append",
        type=provider,
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="an execution provider, as for runtime run; repeat in fallback order",
    )
    parser.add_argument(
        "--page",
        default="runtime-demo.html",
        metavar="FILE",
        help="where the page goes (default: runtime-demo.html here)",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Run the three models, print what they found, and write the page."""
    from runtime.cli import demo_tasks
    from runtime.cli.demo_page import page
    from runtime.cli.sessions import placement_data

    results = []
    for task in demo_tasks.TASKS:
        console.progress(f"running {task.file}")
        results.append(demo_tasks.perform(task, args.providers))
    _show(console, results)
    target = Path(args.page)
    try:
        target.write_text(page(results), encoding="utf-8")
    except OSError as error:
        raise Stop(
            f"{target} cannot be written: {error.strerror}; name another file with --page"
        ) from error
    worse = [one for one in results if not one.as_trained]
    for one in worse:
        console.warn(
            f"{one.task.file}: {one.accuracy:.1%} right, but {one.published:.1%} when it "
            "was trained; please report this with the output of: runtime doctor"
        )
    console.line(f"page: {target.resolve()}")
    _next(console, results)
    console.result(
        {
            "page": str(target.resolve()),
            "ok": not worse,
            "models": [_data(one, placement_data(one.placement)) for one in results],
        }
    )
    return Exit.CHECK_FAILED if worse else Exit.OK


def _data(one: Result, placement: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": str(one.path),
        "right": one.right,
        "examples": one.total,
        "accuracy": one.accuracy,
        "published_accuracy": one.published,
        "session_seconds": one.creation,
        "latency": one.times.summary(),
        "placement": placement,
    }


def _show(console: Console, results: list[Result]) -> None:
    from runtime.cli.sessions import brief
    from runtime.pages import milliseconds as ms

    rows = [
        [
            one.task.title,
            f"{one.right} of {one.total} {one.task.unit}",
            f"{one.accuracy:.1%}",
            ms(one.creation),
            ms(one.times.percentile(50)),
            brief(one.placement),
        ]
        for one in results
    ]
    titles = ("Model", "Right", "#", "Session#", "One input#", "Placement")
    console.line("three models, on data they have not seen in training:")
    console.table(titles, rows)


def _next(console: Console, results: list[Result]) -> None:
    from runtime.cli.demo_page import advice

    console.line("try next:")
    for command, why in advice(results):
        console.line(f"  {command}  # {why}")
