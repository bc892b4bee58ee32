"""Run a model once on given or random inputs.

Inputs with expected outputs, as ONNX's test_data_set folders have them, are compared.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import (
    add_feeds,
    add_output,
    add_session,
    add_tolerances,
)
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.cli.agreement import Agreement
    from runtime.cli.feeds import Case

ABOUT = """Run a model once and show its outputs, what ran where, and how long it took.
Inputs that come with expected outputs are compared with them (exit code 1 if they
differ)."""
EXAMPLES = """  runtime run model.onnx --dim batch=8
  runtime run model.onnx -i inputs.npz -o outputs.npz -p cuda:device_id=1
  runtime run model.onnx -i image=cat.npy -i random --check-finite
  runtime run model.onnx -i test_data_set_0 --strict -p openvino"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    add_feeds(parser)
    add_tolerances(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "-o", "--output", metavar="FILE.npz", help="write the outputs, arrays only"
    )
    group.add_argument(
        "--save-inputs", metavar="FILE.npz", help="write the inputs that were used"
    )
    group.add_argument(
        "--check-finite",
        action="store_true",
        help="fail if an output has NaN or infinity",
    )
    group.add_argument(
        "--save-placement",
        metavar="FILE",
        help="write what ran where: .html, .json, .txt",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Run every case, show and check its outputs, and write what was asked for."""
    from runtime.cli.feeds import cases
    from runtime.cli.sessions import open_session, placement_data, summary

    for path in (args.output, args.save_inputs):
        if path and not path.endswith(".npz"):
            raise Stop(f"{path}: outputs are written as .npz; give a name that ends so")
    console.progress("making the session")
    session = open_session(args)
    data: dict[str, Any] = {"model": args.model, "cases": []}
    code, given = Exit.OK, cases(args, session)
    for case in given:
        console.progress(f"running {case.label}")
        began = time.perf_counter()
        values = session.run(None, case.feeds)
        seconds = time.perf_counter() - began
        names = [arg.name for arg in session.get_outputs()]
        outputs = dict(zip(names, values, strict=True))
        found, good = _show(args, console, case, outputs, seconds)
        data["cases"].append(found)
        code = code if good else Exit.CHECK_FAILED
    for line in summary(session.explain()):
        console.line(line)
    data["placement"] = placement_data(session.explain())
    if args.output:
        _save(args.output, outputs)
    if args.save_inputs:
        _save(args.save_inputs, given[-1].feeds)
    if args.save_placement:
        session.explain().save(args.save_placement)
    console.result({**data, "ok": code == Exit.OK})
    return code


def _show(
    args: Namespace,
    console: Console,
    case: Case,
    outputs: dict[str, Any],
    seconds: float,
) -> tuple[dict[str, Any], bool]:
    """Print one case; return it as data, and whether every check passed."""
    from runtime.cli.agreement import COLUMNS, Tolerance, agree, table
    from runtime.pages import milliseconds

    console.line(f"inputs: {case.label}")
    console.table(("", "", ""), _rows(case.feeds, statistics=False))
    console.line(f"outputs, after {milliseconds(seconds)}:")
    console.table(("",) * 6, _rows(outputs))
    bad = [name for name, value in outputs.items() if not _finite(value)]
    results: list[Agreement] = []
    if case.expected:
        tolerance = Tolerance(args.atol, args.rtol, args.equal_nan)
        results = agree(outputs, case.expected, tolerance)
        console.line("compared with the expected outputs:")
        console.table(COLUMNS, table(results))
    if args.check_finite and bad:
        console.warn(f"NaN or infinity in {', '.join(bad)}")
    good = all(one.ok for one in results) and not (args.check_finite and bad)
    return {
        "label": case.label,
        "seconds": seconds,
        "inputs": {name: _brief(value) for name, value in case.feeds.items()},
        "outputs": {name: _brief(value) for name, value in outputs.items()},
        "not_finite": bad,
        "agreement": [one.to_dict() for one in results],
        "ok": good,
    }, good


def _rows(values: dict[str, Any], statistics: bool = True) -> list[list[str]]:
    from runtime.cli.feeds import described

    rows = []
    for name, value in values.items():
        row = [name, *described(value)]
        if statistics:
            facts = _statistics(value)
            row += [f"{key} {number:.4g}" for key, number in facts.items()]
            row += [""] * (6 - len(row))
        rows.append(row)
    return rows


def _brief(value: Any) -> dict[str, Any]:
    from runtime.cli.feeds import described

    kind, _ = described(value)
    found: dict[str, Any] = {"type": kind}
    if hasattr(value, "shape"):
        found["shape"] = list(value.shape)
        found |= _statistics(value)
        if value.size <= 16:
            found["values"] = value.tolist()
    return found


def _statistics(value: Any) -> dict[str, float]:
    """Return the range and mean of an array's finite numbers."""
    import numpy as np

    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUSTcM":
        return {}
    numbers = value.astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return {}
    return {
        "min": float(numbers.min()),
        "mean": float(numbers.mean()),
        "max": float(numbers.max()),
    }


def _finite(value: Any) -> bool:
    import numpy as np

    if isinstance(value, (list, tuple)):
        return all(_finite(item) for item in value)
    if isinstance(value, dict):
        return all(_finite(item) for item in value.values())
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUSTbiu":
        return True
    wide = value if value.dtype.kind in "fc" else value.astype(np.float32)
    return bool(np.isfinite(wide).all())


def _save(path: str, values: dict[str, Any]) -> None:
    """Write arrays as npz; strings as fixed-width text, so that no pickle is needed."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(value, np.ndarray):
            raise Stop(f"{name} is no array and cannot be written to {path}")
        arrays[name] = value.astype(np.str_) if value.dtype == object else value
    try:
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise Stop(f"{path} cannot be written: {error.strerror}") from error
