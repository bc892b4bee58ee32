"""The arguments that several verbs share, and the small languages of their values."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import NamedTuple


class Asked(NamedTuple):
    """A provider as written on the command line."""

    name: str
    options: dict[str, str]


def provider(text: str) -> Asked:
    """Read ``cuda`` or ``cuda:device_id=1,arena_extend_strategy=kSameAsRequested``."""
    name, _, rest = text.partition(":")
    if not name:
        raise ArgumentTypeError(
            f"{text!r} names no provider; write cuda or cuda:key=value"
        )
    options = {}
    for pair in re.split(r",(?=\w+=)", rest) if rest else []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ArgumentTypeError(
                f"{pair!r} in {text!r} is no option; write {name}:key=value,key=value"
            )
        options[key] = value
    return Asked(name, options)


def dim(text: str) -> tuple[str, int]:
    """Read ``batch=8``."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal():
        raise ArgumentTypeError(
            f"{text!r} sets no dim; write a symbol and a size: batch=8"
        )
    return name, int(size)


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Read ``name:1x3x224x224`` or ``name:[1,3,224,224]``; ``name:`` is a scalar."""
    name, colon, sizes = text.rpartition(":")
    parts = re.split(r"[x,]", sizes.strip("[]")) if sizes.strip("[]") else []
    if not colon or not name or not all(part.strip().isdecimal() for part in parts):
        raise ArgumentTypeError(
            f"{text!r} is no shape; write an input and its sizes: image:1x3x224x224"
        )
    return name, tuple(int(part) for part in parts)


def pair(text: str) -> tuple[str, str]:
    """Read ``key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ArgumentTypeError(f"{text!r} is no entry; write key=value")
    return key, value


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def amount(text: str) -> float:
    """Read a number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number from 0 up")
    return value


def add_output(parser: ArgumentParser) -> None:
    """Add what every verb has."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON object")
    group.add_argument("-q", "--quiet", action="store_true", help="print only problems")
    group.add_argument("--debug", action="store_true", help="show tracebacks and logs")


def add_session(parser: ArgumentParser) -> None:
    """Add the model and how its session is made."""
    parser.add_argument("model", metavar="MODEL", help="the ONNX file")
    group = parser.add_argument_group("session")
    group.add_argument(
        "-p",
        "--provider",
        dest="providers",
        action="append",
        type=provider,
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="an execution provider, by name or alias, with options; repeat in fallback "
        "order (default: the CPU; auto: all that are usable)",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="fail where a provider cannot run what it was asked to, instead of warning",
    )
    group.add_argument(
        "--opt",
        choices=("none", "basic", "all"),
        default="all",
        help="how far the graph is simplified (default: all)",
    )
    group.add_argument(
        "--threads", type=positive, metavar="N", help="threads within one operator"
    )
    group.add_argument(
        "--config",
        action="append",
        type=pair,
        default=[],
        metavar="KEY=VALUE",
        help="a session config entry, as for add_session_config_entry; repeat",
    )


def add_dims(parser: ArgumentParser) -> None:
    """Add the sizes of what is symbolic."""
    group = parser.add_argument_group("sizes")
    group.add_argument(
        "--dim",
        dest="dims",
        action="append",
        type=dim,
        default=[],
        metavar="SYMBOL=N",
        help="the size of a symbolic dim in generated inputs (default: 1); repeat",
    )
    group.add_argument(
        "--fix-dims",
        action="store_true",
        help="also fix these dims in the session, so that it compiles for them alone",
    )


def add_feeds(parser: ArgumentParser) -> None:
    """Add where inputs come from."""
    add_dims(parser)
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "-i",
        "--inputs",
        action="append",
        default=[],
        metavar="SOURCE",
        help="x.npz, NAME=x.npy, NAME=x.pb, a test_data_set folder or a folder of such, "
        "or random for what the others leave out; repeat (default: random)",
    )
    group.add_argument(
        "--shape",
        dest="shapes",
        action="append",
        type=shape,
        default=[],
        metavar="NAME:1x3x224x224",
        help="the shape of a generated input; repeat",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random inputs (default: 0)"
    )


def add_tolerances(parser: ArgumentParser) -> None:
    """Add when two outputs count as equal."""
    group = parser.add_argument_group("tolerance")
    group.add_argument(
        "--atol",
        type=amount,
        help="absolute tolerance (default by type: float32 1e-4, float16 1e-2, bfloat16 "
        "4e-2, float64 1e-6, others exact)",
    )
    group.add_argument(
        "--rtol", type=amount, help="relative tolerance, the same defaults"
    )
    group.add_argument(
        "--equal-nan", action="store_true", help="count NaN in the same place as equal"
    )
