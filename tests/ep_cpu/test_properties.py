"""Every operator has a property test: one that Hypothesis draws many examples for.

A property test names its operator in its body, in a parameter or in a strategy that it
uses, directly or through names of its module. Names that one example chooses among do
not count: each operator is to have all examples of its own.
"""

import ast
import functools
from pathlib import Path

import pytest
from runtime_ep_cpu.ops import table

HERE = Path(__file__).parent
MODULES = sorted(HERE.glob("test_*.py"))
CHOICES = ("sampled_from", "one_of")
STANDARD = sorted({(k.domain, k.op_type) for k in table if k.domain != "com.microsoft"})
CONTRIB = sorted({(k.domain, k.op_type) for k in table} - set(STANDARD))


def is_property(function):
    decorators = function.decorator_list
    return any("given" in ast.unparse(entry).split("(")[0] for entry in decorators)


def definitions(module):
    """Return what a module defines at its top, by name."""
    found = {}
    for entry in module.body:
        if isinstance(entry, (ast.FunctionDef, ast.ClassDef)):
            found[entry.name] = entry
        elif isinstance(entry, ast.Assign):
            for target in entry.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found[name.id] = entry.value
    return found


def words(node, known, seen, choices):
    """Yield the texts in a node and in what it refers to."""
    if isinstance(node, ast.Call) and not choices:
        called = ast.unparse(node.func).split(".")[-1]
        if called in CHOICES:
            return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.keyword) and node.arg:
        yield node.arg
    if isinstance(node, ast.Name) and node.id in known and node.id not in seen:
        seen.add(node.id)
        yield from words(known[node.id], known, seen, choices)
    for child in ast.iter_child_nodes(node):
        yield from words(child, known, seen, choices)


def properties(module):
    """Yield the property tests of a module, those of a class with its decorators."""
    for entry in module.body:
        if isinstance(entry, ast.FunctionDef) and is_property(entry):
            yield [entry]
        elif isinstance(entry, ast.ClassDef):
            for inner in entry.body:
                if isinstance(inner, ast.FunctionDef) and is_property(inner):
                    yield [inner, *entry.decorator_list]


@functools.cache
def named(choices):
    """Return the texts that property tests name."""
    found = set()
    for path in MODULES:
        module = ast.parse(path.read_text(encoding="utf-8"))
        known, seen = definitions(module), set()
        for parts in properties(module):
            for part in parts:
                found.update(words(part, known, seen, choices))
    return found


@pytest.mark.parametrize(("domain", "op_type"), STANDARD)
def test_an_operator_of_the_standard_has_a_property_test(domain, op_type):
    assert op_type in named(choices=False)


@pytest.mark.parametrize(("domain", "op_type"), CONTRIB)
def test_an_operator_of_onnxruntime_has_a_property_test(domain, op_type):
    assert op_type in named(choices=True)
