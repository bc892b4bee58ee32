"""Writes the generated pages: operators from the kernel table, config keys from theirs.

usage: python docs/generate.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import onnx
from runtime.api.keys import RUN_KEYS, SESSION_KEYS, Acts, Does, Refused
from runtime_ep_cpu.ops import table
from runtime_ep_cpu.ops.contrib import MS, REFUSED

REFERENCE = Path(__file__).parent / "reference"
HEAD = """# Operators of the CPU provider

Made by `docs/generate.py` from the kernel table; do not edit. "Kernels since" are the opset
versions from which a kernel of its own holds; versions between run by the one before,
versions before the first are refused. Operators of the standard without a row are refused
with the reason.

"Changed at" are the standard's own versions. The columns of providers say how many of the ONNX
node cases of an operator are claimed and right, of how many there are, in the last record
(`tests/conformance/record_cases.py`, from `runtime ep test PROVIDER --capabilities`); the CPU
is checked against it by a test. Operators without a node case have a dash.

"Types" are the element types in which a call of the operator runs and gives what the newest
schema infers (`tests/conformance/test_types.py`, whose record is `types.json`), over all its
type variables: *integers* are the eight of 8 to 64 bits, *floats* are float16, bfloat16,
float and double, *float8* the four of 8 bits, *small integers* int4, uint4, int2 and uint2,
*complex* complex64 and complex128, *all* is every type there is. `com.microsoft` takes what
onnxruntime's kernels take; its half precision is computed in float32.
"""

INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
GROUPS = {
    "integers": INTEGERS,
    "floats": {"float16", "bfloat16", "float", "double"},
    "float8": {"float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"},
    "float6": {"float6e2m3", "float6e3m2"},
    "small integers": {"int4", "uint4", "int2", "uint2"},
    "complex": {"complex64", "complex128"},
}
SINGLE = {"bool", "string", "float4e2m1", "float8e8m0"}
EVERY = set().union(SINGLE, *GROUPS.values())


def rows() -> dict[str, dict[str, list[int]]]:
    """Return domain → operator → the versions its kernels begin at."""
    found: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for kernel in table:
        found[kernel.domain].setdefault(kernel.op_type, []).append(kernel.since)
    return found


def changes() -> dict[tuple[str, str], str]:
    """Return the versions at which the standard changed each operator."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        found[schema.domain, schema.name].append(schema.since_version)
    return {key: ", ".join(map(str, sorted(each))) for key, each in found.items()}


def cases() -> dict[str, dict[str, list[int]]]:
    """Return provider → operator → how many node cases are right, of how many."""
    return json.loads((REFERENCE / "cases.json").read_text(encoding="utf-8"))


def answered(operators: dict[str, list[int]], key: str) -> str:
    """Return a cell that tells how many cases a provider answers."""
    return "{} of {}".format(*operators[key]) if key in operators else "–"


def standard(domain: str) -> set[str]:
    """Return the operators a domain has in the onnx package."""
    return {s.name for s in onnx.defs.get_all_schemas() if s.domain == domain}


def types_of(domain: str, name: str) -> str:
    """Return the element types an operator runs in, groups by their name."""
    record = json.loads((REFERENCE / "types.json").read_text(encoding="utf-8"))
    left = set(record.get(f"{domain}:{name}", ()))
    if left == EVERY or left == EVERY - GROUPS["float6"]:
        return "all" if left == EVERY else "all but float6"
    words = []
    for group, members in GROUPS.items():
        if members <= left:
            words.append(f"*{group}*")
            left -= members
    return ", ".join([*words, *sorted(left)])


def operators() -> str:
    """Return the page of operators."""
    lines = [HEAD]
    found = rows()
    for domain in sorted(found):
        names = standard(domain)
        have = sorted(found[domain])
        title = domain or "ai.onnx"
        count = f", {len(names & set(have))} of {len(names)}" if names else ""
        lines += [f"## {title}{count}", ""]
        lines += _rows(domain, found[domain], known=bool(names))
        missing = sorted(names - set(have))
        if missing:
            lines += ["", f"No kernel of their own: {', '.join(missing)}."]
        lines.append("")
        if domain == MS:
            lines += ["Refused:", "", "| operator | why |", "|---|---|"]
            lines += [f"| {name} | {REFUSED[name]} |" for name in sorted(REFUSED)]
            lines.append("")
    return "\n".join(lines)


def _rows(domain: str, kernels: dict[str, list[int]], known: bool) -> list[str]:
    """Return a domain's table; of an operator of the standard more is known."""
    providers, changed = cases() if known else {}, changes()
    heads = ["operator", "kernels since"]
    if known:
        short = [name.removesuffix("ExecutionProvider") for name in providers]
        heads = ["operator", "changed at", "kernels since", "types", *short]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in sorted(kernels):
        cells = [name, ", ".join(str(v) for v in sorted(kernels[name]))]
        if known:
            key = f"{domain}:{name}"
            cells.insert(1, changed.get((domain, name), "onnxruntime's"))
            cells.append(types_of(domain, name) or "–")
            cells += [answered(each, key) for each in providers.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


KEYS_HEAD = """# Config keys

Made by `docs/generate.py` from `runtime/api/keys.py`; do not edit. Keys of
`SessionOptions.add_session_config_entry` and `RunOptions.add_run_config_entry`. An unknown key
warns with the near match. A key that ends in a dot stands for all that begin so.

| key | what it does |
|---|---|
"""


def config_keys() -> str:
    """Return the page of config keys."""
    lines = []
    for key, row in sorted({**SESSION_KEYS, **RUN_KEYS}.items()):
        if isinstance(row, Acts):
            name = f"`{row.field}`" if row.field.isidentifier() else row.field
            told = f"sets {name}"
        elif isinstance(row, Does):
            told = row.what
        else:
            verb = "refused" if isinstance(row, Refused) else "accepted without effect"
            told = f"{verb}: {row.reason}"
        lines.append(f"| `{key}` | {told} |")
    return KEYS_HEAD + "\n".join(lines) + "\n"


PAGES = {"operators.md": operators, "config-keys.md": config_keys}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (REFERENCE / name).write_text(made(), encoding="utf-8")
