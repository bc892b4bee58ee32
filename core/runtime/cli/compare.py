"""Compare a model's outputs on two providers, or with golden files.

Each side runs what its provider takes, and the CPU the rest.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import (
    Asked,
    add_feeds,
    add_output,
    add_session,
    add_tolerances,
)
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.cli.feeds import Case

ABOUT = """Compare a model's outputs on two providers (the second is the reference), with
golden files, or with onnxruntime. Exit code 1 if an output is outside its tolerance, 3
if a provider cannot be used: the CPU is never compared with itself in its stead."""
EXAMPLES = """  runtime compare model.onnx -p cuda -p cpu --dim batch=4
  runtime compare model.onnx -p openvino --golden test_data_set_0
  runtime compare model.onnx --golden outputs.npz -i inputs.npz --atol 1e-3
  runtime compare model.onnx -p cuda --vs-onnxruntime"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    add_feeds(parser)
    group = parser.add_argument_group("reference")
    group.add_argument(
        "--golden",
        metavar="PATH",
        help="a test_data_set folder, a folder of such, or an .npz of outputs by name "
        "(inputs in it are used, too)",
    )
    group.add_argument(
        "--vs-onnxruntime",
        action="store_true",
        help="onnxruntime, which must be installed",
    )
    add_tolerances(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Run both sides on every case and compare what they return."""
    from runtime.cli.agreement import COLUMNS, Tolerance, agree, table
    from runtime.cli.sessions import placement_data, summary

    first, second = _sides(args)
    console.progress("making the sessions")
    session, reference = _open(args, first), _reference(args, second)
    given = _cases(args, session)
    tolerance = Tolerance(args.atol, args.rtol, args.equal_nan)
    names = [arg.name for arg in session.get_outputs()]
    code, found = Exit.OK, []
    for case in given:
        console.progress(f"running {case.label}")
        outputs = dict(zip(names, session.run(None, case.feeds), strict=True))
        expected = case.expected
        if reference is not None:
            expected = dict(zip(names, reference.run(None, case.feeds), strict=True))
        results = agree(outputs, expected, tolerance)
        good = all(one.ok for one in results)
        code = code if good else Exit.CHECK_FAILED
        console.line(f"{case.label}: {'equal' if good else 'different'}")
        console.table(COLUMNS, table(results))
        found.append(
            {"label": case.label, "ok": good, "outputs": [r.to_dict() for r in results]}
        )
    data: dict[str, Any] = {"model": args.model, "cases": found, "ok": code == Exit.OK}
    for title, side in (("tested", session), ("reference", reference)):
        if side is not None and hasattr(side, "explain"):
            console.line(f"{title}: {'; '.join(summary(side.explain()))}")
            data[title] = placement_data(side.explain())
    if args.vs_onnxruntime:
        console.line(
            f"reference: onnxruntime on {', '.join(reference.get_providers())}"
        )
    console.result(data)
    return code


def _sides(args: Namespace) -> tuple[Asked | None, Asked | None]:
    """Return the tested provider and the reference's, where it is one of ours."""
    elsewhere = bool(args.golden) + args.vs_onnxruntime
    if elsewhere > 1:
        raise Stop("--golden and --vs-onnxruntime are two references; give one")
    count = len(args.providers)
    if count > 1 if elsewhere else count != 2:
        raise Stop(_advice(count, elsewhere))
    first = args.providers[0] if args.providers else None
    return first, None if elsewhere else args.providers[1]


def _advice(count: int, elsewhere: int) -> str:
    if elsewhere:
        return f"with a reference given, name one provider to test, not {count}"
    return (
        f"compare needs two sides, found {count} provider{'s' * (count != 1)}; write "
        "-p A -p B, or one -p with --golden PATH or --vs-onnxruntime"
    )


def _open(args: Namespace, asked: Asked | None) -> Any:
    from runtime.cli.sessions import open_alone, open_session

    return open_session(args, []) if asked is None else open_alone(args, asked)


def _reference(args: Namespace, asked: Asked | None) -> Any:
    if args.vs_onnxruntime:
        from runtime.cli.peer import open_peer

        return open_peer(args)
    return _open(args, asked) if asked is not None else None


def _cases(args: Namespace, session: Any) -> list[Case]:
    """Return the inputs, with the golden outputs where these are the reference."""
    from runtime.cli.feeds import as_declared, cases, read_npz
    from runtime.errors import near

    if not args.golden:
        return cases(args, session)
    golden = Path(args.golden)
    if golden.is_dir():
        if args.inputs:
            raise Stop("--golden with a folder takes the inputs from it; drop --inputs")
        given = cases(Namespace(**{**vars(args), "inputs": [str(golden)]}), session)
        if not all(case.expected for case in given):
            raise Stop(f"{golden} has no output_0.pb to compare with")
        return given
    if not golden.is_file():
        raise Stop(f"--golden {golden} does not exist")
    arrays = read_npz(golden)
    outputs = {arg.name: arg for arg in session.get_outputs()}
    inputs = {arg.name: arg for arg in session.get_inputs()}
    for name in arrays:
        if name not in outputs and name not in inputs:
            raise Stop(
                f"{golden} has {name!r}, which the model neither reads nor returns"
                f"{near(name, [*outputs, *inputs]) or f' (it returns {list(outputs)})'}"
            )
    expected = {
        n: as_declared(arrays[n], outputs[n].type) for n in outputs if n in arrays
    }
    if not expected:
        raise Stop(f"{golden} holds none of the outputs {', '.join(outputs)}")
    if not args.inputs and any(name in arrays for name in inputs):
        args = Namespace(**{**vars(args), "inputs": [str(golden)]})
        return _with_inputs(args, session, arrays, inputs, expected)
    [case] = cases(args, session)
    case.expected = expected
    return [case]


def _with_inputs(
    args: Namespace,
    session: Any,
    arrays: dict[str, Any],
    inputs: dict[str, Any],
    expected: dict[str, Any],
) -> list[Case]:
    from runtime.cli.feeds import Case, as_declared

    missing = [name for name in inputs if name not in arrays]
    if missing:
        raise Stop(f"{args.golden} lacks the inputs {', '.join(missing)}")
    feeds = {name: as_declared(arrays[name], arg.type) for name, arg in inputs.items()}
    return [Case(Path(args.golden).name, feeds, expected)]
