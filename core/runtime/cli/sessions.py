"""Opens sessions as the command line asks, and tells what runs where."""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.cli.arguments import Asked
from runtime.cli.exits import Exit, Stop
from runtime.errors import near
from runtime.explain import Placement


def full_name(name: str) -> str:
    """Return the provider a name or alias of any case means; `Stop` if it is nobody's."""
    from runtime.api.known import all_names
    from runtime.providers import registry, resolve

    found = resolve(name)
    if found is not None:
        return found.name
    names = all_names()
    aliases = {known.lower(): known for known in names}
    aliases |= {_short(known).lower(): known for known in names}
    if name.lower() in aliases:
        return aliases[name.lower()]
    known = [*names, *(_short(name) for name in names)]
    raise Stop(
        f"there is no execution provider {name!r}{near(name, known)} "
        f"(installed: {', '.join(registry.all()) or 'none'})"
    )


def _short(name: str) -> str:
    return name.removesuffix("ExecutionProvider")


def requests(asked: Sequence[Asked]) -> Any:
    """Return what a session takes as ``providers``."""
    if any(one.name.lower() == "auto" for one in asked):
        if len(asked) > 1 or asked[0].options:
            raise Stop("auto stands alone: it means every usable provider")
        return "auto"
    return [(full_name(one.name), one.options) for one in asked] or None


def options_of(args: Namespace) -> Any:
    """Return the session options that the arguments ask for."""
    import runtime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = {
        "none": level.ORT_DISABLE_ALL,
        "basic": level.ORT_ENABLE_BASIC,
        "all": level.ORT_ENABLE_ALL,
    }[args.opt]
    if args.threads:
        options.intra_op_num_threads = args.threads
    for key, value in args.config:
        options.add_session_config_entry(key, value)
    if args.fix_dims:
        for symbol, size in args.dims:
            options.add_free_dimension_override_by_name(symbol, size)
    return options


def open_session(
    args: Namespace,
    asked: Sequence[Asked] | None = None,
    dry_run: bool = False,
    profiling: bool = False,
) -> Any:
    """Return a session for the arguments, with ``asked`` in the providers' place."""
    import runtime as ort

    options = options_of(args)
    options.enable_profiling = profiling
    return ort.InferenceSession(
        args.model,
        options,
        requests(args.providers if asked is None else asked),
        strict=args.strict or None,
        dry_run=dry_run,
    )


def open_alone(args: Namespace, asked: Asked) -> Any:
    """Return a session on one provider; `Stop` where that provider is not in use."""
    name = full_name(asked.name)
    with warnings.catch_warnings(record=True) as caught:
        session = open_session(args, [asked])
    if name not in session.get_providers():
        events = session.explain().events
        why = next((str(e) for e in events if e.provider == name), "it is not in use")
        raise Stop(why, Exit.PROVIDER)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    return session


def import_engine(asked: Sequence[Asked]) -> float:
    """Import everything a session needs, providers included; return the seconds."""
    from runtime.providers import resolve

    began = time.perf_counter()
    import runtime.api.session  # noqa: F401

    names = ["cpu", *(one.name for one in asked)]
    for entry in {id(e): e for e in map(resolve, names) if e is not None}.values():
        try:
            if entry.probe().usable:
                entry.load()
        except Exception:
            continue
    return time.perf_counter() - began


def summary(placement: Placement) -> list[str]:
    """Return a line for each provider in use: nodes, partitions, share of the work."""
    counts = placement.counts()
    lines = []
    for name in placement.providers:
        parts = sum(part.provider == name for part in placement.partitions)
        if counts.get(name):
            lines.append(
                f"{name}: {_many(counts[name], 'node')} in {_many(parts, 'partition')}, "
                f"{placement.share(name):.0%} of the work"
            )
    if placement.transfers:
        copies = _many(len(placement.transfers), "value")
        lines.append(f"{copies} copied between devices in each run")
    return lines or ["no nodes are left to run"]


def brief(placement: Placement) -> str:
    """Return how many nodes each provider runs, in a few words."""
    counts = placement.counts()
    parts = [
        f"{_many(counts[name], 'node')} on {_short(name)}"
        for name in placement.providers
        if counts.get(name)
    ]
    return ", ".join(parts) or "nothing left to run"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def placement_data(placement: Placement) -> dict[str, Any]:
    """Return the placement in short, for ``--json``."""
    counts = placement.counts()
    return {
        "requested": placement.requested,
        "providers": [
            {
                "name": name,
                "nodes": counts.get(name, 0),
                "partitions": sum(p.provider == name for p in placement.partitions),
                "work": round(placement.share(name), 6),
            }
            for name in placement.providers
        ],
        "transfers": len(placement.transfers),
        "events": [str(event) for event in placement.events],
    }


def sizes(args: Namespace) -> Mapping[str, int]:
    """Return the sizes given by ``--dim``."""
    return dict(args.dims)
