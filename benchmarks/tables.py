"""Writes a report as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.ratios import geometric_mean

Report = dict[str, Any]
NONE = "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)] + [""]


def _number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _ratio(found: Report | None) -> str:
    if not found:
        return NONE
    return f"{found['middle']:.2f} ({found['low']:.2f}–{found['high']:.2f})"


def _over(time: float | None, least: float | None) -> str:
    return _number(time / least) if time and least else NONE


def _speed_row(
    name: str, threads: str, found: Report, peers: Sequence[str]
) -> list[str]:
    best = found["ratios"].get(found["best"])
    ours, floor = found["ms"].get("ours"), found.get("floor", {})
    return [
        name,
        threads,
        _number(ours, 3),
        *(_number(found["ms"].get(peer), 3) for peer in peers),
        *(_ratio(found["ratios"].get(peer)) for peer in peers),
        f"**{best['middle']:.2f}**" if best else NONE,
        _over(ours, floor.get("arithmetic_ms")),
        _over(ours, floor.get("bandwidth_ms")),
        _thrown(found),
    ]


def _thrown(found: Report) -> str:
    lost = f"{sum(found['thrown'].values())} of {found['slices']}"
    return f"{lost}; none left, so all counted" if found["noisy"] else lost


def speeds(report: Report) -> list[str]:
    """Tell times and ratios, a line for each model and number of threads."""
    peers = report["peers"]
    head = ["model", "threads", "ours ms", *(f"{peer} ms" for peer in peers)]
    head += [f"× {peer}" for peer in peers]
    head += ["× best", "÷ arithmetic", "÷ bandwidth", "thrown away"]
    rows = [
        _speed_row(name, threads, found, peers)
        for name, entry in report["models"].items()
        for threads, found in entry.get("threads", {}).items()
    ]
    return _table(head, rows)


def means(report: Report) -> list[str]:
    """Tell the geometric means of the ratios to each peer and to the best, by threads."""
    lines = []
    for key in sorted({k for e in report["models"].values() for k in e["threads"]}):
        found = [e["threads"][key] for e in report["models"].values()]
        parts = []
        for peer in (*report["peers"], "the best"):
            chosen = [
                each["ratios"].get(each["best"] if peer == "the best" else peer)
                for each in found
            ]
            known = [each["middle"] for each in chosen if each]
            if known:
                parts.append(
                    f"{geometric_mean(known):.3f} × {peer} (least {min(known):.2f}, "
                    f"{len(known)} models)"
                )
        if parts:
            lines.append(f"Geometric mean, {key} threads: {'; '.join(parts)}.")
    return [*lines, ""]


def creations(report: Report) -> list[str]:
    """Tell creation, memory and error, a line for each model."""
    engines = ["ours", *report["peers"]]
    head = [
        "model",
        "native nodes",
        "native arithmetic",
        "ours cold ms + first run",
        "ours warm ms + first run",
    ]
    head += [f"{peer} ms + first run" for peer in report["peers"]]
    head += [f"{engine} MB (peak; anonymous)" for engine in engines]
    head += [f"{engine} error" for engine in engines]
    head += ["against", "same for all threads"]
    rows = []
    for name, entry in report["models"].items():
        made, checked = entry.get("creation", {}), entry["errors"]
        facts = next(iter(entry["threads"].values()))["facts"]
        row = [name, facts.get("native", NONE), _share(facts, entry["work"])]
        row += [_created(made, "ours", state) for state in ("cold", "warm")]
        row += [_created(made, peer, "warm") for peer in report["peers"]]
        row += [_memory(made, engine) for engine in engines]
        found = checked["error"]
        row += [f"{found[e]:.1e}" if e in found else NONE for e in engines]
        same = "yes" if checked["same"] else "NO"
        rows.append([*row, checked["against"], same])
    return _table(head, rows)


def _share(facts: Report, counted: Report) -> str:
    """Return how much of what `benchmarks.work` counts is in native code.

    An operator of which NumPy has a node counts as NumPy's everywhere.
    """
    by_operator = counted.get("by_operator", {})
    if "native" not in facts or not sum(by_operator.values()):
        return NONE
    left = facts.get("numpy", "").split()
    numpys = sum(by_operator.get(operator, 0) for operator in left)
    return f"{100 * (1 - numpys / sum(by_operator.values())):.0f} %"


def _created(made: Report, engine: str, state: str) -> str:
    if engine not in made:
        return NONE
    steps = (made[engine][state][step] for step in ("creation", "first_run"))
    return " + ".join(_number(1e3 * seconds, 1) for seconds in steps)


def _memory(made: Report, engine: str) -> str:
    if engine not in made:
        return NONE
    keys = ("ran", "ran_peak", "ran_anonymous")
    ran, peak, own = (made[engine]["warm"][key] / 1e6 for key in keys)
    return f"{ran:.0f} ({peak:.0f}; {own:.0f})"


def imports(report: Report) -> list[str]:
    """Tell the seconds of imports, those within constructors included."""
    found: dict[str, list[float]] = {}
    for entry in report["models"].values():
        for engine, made in entry.get("creation", {}).items():
            found.setdefault(engine, []).append(1e3 * made["warm"]["imports"])
    if not found:
        return []
    words = ", ".join(
        f"{engine} {sorted(values)[len(values) // 2]:.0f} ms"
        for engine, values in found.items()
    )
    return [f"Imports in a fresh process, not counted above: {words}.", ""]


def descriptions(report: Report) -> list[str]:
    """Tell what each model is and the dims that it ran with."""
    lines = []
    for name, entry in report["models"].items():
        dims = ", ".join(f"{key} {value}" for key, value in entry["dims"].items())
        lines.append(f"- {name}: {entry['description']} ({dims})")
    return [*lines, ""]


def markdown(report: Report) -> str:
    """Return the whole report."""
    about = report["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    lines = [
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}; {versions}.",
        "",
        "A ratio is the peer's time over ours in the same round, median and 95 % interval;",
        "above 1 ours is faster. ÷ arithmetic and ÷ bandwidth: our time over what the",
        "multiply-adds alone, and reading the weights once alone, would take here.",
        "",
        *speeds(report),
        *means(report),
        *creations(report),
        *imports(report),
        *descriptions(report),
    ]
    return "\n".join(lines).rstrip() + "\n"
