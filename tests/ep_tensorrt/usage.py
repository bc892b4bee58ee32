"""What a module uses of TensorRT's API, read from its syntax tree.

Objects of TensorRT's are known by their names: ``builder`` is a ``Builder`` wherever it
stands. An attribute of anything else that might be one of them is reported as well, so
that no use escapes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECEIVERS = {
    "builder": "Builder",
    "cached": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "error": "ParserError",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "refit": "OnnxParserRefitter",
    "refitter": "Refitter",
    "registry": "IPluginRegistry",
    "runtime": "Runtime",
    "severity": "ILogger.Severity",
    "tensor": "ITensor",
}
RETURNS = {"get_tensor_dtype": "DataType"}
"""Calls whose result is looked into at once."""
OWN = {
    "self", "cls", "order", "build", "ranges", "span", "said", "progress", "array",
    "np", "ml_dtypes", "kind", "found", "names", "each",
    "caught",
}  # fmt: skip
"""Names of our own objects, modules of Python's, and plain containers."""


@dataclass(frozen=True)
class Use:
    """One use: ``what`` is called, read, written, made a base, or overridden."""

    line: int
    what: str
    owner: str
    name: str
    count: int = 0
    keywords: frozenset[str] = frozenset()


def uses(path: Path) -> Iterator[Use]:
    """Yield what a file uses of the API."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    calls = {
        id(node.func): node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from _class(node)
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            yield from _attribute(node, calls.get(id(node)), imports, inner)


def _class(node: ast.ClassDef) -> Iterator[Use]:
    """Yield a base of TensorRT's, and which of its methods a class overrides."""
    for base in node.bases:
        if isinstance(base, ast.Attribute) and _root(base) == "trt":
            yield Use(node.lineno, "base", "", base.attr)
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name != "__init__":
                    count = len(each.args.args) - 1
                    yield Use(each.lineno, "override", base.attr, each.name, count)


def _attribute(
    node: ast.Attribute, call: ast.Call | None, imports: set[str], inner: set[int]
) -> Iterator[Use]:
    line, root = node.lineno, _root(node)
    if root == "trt":
        owner = ".".join(_path(node)[1:-1])
        _skip(node, inner)
        yield _used(line, owner, node.attr, call, node)
    elif isinstance(node.value, ast.Name) and node.value.id in RECEIVERS:
        yield _used(line, RECEIVERS[node.value.id], node.attr, call, node)
    elif isinstance(node.value, ast.Call):
        method = getattr(node.value.func, "attr", "")
        if method in RETURNS:
            yield _used(line, RETURNS[method], node.attr, call, node)
        elif method not in ("get", "join", "astype"):
            yield Use(line, "unknown", ast.unparse(node.value), node.attr)
    elif not _is_own(node, root, imports):
        yield Use(line, "unknown", ast.unparse(node.value), node.attr)


def _is_own(node: ast.Attribute, root: str, imports: set[str]) -> bool:
    if isinstance(node.value, ast.Constant):
        return True
    return root in OWN or root in imports


def _used(
    line: int, owner: str, name: str, call: ast.Call | None, node: ast.Attribute
) -> Use:
    if call is not None:
        keywords = frozenset(keyword.arg or "**" for keyword in call.keywords)
        return Use(line, "call", owner, name, len(call.args), keywords)
    what = "write" if isinstance(node.ctx, ast.Store) else "read"
    return Use(line, what, owner, name)


def _skip(node: ast.expr, inner: set[int]) -> None:
    while isinstance(node, ast.Attribute):
        inner.add(id(node))
        node = node.value


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _path(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Attribute):
        return [*_path(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]
